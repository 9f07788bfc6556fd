/** The op table: one row tells all there is to know about an op: its types, its evaluation and its interval. */

import { mod, floorDiv, log2Floor, isPow2, popcount, hash2 } from '../dsl/math.ts'

export type Scalar = 'i32' | 'f32' | 'bool'
export type Value = number | boolean

/** [lo, hi], both ends attained or over-approximated; of a boolean: [surely true, possibly true]. */
export type Range<T> = readonly [lo: T, hi: T]

/** The ops whose rows may be used to compute an interval; named apart because the table's own type cannot refer to itself. */
type Bounding =
  | 'add'
  | 'sub'
  | 'mul'
  | 'neg'
  | 'min'
  | 'max'
  | 'floorDiv'
  | 'mod'
  | 'alignDown'
  | 'bitAnd'
  | 'bitOr'
  | 'bitXor'
  | 'bitNot'
  | 'shl'
  | 'shr'
  | 'ushr'
  | 'popcount'
  | 'log2Floor'
  | 'isPow2'
  | 'hash'
  | 'imul'
  | 'exp'
  | 'exp2'
  | 'tanh'
  | 'floor'
  | 'ceil'
  | 'toF32'
  | 'toI32'
  | 'lt'
  | 'le'
  | 'eq'
  | 'and'
  | 'or'
  | 'not'
  | 'select'

/** The domain that intervals are computed in: plain numbers, or expressions in the tile's bounds. */
export interface Domain<T> {
  readonly num: (n: number) => T
  readonly apply: (op: Bounding, ...args: T[]) => T
  /** True if the two are known to be the same value. */
  readonly same: (a: T, b: T) => boolean
}

export interface OpRow {
  /** Overloads, `'i32 i32 -> i32'`. Leaves have none: their type is given when they are made. */
  readonly types: readonly string[]
  readonly eval: (...args: never[]) => Value
  readonly range: <T>(d: Domain<T>, ...args: Range<T>[]) => Range<T>
  readonly commutes?: true
}

const NUMERIC = ['i32 i32 -> i32', 'f32 f32 -> f32']
const UNARY = ['i32 -> i32', 'f32 -> f32']
const COMPARE = ['i32 i32 -> bool', 'f32 f32 -> bool']
const LARGEST = 2 ** 31 - 1

const up =
  (op: Bounding) =>
  <T>(d: Domain<T>, x: Range<T>): Range<T> => [d.apply(op, x[0]), d.apply(op, x[1])]

/** The hull of a function that is monotone in each argument on its own: its extremes are at corners. */
const corners =
  (op: Bounding) =>
  <T>(d: Domain<T>, x: Range<T>, y: Range<T>): Range<T> => {
    const xs = d.same(x[0], x[1]) ? [x[0]] : [x[0], x[1]]
    const ys = d.same(y[0], y[1]) ? [y[0]] : [y[0], y[1]]
    const all = xs.flatMap((a) => ys.map((b) => d.apply(op, a, b)))
    const fold = (o: Bounding) => all.reduce((a, b) => d.apply(o, a, b))
    return [fold('min'), fold('max')]
  }

/** Exact where every argument is one value, else the bounds given. */
const exactOr =
  (op: Bounding, bounds: <T>(d: Domain<T>, ...args: Range<T>[]) => Range<T>) =>
  <T>(d: Domain<T>, ...args: Range<T>[]): Range<T> => {
    const value = d.apply(op, ...args.map((r) => r[0]))
    if (args.every((r) => d.same(r[0], r[1]))) return [value, value]
    const points = args.map((r) => d.apply('eq', r[0], r[1])).reduce((a, b) => d.apply('and', a, b))
    const [lo, hi] = bounds(d, ...args)
    return [d.apply('select', points, value, lo), d.apply('select', points, value, hi)]
  }

const between =
  (lo: number, hi: number) =>
  <T>(d: Domain<T>): Range<T> => [d.num(lo), d.num(hi)]

const modRange = <T>(d: Domain<T>, x: Range<T>, m: Range<T>): Range<T> => {
  const top = d.apply('sub', m[1], d.num(1))
  if (!d.same(m[0], m[1])) return [d.num(0), top]
  const onePeriod = d.apply('eq', d.apply('floorDiv', x[0], m[0]), d.apply('floorDiv', x[1], m[0]))
  return [
    d.apply('select', onePeriod, d.apply('mod', x[0], m[0]), d.num(0)),
    d.apply('select', onePeriod, d.apply('mod', x[1], m[0]), top),
  ]
}

const never = (): never => {
  throw new Error('a leaf is evaluated by its environment')
}

const leaf: OpRow = { types: [], eval: never, range: never }

export const OPS = {
  // Leaves: what they are is in the node's arg; src of a load or pick are its indices.
  const: leaf,
  var: leaf,
  param: leaf,
  derived: leaf,
  load: leaf,
  pick: leaf,

  // Arithmetic
  add: {
    types: NUMERIC,
    commutes: true,
    eval: (a: number, b: number) => a + b,
    range: (d, x, y) => [d.apply('add', x![0], y![0]), d.apply('add', x![1], y![1])],
  },
  sub: {
    types: NUMERIC,
    eval: (a: number, b: number) => a - b,
    range: (d, x, y) => [d.apply('sub', x![0], y![1]), d.apply('sub', x![1], y![0])],
  },
  mul: {
    types: NUMERIC,
    commutes: true,
    eval: (a: number, b: number) => a * b,
    range: (d, x, y) => corners('mul')(d, x!, y!),
  },
  neg: {
    types: UNARY,
    eval: (a: number) => -a,
    range: (d, x) => [d.apply('neg', x![1]), d.apply('neg', x![0])],
  },
  min: {
    types: NUMERIC,
    commutes: true,
    eval: (a: number, b: number) => Math.min(a, b),
    range: (d, x, y) => [d.apply('min', x![0], y![0]), d.apply('min', x![1], y![1])],
  },
  max: {
    types: NUMERIC,
    commutes: true,
    eval: (a: number, b: number) => Math.max(a, b),
    range: (d, x, y) => [d.apply('max', x![0], y![0]), d.apply('max', x![1], y![1])],
  },
  abs: {
    types: UNARY,
    eval: (a: number) => Math.abs(a),
    range: (d, x) => {
      const zero = d.num(0)
      const [lo, hi] = x!
      return [
        d.apply('max', zero, d.apply('max', lo, d.apply('neg', hi))),
        d.apply('max', d.apply('neg', lo), hi),
      ]
    },
  },
  /** Divisors are proven positive, so a quotient grows with its dividend. */
  floorDiv: {
    types: ['i32 i32 -> i32'],
    eval: floorDiv,
    range: (d, x, m) =>
      d.same(m![0], m![1])
        ? [d.apply('floorDiv', x![0], m![0]), d.apply('floorDiv', x![1], m![0])]
        : corners('floorDiv')(d, x!, m!),
  },
  mod: { types: ['i32 i32 -> i32'], eval: mod, range: (d, x, m) => modRange(d, x!, m!) },
  /** `x - mod(x, m)`: the multiple of m at or below x. The compiler makes it when it solves for a position. */
  alignDown: {
    types: ['i32 i32 -> i32'],
    eval: (x: number, m: number) => x - mod(x, m),
    range: (d, x, m) =>
      d.same(m![0], m![1])
        ? [d.apply('alignDown', x![0], m![0]), d.apply('alignDown', x![1], m![0])]
        : [d.apply('sub', x![0], d.apply('sub', m![1], d.num(1))), x![1]],
  },
  /** `%`: the sign of the dividend, as in JavaScript, WGSL and CUDA. */
  rem: {
    types: ['i32 i32 -> i32'],
    eval: (a: number, b: number) => (a % b) + 0,
    range: (d, x, m) => {
      const positive = d.apply('le', d.num(0), x![0])
      const [lo, hi] = modRange(d, x!, m!)
      const top = d.apply('sub', m![1], d.num(1))
      return [d.apply('select', positive, lo, d.apply('neg', top)), d.apply('select', positive, hi, top)]
    },
  },

  // Bits
  bitAnd: {
    types: ['i32 i32 -> i32'],
    commutes: true,
    eval: (a: number, b: number) => a & b,
    range: exactOr('bitAnd', (d, x, y) => {
      const xPos = d.apply('le', d.num(0), x![0])
      const yPos = d.apply('le', d.num(0), y![0])
      const top = d.num(LARGEST)
      return [
        d.apply('select', d.apply('or', xPos, yPos), d.num(0), d.num(-LARGEST - 1)),
        d.apply('min', d.apply('select', xPos, x![1], top), d.apply('select', yPos, y![1], top)),
      ]
    }),
  },
  bitOr: {
    types: ['i32 i32 -> i32'],
    commutes: true,
    eval: (a: number, b: number) => a | b,
    range: exactOr('bitOr', between(-LARGEST - 1, LARGEST)),
  },
  bitXor: {
    types: ['i32 i32 -> i32'],
    commutes: true,
    eval: (a: number, b: number) => a ^ b,
    range: exactOr('bitXor', between(-LARGEST - 1, LARGEST)),
  },
  bitNot: {
    types: ['i32 -> i32'],
    eval: (a: number) => ~a,
    range: (d, x) => [d.apply('bitNot', x![1]), d.apply('bitNot', x![0])],
  },
  /** Shift counts are constants from 0 to 31, so both shifts are monotone in what is shifted. */
  shl: {
    types: ['i32 i32 -> i32'],
    eval: (a: number, b: number) => a * 2 ** b,
    range: (d, x, k) => corners('shl')(d, x!, k!),
  },
  shr: {
    types: ['i32 i32 -> i32'],
    eval: (a: number, b: number) => a >> b,
    range: (d, x, k) => corners('shr')(d, x!, k!),
  },
  ushr: {
    types: ['i32 i32 -> i32'],
    eval: (a: number, b: number) => a >>> b,
    range: exactOr('ushr', between(0, LARGEST)),
  },
  popcount: { types: ['i32 -> i32'], eval: popcount, range: exactOr('popcount', between(0, 32)) },
  log2Floor: { types: ['i32 -> i32'], eval: log2Floor, range: (d, x) => up('log2Floor')(d, x!) },
  isPow2: {
    types: ['i32 -> bool'],
    eval: isPow2,
    range: (d, x) => {
      const [lo, hi] = x!
      const below = d.apply('shl', d.num(1), d.apply('max', d.num(0), d.apply('log2Floor', hi)))
      const oneTwo = d.apply('and', d.apply('eq', lo, d.num(1)), d.apply('eq', hi, d.num(2)))
      return [
        d.apply('or', oneTwo, d.apply('and', d.apply('eq', lo, hi), d.apply('isPow2', lo))),
        d.apply('and', d.apply('le', d.num(1), hi), d.apply('le', lo, below)),
      ]
    },
  },
  hash: { types: ['i32 i32 -> i32'], eval: hash2, range: exactOr('hash', between(0, LARGEST)) },
  /** The low 32 bits of the product, as Math.imul. */
  imul: {
    types: ['i32 i32 -> i32'],
    commutes: true,
    eval: (a: number, b: number) => Math.imul(a, b),
    range: exactOr('imul', between(-LARGEST - 1, LARGEST)),
  },

  // Floating point
  div: {
    types: ['f32 f32 -> f32'],
    eval: (a: number, b: number) => a / b,
    range: between(-Infinity, Infinity),
  },
  exp: { types: ['f32 -> f32'], eval: (a: number) => Math.exp(a), range: (d, x) => up('exp')(d, x!) },
  exp2: { types: ['f32 -> f32'], eval: (a: number) => 2 ** a, range: (d, x) => up('exp2')(d, x!) },
  log: { types: ['f32 -> f32'], eval: (a: number) => Math.log(a), range: between(-Infinity, Infinity) },
  log2: { types: ['f32 -> f32'], eval: (a: number) => Math.log2(a), range: between(-Infinity, Infinity) },
  sqrt: { types: ['f32 -> f32'], eval: (a: number) => Math.sqrt(a), range: between(0, Infinity) },
  tanh: { types: ['f32 -> f32'], eval: (a: number) => Math.tanh(a), range: (d, x) => up('tanh')(d, x!) },
  sin: { types: ['f32 -> f32'], eval: (a: number) => Math.sin(a), range: between(-1, 1) },
  cos: { types: ['f32 -> f32'], eval: (a: number) => Math.cos(a), range: between(-1, 1) },
  pow: {
    types: ['f32 f32 -> f32'],
    eval: (a: number, b: number) => a ** b,
    range: between(-Infinity, Infinity),
  },
  floor: { types: ['f32 -> f32'], eval: (a: number) => Math.floor(a), range: (d, x) => up('floor')(d, x!) },
  ceil: { types: ['f32 -> f32'], eval: (a: number) => Math.ceil(a), range: (d, x) => up('ceil')(d, x!) },
  toF32: { types: ['i32 -> f32'], eval: (a: number) => a, range: (d, x) => up('toF32')(d, x!) },
  /** Of a whole number: what Math.floor, ceil and trunc gave. Only derived uniforms, evaluated on the host, hold it. */
  toI32: {
    types: ['f32 -> i32'],
    eval: (a: number) => Math.trunc(a) + 0,
    range: (d, x) => up('toI32')(d, x!),
  },

  // Truth
  lt: {
    types: COMPARE,
    eval: (a: number, b: number) => a < b,
    range: (d, x, y) => [d.apply('lt', x![1], y![0]), d.apply('lt', x![0], y![1])],
  },
  le: {
    types: COMPARE,
    eval: (a: number, b: number) => a <= b,
    range: (d, x, y) => [d.apply('le', x![1], y![0]), d.apply('le', x![0], y![1])],
  },
  eq: {
    types: COMPARE,
    commutes: true,
    eval: (a: number, b: number) => a === b,
    range: (d, x, y) => [
      d.apply(
        'and',
        d.apply('and', d.apply('eq', x![0], x![1]), d.apply('eq', y![0], y![1])),
        d.apply('eq', x![0], y![0]),
      ),
      d.apply('and', d.apply('le', x![0], y![1]), d.apply('le', y![0], x![1])),
    ],
  },
  and: {
    types: ['bool bool -> bool'],
    commutes: true,
    eval: (a: boolean, b: boolean) => a && b,
    range: (d, x, y) => [d.apply('and', x![0], y![0]), d.apply('and', x![1], y![1])],
  },
  or: {
    types: ['bool bool -> bool'],
    commutes: true,
    eval: (a: boolean, b: boolean) => a || b,
    range: (d, x, y) => [d.apply('or', x![0], y![0]), d.apply('or', x![1], y![1])],
  },
  not: {
    types: ['bool -> bool'],
    eval: (a: boolean) => !a,
    range: (d, x) => [d.apply('not', x![1]), d.apply('not', x![0])],
  },
  /** A choice between booleans is lowered to `and`, `or`, `not`, so that the analysis sees its conditions. */
  select: {
    types: ['bool i32 i32 -> i32', 'bool f32 f32 -> f32'],
    eval: (c: boolean, a: number, b: number) => (c ? a : b),
    range: (d, c, x, y) => [
      d.apply('select', c![0], x![0], d.apply('select', c![1], d.apply('min', x![0], y![0]), y![0])),
      d.apply('select', c![0], x![1], d.apply('select', c![1], d.apply('max', x![1], y![1]), y![1])),
    ],
  },
} satisfies Record<string, OpRow>

export type Op = keyof typeof OPS
