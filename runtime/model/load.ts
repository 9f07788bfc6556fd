/** loadModel(): opened files and a device in; a model whose weights and cache lie on the device out. */

import type { Dtype } from '../../codegen/artifact.ts'
import { HeddleError } from '../messages.ts'
import { powersOf } from '../variant.ts'
import { Gpu } from '../webgpu.ts'
import type { Attention } from './attention.ts'
import { buildNetwork } from './build.ts'
import type { ScheduleName } from './kernels/linear.ts'
import type { LoadableFiles } from './calls.ts'
import { Model } from './model.ts'
import { cacheBytes, checkSizes, shapeOf, workBytes, type NetworkSizes } from './network.ts'
import { reachOf } from './rope.ts'
import { placeWeights, type Placement, type WeightStorage } from './placement.ts'
import { fillBuffers, makeBuffers, type MakeBuffer, type UploadOptions } from './upload.ts'
import type { ModelConfig } from './config.ts'

export interface LoadOptions extends UploadOptions {
  readonly device: GPUDevice
  readonly attention: Attention
  /** Tokens that the cache has room for: of a prompt and what is generated behind it. */
  readonly maxLength: number
  /** Tokens that go through the layers together; a longer prompt goes in several steps. */
  readonly chunk?: number
  /** 'auto', the default: as the checkpoint has them, brain floats as halves. */
  readonly weights?: WeightStorage
  /** Of queries, keys and values: halves, unless it says 'f32'. */
  readonly cache?: Dtype
  /** Bytes that the model may take on the device. */
  readonly maxBytes?: number
  /** Runs when the model has been closed, for what was opened for it alone. */
  readonly onClose?: () => void
}

/** Steps of this many tokens keep a GPU busy. */
const CHUNK = 512
/** Bytes of logits that are made at once, where more than the last token's are wanted. */
const LOGITS = 2 ** 24

/**
 * Loads a model. Weights stream from the files to the device; what fails on the way leaves nothing behind.
 *
 * @throws HeddleError `model-option`, `model-length`, `model-memory`, `model-buffer`, `out-of-memory` before a byte is read; what files and attention throw
 */
export async function loadModel(files: LoadableFiles, options: LoadOptions): Promise<Model> {
  const { device, attention } = options
  const { config, checkpoint, weights: stored } = files
  checkSizes(config)
  oneOf('weights', options.weights, ['auto', 'f16', 'f32'])
  oneOf('cache', options.cache, ['f16', 'f32'])
  const limit = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize)
  const sizes = sizesOf(config, options, limit)
  const placement = placeWeights(stored, config.layers, options.weights ?? 'auto', limit)
  checkMemory(config, sizes, placement, limit, options.maxBytes ?? Infinity)
  const gpu = Gpu.of(device)
  gpu.throwIfLost()
  gpu.retain()
  const made: GPUBuffer[] = []
  const release = () => {
    for (const buffer of made) buffer.destroy()
    gpu.release()
  }
  try {
    const make: MakeBuffer = (label, size, usage) => {
      const buffer = device.createBuffer({ label, size, usage })
      made.push(buffer)
      return buffer
    }
    const weights = await gpu.scoped(
      'buffers of the weights',
      () => placement.bytes,
      () => makeBuffers(placement, make),
    )
    const network = await buildNetwork(gpu, { config, sizes, weights, schedule: scheduleOf(device), make })
    const kernel = await attention(device, shapeOf(config, sizes.cache))
    try {
      await fillBuffers(gpu, checkpoint, placement, weights, options)
    } catch (error) {
      kernel.release()
      throw error
    }
    return new Model(gpu, files, network, kernel, () => {
      release()
      options.onClose?.()
    })
  } catch (error) {
    release()
    throw error
  }
}

/** TypeScript's authors are told by the types. */
function oneOf(option: string, got: string | undefined, names: readonly string[]): void {
  if (got === undefined || names.includes(got)) return
  throw new HeddleError('model-option', { option, expected: `one of ${names.join(', ')}`, got })
}

function sizesOf(
  config: ModelConfig,
  { maxLength, chunk, cache = 'f16' }: LoadOptions,
  limit: number,
): NetworkSizes {
  const whole = (option: string, got: unknown, most: number): number => {
    if (typeof got === 'number' && Number.isInteger(got) && got >= 1 && got <= most) return got
    throw new HeddleError('model-length', { option, least: 1, most, got })
  }
  const length = whole('maxLength', maxLength, reachOf(config))
  const rows = Math.min(whole('chunk', chunk ?? CHUNK, 2 ** 15), length)
  const outputs = Math.max(1, Math.min(rows, Math.floor(Math.min(LOGITS, limit) / (4 * config.vocabSize))))
  return { length, chunk: rows, outputs, cache }
}

/** All that is going to be allocated, against the limits of one buffer and of the whole. */
function checkMemory(
  config: ModelConfig,
  sizes: NetworkSizes,
  placement: Placement,
  limit: number,
  allowed: number,
): void {
  const work = Object.entries(workBytes(config, sizes))
  const ofLayer = cacheBytes(config, sizes)
  for (const [what, needed] of [['the cache of a layer', ofLayer] as const, ...work]) {
    if (needed > limit) throw new HeddleError('model-buffer', { what, needed, limit })
  }
  const memory = {
    weights: placement.bytes,
    cache: 2 * config.layers * ofLayer,
    work: work.reduce((sum, [, bytes]) => sum + bytes, 0),
  }
  if (memory.weights + memory.cache + memory.work > allowed)
    throw new HeddleError('model-memory', { ...memory, allowed })
}

/** Small subgroups tell a software adapter, whose pipelines from long texts take seconds. */
function scheduleOf(device: GPUDevice): ScheduleName {
  const { subgroup, features } = powersOf(device)
  if (subgroup?.min === 4 && subgroup.max === 4 && features.has('subgroups')) return 'quads'
  const isSoftware = device.adapterInfo?.isFallbackAdapter || (subgroup !== null && subgroup.max < 8)
  return isSoftware ? 'narrow' : 'wide'
}
