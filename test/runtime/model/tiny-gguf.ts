/** GGUF files for tests, written byte by byte: values, tensors as blocks, and the order of rows that llama.cpp has. */

import type { ModelConfig } from '../../../runtime/model/config.ts'
import type { TinyTensor } from './tiny.ts'

export type GgufValue = number | bigint | string | boolean | readonly string[] | readonly number[]

export interface GgufTensorSpec {
  readonly name: string
  /** Rows first, as Hugging Face has shapes; written the other way round. */
  readonly shape: readonly number[]
  readonly type: number
  readonly data: Uint8Array
  /** In place of where it lies. */
  readonly offset?: bigint
}

export interface GgufSpec {
  readonly values: Readonly<Record<string, GgufValue>>
  readonly tensors: readonly GgufTensorSpec[]
  readonly version?: number
  readonly counts?: { readonly tensors?: bigint; readonly values?: bigint }
}

const ALIGNMENT = 32
const utf8 = (text: string) => new TextEncoder().encode(text)

function number(bytes: number, set: (view: DataView) => void): Uint8Array {
  const out = new Uint8Array(bytes)
  set(new DataView(out.buffer))
  return out
}
const u32 = (x: number) => number(4, (v) => v.setUint32(0, x, true))
const u64 = (x: bigint | number) => number(8, (v) => v.setBigUint64(0, BigInt(x), true))
const f32 = (x: number) => number(4, (v) => v.setFloat32(0, x, true))
const text = (x: string) => [u64(utf8(x).length), utf8(x)]

/** Types of values: 4 u32, 6 f32, 7 bool, 8 text, 9 list, 10 u64. */
function value(x: GgufValue): Uint8Array[] {
  if (typeof x === 'string') return [u32(8), ...text(x)]
  if (typeof x === 'boolean') return [u32(7), Uint8Array.of(x ? 1 : 0)]
  if (typeof x === 'bigint') return [u32(10), u64(x)]
  if (typeof x === 'number') return Number.isInteger(x) ? [u32(4), u32(x)] : [u32(6), f32(x)]
  const items = x.map((item) => value(item).slice(1))
  return [u32(9), typeof x[0] === 'string' ? u32(8) : value(x[0] ?? 0)[0]!, u64(x.length), ...items.flat()]
}

export function gguf({ values, tensors, version = 3, counts = {} }: GgufSpec): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(values)
  let at = 0
  const padded = (n: number) => Math.ceil(n / ALIGNMENT) * ALIGNMENT
  const infos = tensors.flatMap(({ name, shape, type, data, offset }) => {
    const place = offset ?? BigInt(at)
    at += padded(data.length)
    return [...text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(type), u64(place)]
  })
  const header = joined([
    utf8('GGUF'),
    u32(version),
    u64(counts.tensors ?? tensors.length),
    u64(counts.values ?? entries.length),
    ...entries.flatMap(([key, x]) => [...text(key), ...value(x)]),
    ...infos,
  ])
  const pad = (bytes: Uint8Array) => [bytes, new Uint8Array(padded(bytes.length) - bytes.length)]
  return joined([...pad(header), ...tensors.flatMap(({ data }) => pad(data))])
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const STEMS: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, 'token_embd'],
  [/^model\.norm/, 'output_norm'],
  [/^lm_head/, 'output'],
  [/^model\.layers\.(\d+)\.input_layernorm/, 'blk.$1.attn_norm'],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, 'blk.$1.ffn_norm'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, 'blk.$1.attn_output'],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm/, 'blk.$1.attn_$2_norm'],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj/, 'blk.$1.attn_$2'],
  [/^model\.layers\.(\d+)\.mlp\.(\w+)_proj/, 'blk.$1.ffn_$2'],
]

export const ggufName = (name: string): string =>
  STEMS.reduce((found, [pattern, to]) => found.replace(pattern, to), name)

/** llama.cpp's permutation of the rows of q and k: reshape(heads, 2, half, ...).swapaxes(1, 2). */
function neighbours(rows: readonly Uint8Array[], heads: number): Uint8Array[] {
  const half = rows.length / heads / 2
  return Array.from({ length: heads }, (_, head) =>
    Array.from({ length: half }, (_, i) => [0, 1].map((j) => rows[head * 2 * half + j * half + i]!)).flat(),
  ).flat()
}

/** A model's F32 tensors as GGUF has them; `encode` may store a matrix in another type. */
export function ggufTensors(
  config: ModelConfig,
  weights: Readonly<Record<string, TinyTensor>>,
  permute: boolean,
  encode: (tensor: TinyTensor) => { type: number; data: Uint8Array } = ({ data }) => ({ type: 0, data }),
): GgufTensorSpec[] {
  return Object.entries(weights).map(([name, tensor]) => {
    const isQ = name.includes('.q_proj.')
    const heads = isQ ? config.qHeads : config.kvHeads
    const rowBytes = tensor.data.length / tensor.shape[0]!
    const rows = Array.from({ length: tensor.shape[0]! }, (_, i) =>
      tensor.data.subarray(i * rowBytes, (i + 1) * rowBytes),
    )
    const moved = permute && (isQ || name.includes('.k_proj.')) ? neighbours(rows, heads) : rows
    return { name: ggufName(name), shape: tensor.shape, ...encode({ ...tensor, data: joined(moved) }) }
  })
}

export const ggufValues = (name: string, config: ModelConfig): Record<string, GgufValue> => ({
  'general.architecture': name,
  [`${name}.context_length`]: config.maxPositions,
  [`${name}.embedding_length`]: config.hiddenSize,
  [`${name}.block_count`]: config.layers,
  [`${name}.feed_forward_length`]: config.intermediateSize,
  [`${name}.attention.head_count`]: config.qHeads,
  [`${name}.attention.head_count_kv`]: config.kvHeads,
  [`${name}.attention.key_length`]: config.headDim,
  [`${name}.attention.layer_norm_rms_epsilon`]: config.normEps,
  [`${name}.rope.freq_base`]: config.rope.theta,
})
