/** Every diagnostic of the compiler as data: code, severity, sentence, hint. Texts live here and nowhere else. */

export type Severity = 'error' | 'note' | 'internal'

interface Row<A> {
  readonly severity: Severity
  readonly text: (args: A) => string
  readonly hint?: (args: A) => string
}

const row = <A>(severity: Severity, text: (args: A) => string, hint?: (args: A) => string): Row<A> =>
  hint ? { severity, text, hint } : { severity, text }

export const MESSAGES = {
  // The language
  'index-division': row<{ left: string; right: string }>(
    'error',
    () => '`/` gives a fraction in TypeScript and truncates on the GPU',
    ({ left, right }) => `write \`floorDiv(${left}, ${right})\``,
  ),
  // The analysis of tiles
  'tiles-by-test': row<{ why: string }>(
    'note',
    ({ why }) => `tiles are found by a test per tile, not by closed-form ranges: ${why}`,
  ),
  'tiles-by-list': row<{ table: string }>(
    'note',
    ({ table }) => `tiles are found by a list that a kernel builds, because this term depends on the values of table \`${table}\``,
    ({ table }) => `if \`${table}\` never decreases, declare it with { monotone: true } and compare positions with it`,
  ),
  internal: row<{ stage: string; detail: string }>(
    'internal',
    ({ stage, detail }) => `the stage \`${stage}\` broke: ${detail}`,
    () => 'this is a bug of Heddle, not of the pattern; please report it with the pattern file',
  ),
} as const

export type Code = keyof typeof MESSAGES
export type MessageArgs<C extends Code> = Parameters<(typeof MESSAGES)[C]['text']>[0]
