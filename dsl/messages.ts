/** Every error of the DSL as data: code, sentence, hint. Texts live here and nowhere else. */

interface Row<A> {
  readonly text: (args: A) => string
  readonly hint?: (args: A) => string
}

const row = <A>(text: (args: A) => string, hint?: (args: A) => string): Row<A> =>
  hint ? { text, hint } : { text }

export const MESSAGES = {
  'bad-record': row<{ got: string }>(
    ({ got }) => `pattern() takes one record, got ${got}`,
    () => "write `pattern({ name: 'my-pattern', mask: ({ q, kv }) => kv <= q })`",
  ),
  'unknown-field': row<{ field: string; known: readonly string[] }>(
    ({ field, known }) => `a pattern has no field \`${field}\`; its fields are ${known.join(', ')}`,
  ),
  'bad-name': row<{ got: string }>(
    ({ got }) => `a pattern's \`name\` is lower-case words joined by hyphens, got ${got}`,
    () => "write something like `name: 'sliding-window'`",
  ),
  'bad-cite': row<{ got: string }>(({ got }) => `\`cite\` is a text, got ${got}`),
  'bad-function': row<{ field: string; signature: string; got: string }>(
    ({ field, signature, got }) => `\`${field}\` must be a function ${signature}, got ${got}`,
  ),
  'bad-section': row<{ section: string; got: string }>(
    ({ section, got }) => `\`${section}\` must be a record of names, got ${got}`,
  ),
  'bad-identifier': row<{ section: string; name: string }>(
    ({ section, name }) =>
      `\`${name}\` in ${section} cannot be a name: a name is a letter followed by letters, digits or single underscores`,
  ),
  'reserved-name': row<{ section: string; name: string }>(
    ({ section, name }) => `\`${name}\` in ${section} is the name of a field of the index record`,
    ({ name }) => `call it something else, such as \`my${name[0]!.toUpperCase()}${name.slice(1)}\``,
  ),
  'duplicate-name': row<{ name: string; first: string; second: string }>(
    ({ name, first, second }) =>
      `\`${name}\` stands in both ${first} and ${second}; a mask could not tell them apart`,
  ),
  'bad-const': row<{ name: string; got: string }>(
    ({ name, got }) => `const \`${name}\` must be an integer within +-2^30, got ${got}`,
    () => 'a value that is no integer belongs in params, as f32(..)',
  ),
  'bad-param': row<{ name: string; got: string }>(
    ({ name, got }) => `param \`${name}\` must be made by i32(..), f32(..) or perHead(..), got ${got}`,
  ),
  'bad-bound': row<{ word: string; bound: string; got: string }>(
    ({ word, bound, got }) =>
      `${word}: \`${bound}\` must be ${word.includes('i32') ? 'an integer within +-2^30' : 'a number within f32'}, got ${got}`,
  ),
  'bad-default': row<{ word: string; got: string; min: number; max: number }>(
    ({ word, got, min, max }) =>
      `${word}: the default must be ${word === 'i32' ? 'an integer' : 'a finite number'} from ${min} to ${max}, got ${got}`,
  ),
  'bad-range': row<{ word: string; min: number; max: number }>(
    ({ word, min, max }) => `${word}: \`min\` ${min} lies above \`max\` ${max}`,
  ),
  'bad-per-head': row<{ got: string }>(
    ({ got }) => `perHead() takes what i32(..) or f32(..) gives, got ${got}`,
    () => 'write `perHead(i32(1024, { min: 1 }))`',
  ),
  'bad-table': row<{ name: string; got: string }>(
    ({ name, got }) => `table \`${name}\` must be made by table(..), got ${got}`,
    () => "write something like `docId: table('i32', ['batch', 'kvLen'])`",
  ),
  'bad-table-type': row<{ got: string }>(({ got }) => `table(): the type must be 'i32' or 'f32', got ${got}`),
  'bad-dims': row<{ got: string }>(
    ({ got }) => `table(): dims must be a list of one to four axis names or positive integers, got ${got}`,
    () => "write something like `table('f32', ['head', 32])`",
  ),
  'unknown-dim': row<{ table: string; dim: string; known: readonly string[] }>(
    ({ table, dim, known }) =>
      `table \`${table}\` has a dim \`${dim}\` that is no axis and no const; known are ${known.join(', ')}`,
  ),
  'bad-dim-const': row<{ table: string; dim: string; got: number }>(
    ({ table, dim, got }) =>
      `table \`${table}\` has a dim \`${dim}\`, a const of ${got}; a size is 1 or more`,
  ),
  'bad-operand': row<{ word: string; got: string }>(
    ({ word, got }) => `${word}() takes patterns, got ${got}`,
  ),
  'too-few-operands': row<{ word: string; got: number }>(
    ({ word, got }) => `${word}() takes two patterns or more, got ${got}`,
  ),
  'param-clash': row<{ name: string; first: string; second: string }>(
    ({ name, first, second }) =>
      `patterns \`${first}\` and \`${second}\` both declare \`${name}\`, but differently`,
    ({ name, second }) =>
      `give one of them another name: \`rename(${camel(second)}, { ${name}: '${camel(`${second}-${name}`)}' })\``,
  ),
  'score-clash': row<{ field: string; first: string; second: string }>(
    ({ field, first, second }) =>
      `patterns \`${first}\` and \`${second}\` both have a \`${field}\`; at most one may`,
    () => 'write one pattern whose function does both, and combine that one',
  ),
  'bad-renames': row<{ got: string }>(
    ({ got }) => `rename() takes a record of old and new names, got ${got}`,
    () => "write `rename(slidingWindow, { window: 'reach' })`",
  ),
  'rename-unknown': row<{ pattern: string; name: string; known: readonly string[] }>(
    ({ pattern, name, known }) =>
      `pattern \`${pattern}\` has no param, const or table \`${name}\`; it has ${known.length ? known.join(', ') : 'none'}`,
  ),
  'no-example': row<{ name: string; known: readonly string[] }>(
    ({ name, known }) =>
      `the library has no pattern \`${name}\` and so no example of it; it has ${known.join(', ')}`,
  ),
} as const

export type Code = keyof typeof MESSAGES
export type MessageArgs<C extends Code> = Parameters<(typeof MESSAGES)[C]['text']>[0]

/** `sliding-window` as an identifier: `slidingWindow`. */
const camel = (name: string): string => name.replace(/-(.)/g, (_, c: string) => c.toUpperCase())

/** What was found where something else was due, in a few characters. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return `[${value.map(describe).join(', ')}]`
  switch (typeof value) {
    case 'string':
      return `'${value}'`
    case 'function':
      return 'a function'
    case 'object':
      return 'kind' in value ? `a ${String(value.kind)}` : 'an object'
    default:
      return String(value)
  }
}

/** What the words of the DSL throw when a pattern is put together wrongly: `code` is one of messages.ts. */
export class PatternError extends Error {
  readonly code: Code
  readonly hint: string | null

  constructor(code: Code, text: string, hint: string | null) {
    super(`error[${code}]: ${text}${hint === null ? '' : `\nhint: ${hint}`}`)
    this.name = 'PatternError'
    this.code = code
    this.hint = hint
  }
}

/** The error of a code, its texts filled in. */
export function patternError<C extends Code>(code: C, args: MessageArgs<C>): PatternError {
  const found: { text: (args: never) => string; hint?: (args: never) => string } = MESSAGES[code]
  // Each row's functions take that row's own arguments; the table's type says so, the union of rows cannot.
  const fill = (f: (args: never) => string): string => f(args as never)
  return new PatternError(code, fill(found.text), found.hint ? fill(found.hint) : null)
}
