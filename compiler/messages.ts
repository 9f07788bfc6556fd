/** Every diagnostic of the compiler as data: code, severity, sentence, hint. Texts live here and nowhere else. */

export type Severity = 'error' | 'note' | 'internal'

interface Row<A> {
  readonly severity: Severity
  readonly text: (args: A) => string
  readonly hint?: (args: A) => string
}

const row = <A>(severity: Severity, text: (args: A) => string, hint?: (args: A) => string): Row<A> =>
  hint ? { severity, text, hint } : { severity, text }

const error = <A>(text: (args: A) => string, hint?: (args: A) => string): Row<A> => row('error', text, hint)

const list = (words: readonly string[]): string => (words.length > 0 ? words.join(', ') : 'none')
const camel = (name: string): string => name.replace(/-(.)/g, (_, c: string) => c.toUpperCase())
const capital = (name: string): string => `${name[0]!.toUpperCase()}${name.slice(1)}`

export const MESSAGES = {
  // The file
  'unreadable-file': error<{ file: string; why: string }>(
    ({ file, why }) => `cannot read \`${file}\`: ${why}`,
  ),
  syntax: error<{ text: string }>(({ text }) => text),
  types: error<{ text: string }>(({ text }) => text),
  'no-pattern': error<{ elsewhere: boolean }>(
    ({ elsewhere }) =>
      elsewhere ? 'the file only passes on patterns of other files' : 'the file exports no pattern',
    ({ elsewhere }) =>
      elsewhere
        ? 'compile the files that declare them'
        : "write `export const mine = pattern({ name: 'mine', mask: ({ q, kv }) => kv <= q })`",
  ),
  'not-a-pattern': error<{ text: string }>(
    ({ text }) => `\`${text}\` gives a pattern in a way that the compiler, which runs no code, cannot read`,
    () => 'write a call of pattern, and, or, not or rename, or the name of a constant that holds one',
  ),

  // Declarations
  'unreadable-record': error<{ what: string; text: string }>(
    ({ what, text }) => `\`${text}\` leaves open which fields the record of ${what} has`,
    () => 'write the fields out, or spread a constant record whose fields are written out',
  ),
  'unknown-field': error<{ field: string; known: readonly string[] }>(
    ({ field, known }) => `a pattern has no field \`${field}\`; its fields are ${list(known)}`,
  ),
  'missing-mask': error<{ name: string }>(
    ({ name }) => `pattern \`${name}\` has no mask`,
    () => 'write `mask: () => true` if every query attends every key',
  ),
  'pattern-name': error<{ name: string }>(
    ({ name }) => `\`${name}\` is no pattern's name: a name is lower-case words joined by hyphens`,
    () => "write something like `name: 'sliding-window'`",
  ),
  'duplicate-pattern': error<{ name: string; first: string; second: string }>(
    ({ name, first, second }) =>
      `\`${first}\` and \`${second}\` are both named \`${name}\`, and so would be their files`,
    ({ second, name }) =>
      `give \`${second}\` another name, or write \`rename(${camel(name)}, {}, 'other-name')\``,
  ),
  declaration: error<{ wanted: string; got: string; text: string }>(
    ({ wanted, got, text }) => `\`${text}\` must be ${wanted}, got ${got}`,
  ),
  'reserved-name': error<{ name: string; section: string }>(
    ({ name, section }) => `\`${name}\` in ${section} is the name of a field of the index record`,
    ({ name }) => `call it something else, such as \`my${capital(name)}\``,
  ),
  identifier: error<{ name: string; section: string }>(
    ({ name, section }) =>
      `\`${name}\` in ${section} cannot be a name in a kernel: a name is a letter followed by letters, digits or single underscores`,
  ),
  'duplicate-name': error<{ name: string; first: string; second: string }>(
    ({ name, first, second }) =>
      `\`${name}\` stands in both ${first} and ${second}; a mask could not tell them apart`,
  ),
  'const-value': error<{ name: string; got: string }>(
    ({ name, got }) => `const \`${name}\` must be an integer within +-2^30, got ${got}`,
    () => 'a value that is no integer belongs in params, as f32(..)',
  ),
  'unknown-const': error<{ name: string; known: readonly string[] }>(
    ({ name, known }) => `there is no const \`${name}\` to override; consts are ${list(known)}`,
  ),
  'param-default': error<{ type: string; value: string; min: number; max: number }>(
    ({ type, value, min, max }) =>
      `the default ${value} is no ${type === 'i32' ? 'integer' : 'number'} from ${min} to ${max}`,
    () => 'change the default, or the bounds `{ min, max }`',
  ),
  'param-bounds': error<{ type: string; bound: string; got: string }>(
    ({ type, bound, got }) =>
      `\`${bound}\` must be ${type === 'i32' ? 'an integer within +-2^30' : 'a number within f32'}, got ${got}`,
  ),
  'param-range': error<{ min: number; max: number }>(
    ({ min, max }) => `\`min\` ${min} lies above \`max\` ${max}`,
  ),
  'unknown-dim': error<{ table: string; dim: string; known: readonly string[] }>(
    ({ table, dim, known }) =>
      `table \`${table}\` has a dim \`${dim}\` that is no axis and no const; known are ${list(known)}`,
  ),
  'dim-size': error<{ table: string; dim: string; size: number }>(
    ({ table, dim, size }) => `table \`${table}\` has a dim \`${dim}\` of size ${size}; a size is 1 or more`,
  ),

  // Combination
  'param-clash': error<{ name: string; first: string; second: string }>(
    ({ name, first, second }) =>
      `patterns \`${first}\` and \`${second}\` both declare \`${name}\`, and differently`,
    ({ name, second }) =>
      `give one of them another name: \`rename(${camel(second)}, { ${name}: '${camel(`${second}-${name}`)}' })\``,
  ),
  'score-clash': error<{ field: string; first: string; second: string }>(
    ({ field, first, second }) =>
      `patterns \`${first}\` and \`${second}\` both have a ${field}; at most one may`,
    () => 'write one pattern whose function does both, and combine that one',
  ),
  'rename-unknown': error<{ pattern: string; name: string; known: readonly string[] }>(
    ({ pattern, name, known }) =>
      `pattern \`${pattern}\` has no param, const or table \`${name}\`; it has ${list(known)}`,
  ),

  // The language
  'default-value': error<{ text: string }>(
    ({ text }) => `\`${text}\` has a default value, but a kernel is always given the whole index record`,
    () => 'leave the default out; a value of its own is declared in `params`',
  ),
  'sink-logit-positions': error<{ name: string }>(
    ({ name }) => `a sinkLogit has one value for a whole row of a head, so it cannot depend on \`${name}\``,
    () => 'change the logits of pairs in `score`',
  ),
  'index-division': error<{ left: string; right: string }>(
    () => '`/` gives a fraction in TypeScript and truncates on the GPU',
    ({ left, right }) => `write \`floorDiv(${left}, ${right})\``,
  ),
  'index-power': error<{ base: string; exponent: string; small: boolean }>(
    () => '`**` on indices is a floating-point power on the GPU',
    ({ base, exponent, small }) =>
      small
        ? `write \`${base} * ${base}\``
        : base === '2'
          ? `write \`1 << k\` for a constant k, or bring a table in place of \`${exponent}\``
          : 'multiply, or bring a table',
  ),
  'integers-only': error<{ user: string; text: string }>(
    ({ user, text }) => `${user} works on integers, and \`${text}\` is a float`,
    ({ text }) => `round it first: \`Math.floor(${text})\``,
  ),
  'loose-equality': error<{ left: string; right: string; negated: boolean }>(
    ({ negated }) => `\`${negated ? '!=' : '=='}\` converts its operands in ways that a kernel does not`,
    ({ left, right, negated }) => `write \`${left} ${negated ? '!==' : '==='} ${right}\``,
  ),
  'shift-count': error<{ operator: string; count: string; least: number }>(
    ({ operator, count, least }) =>
      `the count of ${operator} must be a constant from ${least} to 31, and \`${count}\` is not`,
  ),
  'float-in-mask': error<{ term: string; because: string }>(
    ({ term, because }) =>
      `\`${term}\` is a float in a mask and depends on ${because}; a GPU would round it differently`,
    () =>
      'compare an integer with a float that depends on params and lengths alone, or bring the values as a table of i32',
  ),
  'float-index': error<{ term: string; because: string }>(
    ({ term, because }) =>
      `\`${term}\` is a float that is used as an integer and depends on ${because}; a GPU would round it differently`,
    () =>
      'compute the index with integers, such as floorDiv, log2Floor and comparisons, or bring it as a table of i32',
  ),
  'not-finite': error<{ value: string }>(
    ({ value }) => `${value} is no finite f32, which is all that a kernel's constants can be`,
    () => 'to drop a pair, return false from `mask`',
  ),
  'not-a-number': error<{ text: string; got: string }>(
    ({ text, got }) => `\`${text}\` must be a number here, and is ${got}`,
  ),
  'not-boolean': error<{ text: string; simple: boolean; got: string }>(
    ({ text, got }) => `\`${text}\` must be a boolean here, and is ${got}`,
    ({ text, simple }) => `compare it: \`${simple ? text : `(${text})`} !== 0\``,
  ),
  'mixed-choice': error<{ first: string; second: string }>(
    ({ first, second }) =>
      `a kernel cannot choose between ${first} and ${second}: both must be numbers, or both booleans`,
  ),
  'table-rank': error<{ table: string; dims: readonly string[]; got: number }>(
    ({ table, dims, got }) =>
      `table \`${table}\` has the dims ${list(dims)}, and is read with ${got} ${got === 1 ? 'index' : 'indices'}`,
  ),
  'table-index': error<{ table: string; text: string }>(
    ({ table, text }) => `\`${text}\`, an index of table \`${table}\`, is a float`,
    ({ text }) => `round it: \`Math.floor(${text})\``,
  ),
  'table-index-order': row<{ table: string; dim: string; text: string; what: string }>(
    'note',
    ({ table, dim, text, what }) =>
      `\`${text}\` is ${what}, and here table \`${table}\` has its dim \`${dim}\``,
    ({ dim, text }) =>
      dim === 'qLen' && text === 'q'
        ? 'a table over `qLen` is read by row: `q - (kvLen - qLen)`'
        : 'are the indices in the order of the dims?',
  ),
  'param-index': error<{ name: string; text: string }>(
    ({ name, text }) =>
      `\`${name}\` is read with ${text === '' ? 'no index' : `\`${text}\``}; a kernel knows it of the head at hand alone`,
    ({ name }) => `take \`head\` from the function's record and write \`${name}.at(head)\``,
  ),
  'array-index': error<{ range: string; length: number }>(
    ({ range, length }) =>
      `an index of ${range} leaves an array of ${length} elements, which gives undefined in TypeScript`,
    ({ length }) => `keep it inside: \`clamp(.., 0, ${Math.max(0, length - 1)})\``,
  ),
  'array-of-others': error<{ text: string }>(
    ({ text }) =>
      `\`${text}\` reads an array by an index known only in the kernel, and its elements are not all numbers`,
    () => 'use an array of constant numbers, or of rows of the same length',
  ),
  'unknown-name': error<{ name: string; why: string }>(
    ({ name, why }) => `\`${name}\` means nothing in a kernel: ${why}`,
  ),
  'unknown-call': error<{ name: string; known: readonly string[] }>(
    ({ name }) => `\`${name}\` cannot be called in a kernel`,
    ({ known }) =>
      known.length > 0
        ? `there are ${list(known)}`
        : 'write it as a function in this file or an imported one',
  ),
  'argument-count': error<{ name: string; least: number; most: number; got: number }>(
    ({ name, least, most, got }) =>
      `\`${name}\` takes ${most === Infinity ? `${least} or more` : least === most ? least : `${least} to ${most}`} ${most === 1 ? 'argument' : 'arguments'}, got ${got}`,
  ),
  recursion: error<{ name: string }>(
    ({ name }) => `\`${name}\` calls itself, and a kernel has no stack`,
    () => 'write a `for` loop with constant bounds',
  ),
  'missing-return': error<{ name: string }>(
    ({ name }) => `\`${name}\` does not return a value on every path`,
    () => 'end it with a `return`',
  ),
  'mutable-closure': error<{ name: string; why: string }>(
    ({ name, why }) => `\`${name}\` ${why}, so a kernel cannot know its value`,
    ({ name }) => `make it a constant, \`const ${name} = ..\`, or a param of the pattern`,
  ),
  assignment: error<{ text: string; why: string }>(
    ({ text, why }) => `\`${text}\` cannot be an assignment of a kernel: ${why}`,
    () => 'assign to a `let` of the same function, in a statement of its own',
  ),
  statement: error<{ what: string; instead: string | null }>(
    ({ what, instead }) =>
      instead === null ? `${what} has no meaning in a kernel` : `${what} is not in the language of patterns`,
    ({ instead }) => (instead === null ? 'leave it out' : `use ${instead}`),
  ),
  unsupported: error<{ what: string }>(({ what }) => `${what} is not in the language of patterns`),
  'loop-bounds': error<{ text: string }>(
    ({ text }) => `${text} does not say a number of steps that is known when the kernel is built`,
    () =>
      'write `for (let i = 0; i < N; i++)` with a constant or one of `consts` as N, or `for (const x of LIST)`',
  ),
  'loop-too-long': error<{ limit: number }>(
    ({ limit }) => `the loops of a pattern are unrolled, and these take more than ${limit} steps in all`,
    () => 'find a closed form, or bring a table',
  ),
  'too-large': error<object>(
    () => 'the pattern becomes too large when its helper functions and loops are written out',
    () => 'call helpers fewer times, or with results kept in a `const`',
  ),
  'too-deep': error<{ limit: number }>(
    ({ limit }) => `the pattern nests more than ${limit} operations when its loops are written out`,
    () => 'use fewer loop steps',
  ),

  // Proofs about integers
  'zero-divisor': error<{ divisor: string; range: string }>(
    ({ divisor, range }) => `the divisor \`${divisor}\` is not provably 1 or more: it may be ${range}`,
    ({ divisor }) => `declare bounds, as in \`i32(.., { min: 1 })\`, or write \`max(1, ${divisor})\``,
  ),
  'index-overflow': error<{ term: string; range: string }>(
    ({ term, range }) => `\`${term}\` is not provably inside int32: it may be ${range}`,
    () => 'declare bounds, as in `i32(.., { min: 0, max: 2 ** 20 })`, or clamp its parts',
  ),
  'derived-overflow': error<{ term: string; range: string }>(
    ({ term, range }) =>
      `\`${term}\` makes an integer of a float that is not provably within +-2^30: it may be ${range}`,
    () => 'declare bounds, as in `f32(.., { min: 0, max: 1 })`, or clamp it',
  ),
  'compare-overflow': error<{ term: string; bound: string; range: string }>(
    ({ term, bound, range }) =>
      `\`${term}\` is compared with the float \`${bound}\` and is not provably within +-2^30: it may be ${range}`,
    () => 'declare the bounds of the params on both sides',
  ),

  // The analysis of tiles
  'tiles-by-test': row<object>(
    'note',
    () =>
      'tiles are found by a test per tile, not by closed-form ranges: this term bounds no interval of keys',
  ),
  'tiles-by-list': row<{ table: string }>(
    'note',
    ({ table }) =>
      `tiles are found by a list that a kernel builds, because this term depends on the values of table \`${table}\``,
    ({ table }) =>
      `if \`${table}\` never decreases, declare it with { monotone: true } and compare positions with it`,
  ),

  // Stages of `forward`
  'stage-branch': error<{ text: string }>(
    ({ text }) => `\`${text}\` is known only when the kernels run, and a \`forward\` runs straight on`,
    () =>
      'write `?:` on params, or sets: `intersect(set, where(scores, (s) => s > 0))` is empty where it does not hold',
  ),
  'stage-place': error<{ word: string }>(
    ({ word }) => `\`${word}\` is a word of \`forward\`, not of a function over single pairs or cells`,
  ),
  'stage-result': error<{ got: string }>(
    ({ got }) => `a \`forward\` returns what attend, merge or gated give, got ${got}`,
    () => 'end with `return attend(Q, K, V, set)`',
  ),
  'stage-heads': error<{ first: string; second: string }>(
    ({ first, second }) => `values of each ${first} and of each ${second} do not correspond`,
    () => "pool the finer one, as in `pool(s, { share: 'request' }, 'sum')`",
  ),
  'stage-units': error<{ first: string; second: string }>(
    ({ first, second }) => `${first} meet ${second}: units of both must be the same, or one of them whole`,
    () => 'pool one of them to the units of the other',
  ),
  'stage-orders': error<{ side: string }>(
    ({ side }) => `two different orders of the tokens of ${side} meet`,
    () => 'permute by one argsort, kept in a `const`',
  ),
  'stage-clusters': error<{ first: string; second: string }>(
    ({ first, second }) => `clusters by \`${first}\` meet clusters by \`${second}\``,
    () => 'cut both by one table of labels',
  ),
  'stage-nesting': error<{ from: string; to: string; how: string }>(
    ({ from, to, how }) =>
      `\`${how}\` has no meaning here: a unit of ${from} may lie in part in one of ${to}`,
    () => "choose sizes that nest, or take 'sum', which gives each unit its fraction",
  ),
  'stage-channels': error<{ first: string; second: string }>(
    ({ first, second }) => `vectors of ${first} channels meet ${second}`,
  ),
  'stage-table': error<{ word: string; table: string; wanted: string }>(
    ({ word, table, wanted }) => `\`${word}\` reads a table ${wanted}, and \`${table}\` is another`,
  ),
  'stage-argument': error<{ word: string; wanted: string; got: string }>(
    ({ word, wanted, got }) => `\`${word}\` takes ${wanted} here, got ${got}`,
  ),
  'stage-constant': error<{ word: string; name: string; wanted: string; got: string }>(
    ({ word, name, wanted, got }) => `${name} of \`${word}\` must be ${wanted}, got ${got}`,
    ({ wanted, got }) => {
      if (wanted.startsWith('a constant')) return 'what shapes the kernels belongs in `consts`'
      if (got === 'Infinity') return 'leave the set out where all is to be attended'
      // What is no number says so.
      const isWhole = Number.isInteger(Number(got))
      return wanted.startsWith('a whole') && !isWhole
        ? 'declare it as `i32`, or round it: `Math.ceil(share * n)`'
        : 'leave the word out where it is to choose nothing'
    },
  ),
  'stage-tile': error<{ option: string }>(
    ({ option }) => `\`${option}\` is asked of tiles, whose size is a part of its meaning and is not given`,
    () => 'write `tile: { q: 128, kv: 128 }` beside it',
  ),
  'stage-option': error<{ word: string; name: string; known: readonly string[] }>(
    ({ word, name, known }) => `\`${word}\` has no option \`${name}\`; there are ${list(known)}`,
  ),
  'merge-overlap': error<object>(
    () => 'these states cannot be shown to hold different pairs, and one that both hold would count twice',
    () => 'write one after the other, `attend(Q, K, V, set, { after: first })`, or one attend over a `union`',
  ),
  'quadratic-buffer': error<{ word: string }>(
    ({ word }) => `what \`${word}\` gives here takes memory for each pair of a query and a key`,
    ({ word }) =>
      `choose units first, as in \`pool(s, { kv: blocks(64) }, ..)\`, or a fixed number of them, by \`topK\`${word === 'topK' ? ' without `per`' : ''}`,
  ),
  'filter-by-cell': row<object>(
    'note',
    () => 'every cell is computed and then asked, because what this filter leaves of a row is no interval',
    () =>
      'compare `kv.index` or `kv.first` with what does not depend on them, as in `kv.index < into.kv.first + 4`',
  ),
  'selection-unseen': row<{ word: string }>(
    'note',
    ({ word }) =>
      `\`${word}\` chooses among all units, also those that the mask hides, and what it spends on these is lost`,
    () => "leave out `visible: 'off'`, or pool to units that are to be chosen",
  ),
  'stage-choice': error<{ first: string; second: string }>(
    ({ first, second }) => `\`?:\` cannot choose between ${first} and ${second}`,
    () => 'give both sides the same kind of value over the same units',
  ),

  internal: row<{ stage: string; detail: string }>(
    'internal',
    ({ stage, detail }) => `the stage \`${stage}\` broke: ${detail}`,
    () => 'this is a bug of Heddle, not of the pattern; please report it with the pattern file',
  ),
} as const

/** Labels and secondary places. */
export const NOTES = {
  calledFrom: 'called from here',
  dependsOn: (because: string): string => `depends on ${because}`,
  declaredBy: (pattern: string): string => `as \`${pattern}\` declares it`,
} as const

export type Code = keyof typeof MESSAGES
export type MessageArgs<C extends Code> = Parameters<(typeof MESSAGES)[C]['text']>[0]
