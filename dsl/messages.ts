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
  // Forward programs
  'reserved-input': row<{ section: string; name: string }>(
    ({ section, name }) => `\`${name}\` in ${section} is the name of a value that every forward program gets`,
    ({ name }) => `call it something else, such as \`my${name[0]!.toUpperCase()}${name.slice(1)}\``,
  ),
  'bad-rows': row<{ got: string }>(
    ({ got }) =>
      `rows(): takes a side ('q' or 'kv'), who shares them ('head', 'kvHead', 'request' or 'indexHead') and, if not 'token', the grain 'whole'; got ${got}`,
    () => "write something like `qIndex: rows('q', 'indexHead')`",
  ),
  'bad-value': row<{ word: string; due: string; got: string }>(
    ({ word, due, got }) => `${word}() takes ${due} here, got ${got}`,
  ),
  'bad-size': row<{ word: string; name: string; least: number; got: string }>(
    ({ word, name, least, got }) => `${word}(): \`${name}\` must be a whole number from ${least}, got ${got}`,
  ),
  'bad-slice': row<{ start: number; end: number | undefined; step: number }>(
    ({ start, end, step }) =>
      `slice(): start and end must be whole numbers and step one from 1, got ${start}, ${String(end)}, ${step}`,
  ),
  'bad-span': row<{ start: number; end: number }>(
    ({ start, end }) => `range(): a span's bounds must be whole numbers, got [${start}, ${end}]`,
  ),
  'bad-chunks': row<{ at: number; before: number; got: number }>(
    ({ at, before, got }) =>
      `chunks(): ends must not decrease, but ${before} is followed by ${got} at chunk ${at}`,
  ),
  'bad-rope': row<{ width: number; channels: number; base: number; position: string }>(
    ({ width, channels, base, position }) =>
      `rope(): needs an even width within the ${channels} channels, a base above 0 and finite positions; got width ${width}, base ${base}, position ${position}`,
  ),
  'bad-quantization': row<{ got: string }>(
    ({ got }) => `quantize(): the type must be 'int8', 'int4', 'fp8' or 'sign', got ${got}`,
  ),
  'bad-reduction': row<{ got: string; known: readonly string[] }>(
    ({ got, known }) => `pool(): these can be pooled by ${known.join(', ')}, got ${got}`,
  ),
  'bad-visible': row<{ got: string }>(({ got }) => `\`visible\` must be 'any', 'all' or 'off', got ${got}`),
  'bad-amount': row<{ word: string; got: string }>(({ word, got }) =>
    word === 'topK'
      ? `topK(): k must be a whole number from 0, or Infinity, got ${got}`
      : `topP(): p must be a number from 0, got ${got}`,
  ),
  'bad-channel': row<{ table: string; got: number; width: number }>(
    ({ table, got, width }) => `channels(): table \`${table}\` names channel ${got} of vectors of ${width}`,
  ),
  'bad-offsets': row<{ grain: string }>(
    ({ grain }) => `distances cannot be pooled to units of ${grain}`,
    () => 'pool by key, before skew() or after unskew()',
  ),
  'bad-reuse': row<{ got: string }>(
    ({ got }) => `reuse(): a rule is { steps } from 1, { layers: true } or { similar, above }, got ${got}`,
  ),
  'negative-mass': row<{ got: number }>(
    ({ got }) => `topP() adds up weights, and one of these is ${got}`,
    () => 'give it what softmax() makes',
  ),
  'table-shape': row<{ word: string; table: string; dims: readonly string[]; due: number }>(
    ({ word, table, dims, due }) =>
      `${word}() reads table \`${table}\` with ${due === 1 ? 'one dim' : `${due} dims`} behind batch and heads, but it is [${dims.join(', ')}]`,
  ),
  'calls-differ': row<{ word: string }>(
    ({ word }) => `${word}() was given values of two calls; a value lives as long as the call it was made in`,
  ),
  'shares-differ': row<{ word: string; first: string; second: string }>(
    ({ word, first, second }) =>
      `${word}(): values for each ${first} do not correspond to values for each ${second} here`,
  ),
  'units-differ': row<{ word: string; side: string; first: string; second: string }>(
    ({ word, side, first, second }) =>
      `${word}(): the ${side} axes are cut differently: ${first} and ${second}`,
  ),
  'units-nest': row<{ word: string; unit: string; group: string }>(
    ({ word, unit, group }) => `${word}(): a unit of ${unit} lies in two units of ${group}; sizes must nest`,
  ),
  'units-per-sharer': row<{ share: string; units: string }>(
    ({ share, units }) =>
      `pool(): each head has ${units} of its own, so they cannot be shared by the ${share}`,
  ),
  'units-per-query': row<{ units: string }>(
    ({ units }) => `pool(): each query unit has ${units} of its own, so query units cannot be pooled`,
    () => 'pool queries and keys at once: `{ q: .., kv: .. }`',
  ),
  'no-units': row<{ word: string }>(
    ({ word }) =>
      `${word}() needs a set of units, which rules on positions and sets of different units are not`,
    ({ word }) => `use ${word}() before the sets are combined, or write the rule as where(scores, ..)`,
  ),
  'orders-differ': row<{ word: string; side: string }>(
    ({ word, side }) => `${word}(): the ${side} tokens were put in two different orders`,
  ),
  'widths-differ': row<{ word: string; first: number; second: number }>(
    ({ word, first, second }) => `${word}(): vectors of ${first} channels meet ones of ${second}`,
  ),
  'ragged-concat': row<{ counts: readonly number[] }>(
    ({ counts }) =>
      `pool(.., 'concat'): units must have equally many members, these have ${counts.join(', ')}`,
    () => 'windows(size, step) are always whole',
  ),
  'tile-missing': row<{ option: string }>(
    ({ option }) => `attend(): what \`${option}\` decides depends on the tiles, and there is no \`tile\``,
    ({ option }) => `write \`{ tile: { q: 128, kv: 128 }, ${option}: .. }\``,
  ),
  'states-overlap': row<{ head: number; q: number; kv: number }>(
    ({ head, q, kv }) => `merge(): two states hold the same key: head ${head}, query ${q}, key ${kv}`,
    () => 'build the second set with difference(), or go on with `{ after: state }`',
  ),
  'gated-sink': row<{ pattern: string }>(
    ({ pattern }) =>
      `pattern \`${pattern}\` has a sinkLogit, which belongs to one softmax, but its forward gives a gated sum of several`,
  ),
  'bad-answer': row<{ pattern: string; got: string }>(
    ({ pattern, got }) =>
      `forward of pattern \`${pattern}\` must return what attend(), merge() or gated() gives, got ${got}`,
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
