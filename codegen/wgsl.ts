/** The WGSL target: the rows that differ from C, the helper functions they call, and the order of a module. */

import type { Buffer, Kernel, Memory, Type } from './kernel.ts'
import {
  apart,
  C_LIKE,
  call,
  chain,
  form,
  STRENGTH,
  type Helper,
  type OpSpelling,
  type PrintedKernel,
  type Spelled,
  type Spelling,
  type Target,
} from './target.ts'
import { WORKGROUP_PRODUCTS } from './wgsl-products.ts'
import { RESERVED } from './wgsl-reserved.ts'

const FLOOR_DIV: Helper = {
  name: 'floorDiv',
  // Division truncates; the complement of a negative number is what truncates towards minus infinity.
  text: `fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}`,
}
const FLOOR_MOD: Helper = {
  name: 'floorMod',
  text: `fn floorMod(a: i32, b: i32) -> i32 {
  return a - b * floorDiv(a, b);
}`,
  needs: [FLOOR_DIV],
}
const ALIGN_DOWN: Helper = {
  name: 'alignDown',
  text: `fn alignDown(a: i32, b: i32) -> i32 {
  return b * floorDiv(a, b);
}`,
  needs: [FLOOR_DIV],
}
const HASH: Helper = {
  name: 'hashStep',
  text: `fn hashStep(h: i32, x: i32) -> i32 {
  var v = bitcast<u32>(h ^ x) * 0x7feb352du;
  v ^= v >> 15u;
  v *= 0x2c1b3c6du;
  v ^= v >> 12u;
  return bitcast<i32>(((v * 0x297a2d39u) ^ (v >> 16u)) & 0x7fffffffu);
}`,
}
const IS_POW2: Helper = {
  name: 'isPow2',
  // Not `&&`: its branches, inlined once a pair, keep a software driver busy for minutes.
  text: `fn isPow2(x: i32) -> bool {
  return (x > 0) & (countOneBits(x) == 1);
}`,
}
const LOG2_FLOOR: Helper = {
  name: 'log2Floor',
  text: `fn log2Floor(x: i32) -> i32 {
  return select(31 - countLeadingZeros(x), -1, x < 1);
}`,
}
const POW: Helper = {
  name: 'powReal',
  // The builtin is undefined below zero, where a whole exponent still has a value, and unreliable at zero.
  text: `fn powReal(a: f32, b: f32) -> f32 {
  let odd = fract(abs(b) * 0.5) != 0.0;
  let size = select(pow(max(abs(a), 1.1754944e-38), b), 0.0, (a == 0.0) & (b > 0.0));
  return select(select(size, -size, (a < 0.0) & odd), 1.0, b == 0.0);
}`,
}
const LOG = (callee: 'log' | 'log2'): Helper => ({
  name: `${callee}OrLow`,
  text: `fn ${callee}OrLow(x: f32) -> f32 {
  return select(-3.0e38, ${callee}(x), x > 0.0);
}`,
})
const TANH: Helper = {
  name: 'tanhFine',
  // The builtin may be off by 1e-7 whatever the value is: near zero, where a soft cap works, that is half of the digits.
  text: `fn tanhFine(x: f32) -> f32 {
  let y = x * x;
  let near = x * (1.0 + y * (-0.33333334 + y * (0.13333334 + y * (-0.053968254 + y * 0.021869488))));
  return select(tanh(clamp(x, -15.0, 15.0)), near, abs(x) < 0.3);
}`,
}
const QUARTERS: Helper = {
  name: 'sinQuarters',
  // The builtins are only specified between -pi and pi, and there to 2^-11: reduced to [-pi/4, pi/4] in three parts of pi/2,
  // then by the polynomials of Cephes. `quarters` of a turn are added to x.
  text: `fn sinQuarters(x: f32, quarters: i32) -> f32 {
  let n = round(x * 0.63661977);
  let r = ((x - n * 1.5703125) - n * 4.837513e-4) - n * 7.54979e-8;
  let z = r * r;
  let sine = r + r * z * (-0.16666655 + z * (8.332161e-3 + z * -1.951529e-4));
  let cosine = 1.0 - 0.5 * z + z * z * (0.041666646 + z * (-1.3887316e-3 + z * 2.4433157e-5));
  let k = (i32(n) + quarters) & 3;
  let value = select(sine, cosine, (k & 1) == 1);
  return select(value, -value, k >= 2);
}`,
}
const IS_WILD4: Helper = {
  name: 'isWild4',
  text: `fn isWild4(x: vec4f) -> bool {
  return any((bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u));
}`,
}
const PACK_HALF4: Helper = {
  name: 'packHalf4',
  // Beyond the greatest half the builtin may give a NaN.
  text: `fn packHalf4(x: vec4f) -> vec2u {
  let y = clamp(x, vec4f(-65504.0), vec4f(65504.0));
  return vec2u(pack2x16float(y.xy), pack2x16float(y.zw));
}`,
}
const UNPACK_HALF4: Helper = {
  name: 'unpackHalf4',
  text: `fn unpackHalf4(w: vec2u) -> vec4f {
  return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}`,
}

const twoPower = (n: number | undefined): n is number =>
  n !== undefined && n > 0 && Number.isInteger(Math.log2(n))
const shift = (n: number) => `${Math.log2(n)}u`
const atom = (text: string, strength: number): string => (strength < STRENGTH.unary ? `(${text})` : text)

/** A helper's call, or a bit operation where the divisor is a power of two: both round towards minus infinity. */
const byDivisor = (helper: Helper, bits: (text: string, divisor: number) => Spelled): OpSpelling => ({
  write: (a, b) =>
    twoPower(b!.literal)
      ? bits(atom(a!.text, a!.strength), b!.literal)
      : { text: `${helper.name}(${a!.text}, ${b!.text})`, strength: STRENGTH.atom },
  helpers: [helper],
})

const shifted = (sign: '<<' | '>>'): OpSpelling => ({
  write: (a, k) => ({
    text: `${atom(a!.text, a!.strength)} ${sign} ${k!.literal === undefined ? `u32(${k!.text})` : `${k!.literal}u`}`,
    strength: STRENGTH.loose,
  }),
})

/** A leaf is code of its own by the time it is printed. */
const leaf: OpSpelling = {
  write: () => {
    throw new Error('a leaf of the pattern has no spelling')
  },
}

const OPS: Spelling = {
  ...C_LIKE,
  const: leaf,
  var: leaf,
  param: leaf,
  derived: leaf,
  load: leaf,
  pick: leaf,
  floorDiv: byDivisor(FLOOR_DIV, (a, n) => ({ text: `${a} >> ${shift(n)}`, strength: STRENGTH.loose })),
  mod: byDivisor(FLOOR_MOD, (a, n) => ({ text: `${a} & ${n - 1}`, strength: STRENGTH.loose })),
  alignDown: byDivisor(ALIGN_DOWN, (a, n) => ({ text: `${a} & ${-n}`, strength: STRENGTH.loose })),
  shl: shifted('<<'),
  shr: shifted('>>'),
  ushr: {
    write: (a, k) => ({
      text: `bitcast<i32>(bitcast<u32>(${a!.text}) >> ${k!.text}u)`,
      strength: STRENGTH.atom,
    }),
  },
  popcount: call('countOneBits'),
  log2Floor: call('log2Floor', LOG2_FLOOR),
  isPow2: call('isPow2', IS_POW2),
  hash: call('hashStep', HASH),
  // Both sides are pure and every load is guarded, so nothing needs the branch of `&&`.
  and: chain('&', STRENGTH.and),
  or: chain('|', STRENGTH.or),
  bitXor: apart('^'),
  // Arguments are clamped where implementations leave the right answer: tanh(100) is a NaN on SwiftShader, log(0) is -88.
  exp: form((x) => `exp(clamp(${x}, -87.0, 88.0))`),
  tanh: call('tanhFine', TANH),
  log: call('logOrLow', LOG('log')),
  log2: call('log2OrLow', LOG('log2')),
  sin: { ...form((x) => `sinQuarters(${x}, 0)`), helpers: [QUARTERS] },
  cos: { ...form((x) => `sinQuarters(${x}, 1)`), helpers: [QUARTERS] },
  pow: call('powReal', POW),
  toF32: call('f32'),
  toI32: call('i32'),
  select: form((c, a, b) => `select(${b}, ${a}, ${c})`),
  select4: form((c, a, b) => `select(${b}, ${a}, ${c})`),
  mul4: C_LIKE.mul,
  // By the exponent's bits: comparisons with NaN may be folded away.
  isWild4: call('isWild4', IS_WILD4),
  splat: call('vec4f'),
  vector4: call('vec4f'),
  toU32: call('u32'),
  fromU32: call('i32'),
  floatBits: call('bitcast<u32>'),
  bitsFloat: call('bitcast<f32>'),
  unpackHalf4: call('unpackHalf4', UNPACK_HALF4),
  packHalf4: call('packHalf4', PACK_HALF4),
  unpackHalf: form((word, half) => `unpack2x16float(${word})[${half}]`),
  packHalf: form((x) => `pack2x16float(vec2f(clamp(${x}, -65504.0, 65504.0), 0.0))`),
  widen: call('f32'),
  widen4: call('vec4f'),
  narrow: form((x) => `f16(clamp(${x}, -65504.0, 65504.0))`),
  narrow4: form((x) => `vec4h(clamp(${x}, vec4f(-65504.0), vec4f(65504.0)))`),
  roundEven: call('round'),
  shuffleXor: call('subgroupShuffleXor'),
  ballot: form((x) => `subgroupBallot(${x}).x`),
  atomicLoad: form((x) => `atomicLoad(&${x})`),
  uniformLoad: form((x) => `workgroupUniformLoad(&${x})`),
  groupX: form(() => 'group.x'),
  groupY: form(() => 'group.y'),
  thread: form(() => 'thread'),
}

const TYPES: Readonly<Record<Type, string>> = {
  bool: 'bool',
  i32: 'i32',
  u32: 'u32',
  f32: 'f32',
  f32x4: 'vec4f',
  u32x2: 'vec2u',
  f16: 'f16',
  f16x4: 'vec4h',
}

/** The element type of a buffer or of workgroup memory. */
export const storageType = ({ type, atomic }: Buffer | Memory): string =>
  atomic ? `atomic<${TYPES[type]}>` : TYPES[type]

const GREATEST = 3.4028234663852886e38
/** Its shortest decimal lies beyond it, which WGSL refuses. */
const GREATEST_TEXT = '3.4028234e+38'

/** The shortest decimal that reads back as the same f32. */
function floatText(value: number): string {
  const wanted = Math.fround(Math.max(-GREATEST, Math.min(GREATEST, value)))
  if (Math.abs(wanted) === GREATEST) return wanted < 0 ? `-${GREATEST_TEXT}` : GREATEST_TEXT
  for (let digits = 1; digits < 9; digits++) {
    const text = wanted.toPrecision(digits)
    if (Math.fround(Number(text)) === wanted) return dotted(Number(text))
  }
  return dotted(Number(wanted.toPrecision(9)))
}
const dotted = (value: number): string => {
  const text = Object.is(value, -0) ? '-0' : String(value)
  return /[.e]/.test(text) ? text : `${text}.0`
}

function literal(type: Type, value: number | boolean): Spelled {
  const text =
    typeof value === 'boolean'
      ? String(value)
      : type === 'f32'
        ? floatText(value)
        : type === 'u32'
          ? `${value}u`
          : String(value)
  // `-2147483648` is a negated literal that does not fit; a conversion of the abstract integer does.
  if (type === 'i32' && value === -(2 ** 31)) return { text: `i32(${text})`, strength: STRENGTH.atom }
  return { text, strength: text.startsWith('-') ? STRENGTH.unary : STRENGTH.atom }
}

const arrayOf = (m: Memory): string =>
  m.dims.reduceRight((inner, n) => `array<${inner}, ${n}>`, storageType(m))

function module(kernel: Kernel, printed: PrintedKernel): string {
  const enables = [
    ...(printed.types.has('f16') || printed.types.has('f16x4') ? ['enable f16;'] : []),
    ...(printed.ops.has('shuffleXor') || printed.ops.has('ballot') ? ['enable subgroups;'] : []),
  ]
  const { uniforms } = kernel
  const parts = [
    [...kernel.head.map((line) => `// ${line}`), ...enables].join('\n'),
    `struct Uniforms {\n${uniforms.fields.map((f) => `  ${f.name}: ${TYPES[f.type]},\n`).join('')}}`,
    [
      `@group(0) @binding(${uniforms.binding}) var<uniform> ${uniforms.name}: Uniforms;`,
      ...kernel.buffers.map(
        (b) =>
          `@group(0) @binding(${b.binding}) var<storage, ${b.access}> ${b.name}: array<${storageType(b)}>;`,
      ),
    ].join('\n'),
    kernel.memory.map((m) => `var<workgroup> ${m.name}: ${arrayOf(m)};`).join('\n'),
    ...kernel.constants.map(
      (c) =>
        `const ${c.name} = array<${c.type}, ${c.values.length}>(${c.values.map((v) => literal(c.type, v).text).join(', ')});`,
    ),
    ...printed.helpers.map((h) => h.text),
    ...kernel.functions.map((f, i) => {
      const parameters = f.parameters.map((p) => `${p.name}: ${TYPES[p.type]}`).join(', ')
      return `fn ${f.name}(${parameters}) -> ${TYPES[f.result]} {\n${printed.functions[i]}}`
    }),
    ...kernel.entries.map(
      (e, i) =>
        `@compute @workgroup_size(${e.threads})\nfn ${e.name}(\n  @builtin(workgroup_id) group: vec3u,\n` +
        `  @builtin(local_invocation_index) thread: u32,\n) {\n${printed.entries[i]}}`,
    ),
  ]
  return `${parts.filter((p) => p !== '').join('\n\n')}\n`
}

export const WGSL: Target = {
  name: 'wgsl',
  extension: 'wgsl',
  types: TYPES,
  ops: OPS,
  literal,
  reserved: RESERVED,
  products: WORKGROUP_PRODUCTS,
  merges: true,
  statements: {
    let: (name, _type, value) => `let ${name} = ${value};`,
    var: (name, type, value) => `var ${name}: ${type} = ${value};`,
    for: (name, type, from, below, step) =>
      `for (var ${name}: ${type} = ${from}; ${name} < ${below}; ${name} += ${step})`,
    loop: 'loop',
    barrier: 'workgroupBarrier();',
    atomic: (op, target, value) =>
      `${{ and: 'atomicAnd', or: 'atomicOr', add: 'atomicAdd', max: 'atomicMax', store: 'atomicStore' }[op]}(&${target}, ${value});`,
  },
  module,
}
