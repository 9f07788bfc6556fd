/** Small models for tests: configurations, checkpoints as bytes, and folders in memory. */

import { MODEL_MESSAGES } from '../../../runtime/model/messages.ts'
import { HeddleError } from '../../../runtime/messages.ts'
import { readConfig, type Architecture, type ModelConfig } from '../../../runtime/model/config.ts'
import type { Json } from '../../../runtime/model/fields.ts'
import { neededWeights } from '../../../runtime/model/weights.ts'

export const TINY: Json = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
}

export const tinyConfig = (change: Json = {}): ModelConfig => readConfig({ ...TINY, ...change })
export const ofFamily = (architecture: Architecture, change: Json = {}): Json => ({
  ...TINY,
  architectures: [architecture],
  ...change,
})

export interface TinyTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data: Uint8Array
}

/** A safetensors file; `header` may change what its header says. */
export function safetensors(
  tensors: Readonly<Record<string, TinyTensor>>,
  header: (record: Record<string, unknown>) => unknown = (record) => record,
): Uint8Array<ArrayBuffer> {
  let at = 0
  const record: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    record[name] = { dtype, shape, data_offsets: [at, at + data.length] }
    at += data.length
  }
  return withHeader(
    JSON.stringify(header(record)),
    Object.values(tensors).map((t) => t.data),
  )
}

/** Any text as the header, and data behind it. */
export function withHeader(header: string, data: readonly Uint8Array[] = []): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header)
  const size = data.reduce((n, part) => n + part.length, 8 + text.length)
  const bytes = new Uint8Array(size)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(text, 8)
  let at = 8 + text.length
  for (const part of data) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export function floats(values: readonly number[], shape: readonly number[] = [values.length]): TinyTensor {
  return { dtype: 'F32', shape, data: new Uint8Array(Float32Array.from(values).buffer) }
}

/** Every weight that a configuration needs, filled with numbers that tell them apart. */
export function tinyWeights(config: ModelConfig): Record<string, TinyTensor> {
  return Object.fromEntries(
    neededWeights(config).map(({ name, shape }, n) => {
      const size = shape.reduce((a, b) => a * b, 1)
      return [
        name,
        floats(
          Array.from({ length: size }, (_, i) => n + i / 1024),
          shape,
        ),
      ]
    }),
  )
}

/** What a call throws, as code and sentence; the sentence has to be that of the table. */
export async function refusal(call: () => unknown): Promise<string> {
  try {
    await call()
  } catch (error) {
    if (!(error instanceof HeddleError)) throw error
    if (!(error.code in MODEL_MESSAGES)) throw error
    return `error[${error.code}]: ${error.message}`
  }
  return 'no error'
}
