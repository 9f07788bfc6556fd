/**
 * The CUDA target of statements: kernels that every target shares, stages and the portable attend, printed as C++. Each text has
 * one struct Call with the uniforms, the buffers and the functions, and one kernel that runs a function of it.
 */

import type { Buffer, Kernel, Memory, Type } from '../kernel.ts'
import {
  call,
  C_LIKE,
  form,
  STRENGTH,
  wrap,
  type Helper,
  type PrintedKernel,
  type Spelling,
  type Target,
} from '../target.ts'
import { CUDA } from './target.ts'
import { panelProducts } from './product.ts'
import { groupProducts } from './product-hopper.ts'
import { PACKED_PRODUCTS } from './packed.ts'
import { SHARER_PRODUCTS } from './sharers.ts'
import { textOf } from './text.ts'

const TYPES: Readonly<Partial<Record<Type, string>>> = {
  ...CUDA.types,
  u32: 'u32',
  f32x4: 'float4',
  u32x2: 'uint2',
}

const MAD4: Helper = {
  name: 'mad4',
  text: `DEVICE float4 mad4(float a, float4 b, float4 c) {
  return make_float4(c.x + a * b.x, c.y + a * b.y, c.z + a * b.z, c.w + a * b.w);
}`,
}
const MUL4: Helper = {
  name: 'mul4',
  text: 'DEVICE float4 mul4(float4 a, float b) { return make_float4(a.x * b, a.y * b, a.z * b, a.w * b); }',
}
const SPLAT: Helper = {
  name: 'splat',
  text: 'DEVICE float4 splat(float x) { return make_float4(x, x, x, x); }',
}
const IS_WILD4: Helper = {
  name: 'isWild4',
  text: `DEVICE bool isWild4(float4 x) {
  u32 most = 0x7f800000u;
  return (bitsOf(x.x) & most) == most || (bitsOf(x.y) & most) == most || (bitsOf(x.z) & most) == most || (bitsOf(x.w) & most) == most;
}`,
}
const UNPACK4: Helper = {
  name: 'unpackHalf4',
  text: `DEVICE float4 unpackHalf4(uint2 w) {
  return make_float4(unpackHalf((u16)w.x), unpackHalf((u16)(w.x >> 16)), unpackHalf((u16)w.y), unpackHalf((u16)(w.y >> 16)));
}`,
}
/** A half holds no more; a brain float holds what an f32 does. */
const CLAMP: Helper = {
  name: 'clampHalf',
  text: 'DEVICE float clampHalf(float x) { return BF16 ? x : fminf(fmaxf(x, -65504.0f), 65504.0f); }',
}
const PACK4: Helper = {
  name: 'packHalf4',
  text: `DEVICE uint2 packHalf4(float4 x) {
  return make_uint2(packHalves(clampHalf(x.x), clampHalf(x.y)), packHalves(clampHalf(x.z), clampHalf(x.w)));
}`,
  needs: [CLAMP],
}
const UNIFORM_LOAD: Helper = {
  name: 'uniformLoad',
  text: `template <class T>
DEVICE T uniformLoad(T const& x) {
  syncThreads();
  T value = x;
  syncThreads();
  return value;
}`,
}

/** As near as WGSL asks of its own: an error that grows with the size of x, of weights that are the smaller for it. */
const EXP: Helper = {
  name: 'expFast',
  text: 'DEVICE float expFast(float x) { return exp2Fast(1.4426950408889634f * x); }',
}

/** With the prelude's names: which sixteen-bit type the storage has is a constant of the text. */
const OPS: Partial<Spelling> = {
  ...CUDA.ops,
  quotient: C_LIKE.quotient,
  remainder: C_LIKE.remainder,
  mad: C_LIKE.mad,
  exp: call('expFast', EXP),
  isWild4: call('isWild4', IS_WILD4),
  mad4: call('mad4', MAD4),
  mul4: call('mul4', MUL4),
  splat: call('splat', SPLAT),
  vector4: call('make_float4'),
  select4: {
    write: (c, a, b) => ({
      text: `${wrap(c!, STRENGTH.or)} ? ${wrap(a!, STRENGTH.or)} : ${wrap(b!, STRENGTH.or)}`,
      strength: STRENGTH.loose,
    }),
  },
  toU32: call('u32'),
  fromU32: call('int'),
  floatBits: call('bitsOf'),
  bitsFloat: form((x) => `floatOf((u32)(${x}))`),
  unpackHalf4: call('unpackHalf4', UNPACK4),
  packHalf4: call('packHalf4', PACK4),
  unpackHalf: form((word, half) => `unpackHalf((u16)((${word}) >> (16 * (${half}))))`),
  packHalf: { ...form((x) => `packHalves(clampHalf(${x}), 0.0f)`), helpers: [CLAMP] },
  roundEven: call('rintf'),
  shuffleXor: call('shuffleXor'),
  ballot: call('ballotLanes'),
  atomicLoad: form((x) => x),
  uniformLoad: call('uniformLoad', UNIFORM_LOAD),
  groupX: form(() => 'blockIdx.x'),
  groupY: form(() => 'blockIdx.y'),
  thread: form(() => 'threadIdx.x'),
}

/** Reads and writes of a buffer stay inside it whatever the index is, as WGSL has it: what is not wanted is computed, too. */
const SLICE = `template <class T>
struct Slice {
  T* data;
  u32 count;
  __device__ __forceinline__ T& operator[](u32 i) const { return data[min(i, count - 1u)]; }
};`

const spelled = (type: Type): string => {
  const found = TYPES[type]
  if (found === undefined) throw new Error(`CUDA has no ${type} here`)
  return found
}
const elementOf = ({ type, access }: Buffer): string => `${spelled(type)}${access === 'read' ? ' const' : ''}`
const declared = ({ name, type, dims }: Memory): string =>
  `  ${spelled(type)} ${name}${dims.map((n) => `[${n}]`).join('')};\n`

/** The words of the argument, in order: uniforms, then of each buffer its address and how many elements it has. */
function module(kernel: Kernel, printed: PrintedKernel, bf16: boolean): string {
  const [entry, ...more] = kernel.entries
  if (!entry || more.length > 0) throw new Error('a text has one kernel')
  const { uniforms } = kernel
  const body = (text: string) => text.replaceAll(`${uniforms.name}.`, '').replace(/^/gm, '  ').trimEnd()
  const functions = kernel.functions.map((f, i) => {
    const parameters = f.parameters.map((p) => `${spelled(p.type)} ${p.name}`).join(', ')
    return `  __device__ __forceinline__ ${spelled(f.result)} ${f.name}(${parameters}) const {\n${body(printed.functions[i]!)}\n  }\n`
  })
  const parts = [
    kernel.head.map((line) => `// ${line}`).join('\n'),
    `constexpr bool BF16 = ${bf16};`,
    textOf('prelude.cuh'),
    kernel.memory.length > 0
      ? `struct Shared {\n${kernel.memory.map(declared).join('')}};\nDEVICE Shared& shared() { return *(Shared*)sharedBase(); }`
      : '',
    ...kernel.constants.map(
      ({ name, type, values }) =>
        `CONSTANT ${spelled(type)} ${name}[${values.length}] = {${values.map((v) => CUDA.literal(type, v).text).join(', ')}};`,
    ),
    ...printed.helpers.map((h) => h.text),
    SLICE,
    `struct Call {\n${uniforms.fields.map((f) => `  ${spelled(f.type)} ${f.name};\n`).join('')}` +
      `${uniforms.fields.length % 2 === 1 ? '  u32 unused;\n' : ''}` +
      `${kernel.buffers.map((b) => `  Slice<${elementOf(b)}> ${b.name};\n`).join('')}\n` +
      `${functions.join('\n')}${functions.length > 0 ? '\n' : ''}` +
      `  __device__ __forceinline__ void ${entry.name}() const {\n${body(printed.entries[0]!)}\n  }\n};`,
    `KERNEL(${entry.threads}, ${entry.blocks ?? 1}) ENTRY(launch)(const __grid_constant__ Call call) { call.${entry.name}(); }`,
  ]
  return `${parts.filter((p) => p !== '').join('\n\n')}\n`
}

/** @param bf16 what words of two halves hold: brain floats, or IEEE's */
export const portableCuda = (bf16: boolean): Target => ({
  ...CUDA,
  name: 'cuda',
  extension: 'cu',
  products: panelProducts(bf16),
  lanes: 32,
  types: TYPES,
  ops: OPS,
  typed: { ...CUDA.typed, 'shl u32': form((x, n) => `((u32)(${x}) << (${n}))`) },
  literal: (type, value) =>
    type === 'u32' ? { text: `${value}u`, strength: STRENGTH.atom } : CUDA.literal(type, value),
  workgroup: (name) => `shared().${name}`,
  statements: {
    ...CUDA.statements,
    atomic: (op, target, value) =>
      op === 'store'
        ? `${target} = ${value};`
        : `${{ and: 'atomicAnd', or: 'atomicOr', add: 'atomicAdd', max: 'atomicMax' }[op]}(&${target}, ${value});`,
  },
  module: (kernel, printed) => module(kernel, printed, bf16),
})

/** The same for Hopper, whose products are those of warpgroups. */
export const hopperCuda = (bf16: boolean): Target => ({
  ...portableCuda(bf16),
  products: { ...groupProducts(bf16), sharers: [PACKED_PRODUCTS, SHARER_PRODUCTS] },
})
