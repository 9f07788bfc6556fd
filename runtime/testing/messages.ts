/** Every error of the testing kit as data: code and sentence; and the class that carries them. */

interface Row<A> {
  readonly text: (args: A) => string
}

const row = <A>(text: (args: A) => string): Row<A> => ({ text })

export const MESSAGES = {
  'no-source': row<{ pattern: string }>(
    ({ pattern }) =>
      `${pattern}: the compiler reads a pattern's source, and this one is not of the library; say where it is: ` +
      `checkPattern(pattern, { file: new URL('./${pattern}.ts', import.meta.url) })`,
  ),
  'not-in-file': row<{ pattern: string; file: string; present: readonly string[] }>(
    ({ pattern, file, present }) =>
      `${file} exports no pattern named ${pattern}; it has ${present.length > 0 ? present.join(', ') : 'none'}`,
  ),
  'not-compiled': row<{ pattern: string; diagnostics: string }>(
    ({ pattern, diagnostics }) => `${pattern} does not compile\n${diagnostics}`,
  ),
  runs: row<{ got: unknown }>(({ got }) => `runs: expected a whole number of at least 1, got ${String(got)}`),
  seed: row<{ got: unknown }>(({ got }) => `seed: expected a whole number, got ${String(got)}`),
  'check-failed': row<{ pattern: string; failures: number; runs: number; seed: number; example: string }>(
    ({ pattern, failures, runs, seed, example }) =>
      `${pattern}: ${failures} of ${runs} runs differ from the oracle (seed ${seed})\n${example}`,
  ),
  refuses: row<{ pattern: string; seed: number; call: string; why: string }>(
    ({ pattern, seed, call, why }) =>
      `${pattern}, run as TypeScript, refuses a call that it declares to take (seed ${seed})\n${call}\n${why}`,
  ),
} as const

export type Code = keyof typeof MESSAGES
export type MessageArgs<C extends Code> = Parameters<(typeof MESSAGES)[C]['text']>[0]

/** What checkPattern throws: a code to branch on, and the values that the sentence names. */
export class CheckError<C extends Code = Code> extends Error {
  readonly code: C
  readonly args: MessageArgs<C>

  constructor(code: C, args: MessageArgs<C>) {
    // Each row takes its own arguments; the table's type says so, the union of rows cannot.
    super((MESSAGES[code].text as (a: MessageArgs<C>) => string)(args))
    this.name = 'CheckError'
    this.code = code
    this.args = args
  }
}
