/**
 * CUDA C++ as a pattern section needs it: spellings of the pattern's types and ops. Only what the prelude declares and what
 * nvcc and NVRTC know without an include is called. Signed overflow is undefined in C++, so what may wrap goes by unsigned.
 */

import {
  C_LIKE,
  call,
  form,
  STRENGTH,
  wrap,
  type Helper,
  type Language,
  type OpSpelling,
  type Spelled,
  type Spelling,
} from '../target.ts'
import type { Type } from '../kernel.ts'
import { RESERVED } from './reserved.ts'

const FLOOR_DIV: Helper = {
  name: 'floorDiv',
  // Division truncates; the complement of a negative number is what truncates towards minus infinity. Unsigned is cheaper.
  text: `DEVICE int floorDiv(int a, int b) {
  int sign = a >> 31;
  return (int)((u32)(a ^ sign) / (u32)b) ^ sign;
}`,
}
const FLOOR_MOD: Helper = {
  name: 'floorMod',
  text: `DEVICE int floorMod(int a, int b) { return a - b * floorDiv(a, b); }`,
  needs: [FLOOR_DIV],
}
const ALIGN_DOWN: Helper = {
  name: 'alignDown',
  // Within b of the least int the multiple below wraps.
  text: `DEVICE int alignDown(int a, int b) { return (int)((u32)b * (u32)floorDiv(a, b)); }`,
  needs: [FLOOR_DIV],
}
const HASH: Helper = {
  name: 'hashStep',
  text: `DEVICE int hashStep(int h, int x) {
  u32 v = (u32)(h ^ x) * 0x7feb352du;
  v ^= v >> 15;
  v *= 0x2c1b3c6du;
  v ^= v >> 12;
  return (int)(((v * 0x297a2d39u) ^ (v >> 16)) & 0x7fffffffu);
}`,
}
const IS_POW2: Helper = {
  name: 'isPow2',
  text: `DEVICE bool isPow2(int x) { return x > 0 && (x & (x - 1)) == 0; }`,
}
const LOG2_FLOOR: Helper = {
  name: 'log2Floor',
  text: `DEVICE int log2Floor(int x) { return x < 1 ? -1 : 31 - leadingZeros((u32)x); }`,
}

const twoPower = (n: number | undefined): n is number =>
  n !== undefined && n > 0 && Number.isInteger(Math.log2(n))

/** A helper's call, or a bit operation where the divisor is a power of two: both round towards minus infinity. */
const byDivisor = (helper: Helper, bits: (text: string, divisor: number) => string): OpSpelling => ({
  write: (a, b) =>
    twoPower(b!.literal)
      ? { text: bits(wrap(a!, STRENGTH.unary), b!.literal), strength: STRENGTH.loose }
      : { text: `${helper.name}(${a!.text}, ${b!.text})`, strength: STRENGTH.atom },
  helpers: [helper],
})

/** `&&` and `||`: a chain of one kind and comparisons stand without parentheses. */
const logical = (sign: string, strength: number): OpSpelling => ({
  write: (...args) => ({
    text: args.map((p) => (p.strength === strength ? p.text : wrap(p, STRENGTH.compare))).join(` ${sign} `),
    strength,
  }),
})

/** `&` and `|` of booleans. */
const eager = (sign: string, strength: number): OpSpelling => ({
  write: (...args) => ({
    text: args.map((p) => (p.strength === strength ? p.text : wrap(p, STRENGTH.unary))).join(` ${sign} `),
    strength,
  }),
})

const SELECT: OpSpelling = {
  write: (c, a, b) => ({
    text: `${wrap(c!, STRENGTH.or)} ? ${wrap(a!, STRENGTH.or)} : ${wrap(b!, STRENGTH.or)}`,
    strength: STRENGTH.loose,
  }),
}

// Functions of the C library, not their fast forms: nvcc's are within 2 ulp of the value, and so are a host's.
const OPS: Partial<Spelling> = {
  add: C_LIKE.add,
  sub: C_LIKE.sub,
  mul: C_LIKE.mul,
  div: C_LIKE.div,
  quotient: C_LIKE.quotient,
  rem: C_LIKE.rem,
  neg: C_LIKE.neg,
  bitNot: C_LIKE.bitNot,
  not: C_LIKE.not,
  bitAnd: C_LIKE.bitAnd,
  bitOr: C_LIKE.bitOr,
  bitXor: C_LIKE.bitXor,
  lt: C_LIKE.lt,
  le: C_LIKE.le,
  eq: C_LIKE.eq,
  min: C_LIKE.min,
  max: C_LIKE.max,
  abs: C_LIKE.abs,
  floorDiv: byDivisor(FLOOR_DIV, (a, n) => `${a} >> ${Math.log2(n)}`),
  mod: byDivisor(FLOOR_MOD, (a, n) => `${a} & ${n - 1}`),
  alignDown: byDivisor(ALIGN_DOWN, (a, n) => `${a} & ${-n}`),
  imul: form((a, b) => `(int)((u32)(${a}) * (u32)(${b}))`),
  shl: form((a, k) => `(int)((u32)(${a}) << (${k}))`),
  shr: {
    write: (a, k) => ({
      text: `${wrap(a!, STRENGTH.unary)} >> ${wrap(k!, STRENGTH.unary)}`,
      strength: STRENGTH.loose,
    }),
  },
  ushr: form((a, k) => `(int)((u32)(${a}) >> (${k}))`),
  popcount: form((x) => `countBits((u32)(${x}))`),
  log2Floor: call('log2Floor', LOG2_FLOOR),
  isPow2: call('isPow2', IS_POW2),
  hash: call('hashStep', HASH),
  and: logical('&&', STRENGTH.and),
  or: logical('||', STRENGTH.or),
  select: SELECT,
  exp: call('expf'),
  exp2: call('exp2f'),
  log: call('logf'),
  log2: call('log2f'),
  sqrt: call('sqrtf'),
  tanh: call('tanhf'),
  sin: call('sinf'),
  cos: call('cosf'),
  pow: call('powf'),
  floor: call('floorf'),
  ceil: call('ceilf'),
  toF32: call('float'),
  toI32: call('int'),
}

const GREATEST = 3.4028234663852886e38

/** The shortest decimal that reads back as the same f32. */
function floatText(value: number): string {
  const wanted = Math.fround(value)
  if (Number.isNaN(wanted)) return 'floatOf(0x7fc00000u)'
  if (Math.abs(wanted) > GREATEST) return wanted > 0 ? 'INFINITE' : '-INFINITE'
  if (Object.is(wanted, -0)) return '-0.0f'
  for (let digits = 1; digits < 9; digits++) {
    const text = wanted.toPrecision(digits)
    if (Math.fround(Number(text)) === wanted) return suffixed(Number(text))
  }
  return suffixed(Number(wanted.toPrecision(9)))
}
const suffixed = (value: number): string => {
  const text = String(value)
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`
}

function literal(type: Type, value: number | boolean): Spelled {
  // `-2147483648` is a negated literal that does not fit.
  if (type === 'i32' && value === -(2 ** 31)) return { text: '(-2147483647 - 1)', strength: STRENGTH.atom }
  const text = typeof value === 'number' && type === 'f32' ? floatText(value) : String(value)
  return { text, strength: text.startsWith('-') ? STRENGTH.unary : STRENGTH.atom }
}

export const CUDA: Language = {
  types: { bool: 'bool', i32: 'int', f32: 'float' },
  ops: OPS,
  typed: { 'min f32': call('fminf'), 'max f32': call('fmaxf'), 'abs f32': call('fabsf') },
  literal,
  reserved: RESERVED,
  statements: {
    let: (name, type, value) => `${type} ${name} = ${value};`,
    var: (name, type, value) => `${type} ${name} = ${value};`,
    for: (name, type, from, below, step) =>
      `for (${type} ${name} = ${from}; ${name} < ${below}; ${name} += ${step})`,
    loop: 'for (;;)',
    barrier: 'syncThreads();',
    atomic: () => {
      throw new Error('a pattern section has no atomics')
    },
  },
}

/** The same where both sides of `and` and `or` are evaluated: of a few instructions each, they cost less than a branch. */
export const CUDA_EAGER: Language = {
  ...CUDA,
  ops: { ...OPS, and: eager('&', STRENGTH.and), or: eager('|', STRENGTH.or) },
}
