/** Weights on a device in; the network with its cache, its buffers and its compiled kernels out. */

import { USAGE } from '../pool.ts'
import { roundBinding } from '../slices.ts'
import type { Gpu } from '../webgpu.ts'
import type { ModelConfig } from './config.ts'
import { embedding, partBlock } from './kernels/embedding.ts'
import type { ScheduleName } from './kernels/linear.ts'
import { logprobs, sizeBlock } from './kernels/logprobs.ts'
import { headsBlock, rotary } from './kernels/rotary.ts'
import {
  cacheBytes,
  Network,
  workBytes,
  type Layer,
  type NetworkSizes,
  type WorkBuffer,
  type WorkBuffers,
} from './network.ts'
import { linear, operation, type LinearOptions, type MakeUniform, type Operation } from './operation.ts'
import type { LayerTensor } from './placement.ts'
import type { DeviceTensor, DeviceWeights, MakeBuffer } from './upload.ts'

export interface BuildOptions {
  readonly config: ModelConfig
  readonly sizes: NetworkSizes
  readonly weights: DeviceWeights
  readonly schedule: ScheduleName
  readonly make: MakeBuffer
}

/** What the operations of all layers share. */
interface Shared extends BuildOptions {
  readonly gpu: Gpu
  readonly work: WorkBuffers
  readonly rows: GPUBuffer
  readonly uniform: MakeUniform
}

export async function buildNetwork(gpu: Gpu, options: BuildOptions): Promise<Network> {
  const { config, sizes, weights, make } = options
  const space = await gpu.scoped(
    'buffers of the model',
    () => 0,
    () => ({
      work: workSpace(config, sizes, make),
      rows: make('rows', 16, USAGE.uniform),
      outputRows: make('output rows', 16, USAGE.uniform),
      caches: Array.from({ length: config.layers }, (_, n) => ({
        k: make(`keys of layer ${n}`, roundBinding(cacheBytes(config, sizes)), USAGE.storage),
        v: make(`values of layer ${n}`, roundBinding(cacheBytes(config, sizes)), USAGE.storage),
      })),
    }),
  )
  const { work, rows, outputRows, caches } = space
  const shared: Shared = { ...options, gpu, work, rows, uniform: uniformsOf(gpu, make) }
  const layers: Layer[] = []
  for (const [n, cache] of caches.entries()) {
    layers.push({ ...cache, ...(await layerOf(shared, weights.layers[n]!, cache)) })
  }
  return new Network(gpu, config, sizes, {
    work,
    rows,
    outputRows,
    embed: await embed(shared),
    layers,
    head: await head(shared, outputRows),
    scores: await operation(
      gpu,
      'logprobs',
      logprobs(),
      [[shared.uniform(sizeBlock(config.vocabSize)), work.logits, work.targets, work.scores]],
      (count) => [count, 1, 1],
    ),
  })
}

function workSpace(config: ModelConfig, sizes: NetworkSizes, make: MakeBuffer): WorkBuffers {
  const bytes = Object.entries(workBytes(config, sizes))
  const buffers = bytes.map(([what, size]) => [what, make(what, roundBinding(size), USAGE.storage)])
  // The table of sizes is the list of buffers.
  return Object.fromEntries(buffers) as Record<WorkBuffer, GPUBuffer>
}

/** One buffer for each block: those of one content are shared, since all layers have the same shapes. */
function uniformsOf({ device }: Gpu, make: MakeBuffer): MakeUniform {
  const known = new Map<string, GPUBuffer>()
  return (block) => {
    const words = new Uint32Array('buffer' in block ? block.buffer : block)
    const key = words.join()
    const buffer = known.get(key) ?? make('sizes', words.byteLength, USAGE.uniform)
    if (!known.has(key)) device.queue.writeBuffer(buffer, 0, words)
    known.set(key, buffer)
    return buffer
  }
}

async function layerOf(
  shared: Shared,
  weights: ReadonlyMap<LayerTensor, DeviceTensor>,
  cache: Pick<Layer, 'k' | 'v'>,
): Promise<Pick<Layer, 'before' | 'after'>> {
  const { work, sizes } = shared
  const row = (
    name: LayerTensor,
    bias: LayerTensor,
    norm: LayerTensor | null,
    rest: Pick<LinearOptions, 'input' | 'output'> & { readonly text: LinearOptions['text'] },
  ) =>
    linearOf(shared, name, {
      ...rest,
      weights: weights.get(name)!,
      bias: weights.get(bias),
      gain: norm === null ? undefined : weights.get(norm)!,
    })
  const { x, projected, attended, gated } = work
  return {
    before: [
      await row('projections', 'projectionsBias', 'attentionNorm', {
        input: x,
        output: projected,
        text: { input: 'f32', norm: true, epilogue: 'store' },
      }),
      await turn(shared, weights.get('headNorms'), cache),
    ],
    after: [
      await row('output', 'outputBias', null, {
        input: attended,
        output: x,
        text: { input: sizes.cache, norm: false, epilogue: 'add' },
      }),
      await row('gateUp', 'gateUpBias', 'mlpNorm', {
        input: x,
        output: gated,
        text: { input: 'f32', norm: true, epilogue: 'swiglu' },
      }),
      await row('down', 'downBias', null, {
        input: gated,
        output: x,
        text: { input: 'f32', norm: false, epilogue: 'add' },
      }),
    ],
  }
}

function linearOf(
  { gpu, config, rows, schedule, uniform }: Shared,
  name: string,
  own: Omit<LinearOptions, 'rows' | 'eps' | 'schedule' | 'uniform'> & { readonly rows?: GPUBuffer },
): Promise<Operation> {
  return linear(gpu, name, { rows, eps: config.normEps, schedule, uniform, ...own })
}

function turn(
  { gpu, config, sizes, work, rows, uniform }: Shared,
  gains: DeviceTensor | undefined,
  { k, v }: Pick<Layer, 'k' | 'v'>,
): Promise<Operation> {
  const { qHeads, kvHeads, headDim, normEps } = config
  const heads = uniform(headsBlock(qHeads, kvHeads, headDim, sizes.length, normEps))
  const buffers = [rows, heads, work.projected, work.turns, work.q, k, v]
  return operation(
    gpu,
    'rotary',
    rotary({ dtype: sizes.cache, norm: gains !== undefined }),
    [gains ? [...buffers, gains.parts[0]!.buffer] : buffers],
    (count) => [qHeads + 2 * kvHeads, count, 1],
  )
}

function embed({ gpu, weights, work, uniform }: Shared): Promise<Operation> {
  const { dtype, columns, parts } = weights.model.get('embedding')!
  return operation(
    gpu,
    'embedding',
    embedding(dtype),
    parts.map(({ buffer, first, rows }) => [
      uniform(partBlock(first, rows, columns / 4)),
      work.tokens,
      buffer,
      work.x,
    ]),
    (count) => [count, 1, 1],
  )
}

function head(shared: Shared, outputRows: GPUBuffer): Promise<Operation> {
  const { weights, work } = shared
  return linearOf(shared, 'head', {
    rows: outputRows,
    text: { input: 'f32', norm: true, epilogue: 'store' },
    // A tied head is the embedding's table.
    weights: weights.model.get('head') ?? weights.model.get('embedding')!,
    bias: undefined,
    gain: weights.model.get('norm')!,
    input: work.x,
    output: work.logits,
  })
}
