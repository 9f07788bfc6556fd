/** Tokens of a prompt in; what measurements read of a model on the way through it out: logits of chosen places, a layer's queries and keys. */

import type { Dtype } from '../../codegen/artifact.ts'
import { fromHalf } from '../half.ts'
import { HeddleError } from '../messages.ts'
import type { Network } from './network.ts'
import type { Chunk, Steps } from './steps.ts'

/** After rotary embedding, as attention meets them; [heads, tokens, headDim]. */
export interface QueriesAndKeys {
  readonly q: Float32Array
  readonly k: Float32Array
}

interface Run {
  /** Place of the first one among those asked for. */
  readonly at: number
  readonly first: number
  readonly count: number
}

/** Places in the order of the text, each once. */
export function checkPositions(positions: readonly number[], tokens: number): void {
  const wrong = positions.findIndex(
    (p, i) => !Number.isInteger(p) || p < 0 || p >= tokens || (i > 0 && p <= positions[i - 1]!),
  )
  if (wrong >= 0)
    throw new HeddleError('model-option', {
      option: `positions[${wrong}]`,
      expected: `rising whole numbers from 0 to ${tokens - 1}`,
      got: positions[wrong],
    })
}

/** The positions within a step, as runs of neighbours that the head makes at once. */
function runsOf(positions: readonly number[], { position, tokens }: Chunk, most: number): Run[] {
  const end = position + tokens.length
  const runs: { at: number; first: number; count: number }[] = []
  positions.forEach((p, at) => {
    if (p < position || p >= end) return
    const last = runs.at(-1)
    if (last && last.first + last.count === p && last.count < most) last.count++
    else runs.push({ at, first: p, count: 1 })
  })
  return runs
}

/** Logits behind the tokens at the positions, which lie in the step that has just run, to their rows of `into`. */
export async function readLogits(
  steps: Steps,
  network: Network,
  chunk: Chunk,
  positions: readonly number[],
  into: Float32Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { vocabSize } = network.config
  for (const { at, first, count } of runsOf(positions, chunk, network.sizes.outputs)) {
    await steps.submit((recorder) => network.head(recorder, first - chunk.position, count))
    into.set(await steps.read(network.work.logits, 4 * count * vocabSize, signal), at * vocabSize)
  }
}

/** The sum of log p(token | those before it) over the tokens behind those of the step that has just run. */
export async function readLogProbability(
  steps: Steps,
  network: Network,
  { position, tokens: own }: Chunk,
  tokens: readonly number[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const { sizes, work } = network
  const end = position + own.length
  let sum = 0
  for (let at = position; at < end; at += sizes.outputs) {
    const targets = tokens.slice(at + 1, Math.min(end, at + sizes.outputs) + 1)
    if (targets.length === 0) continue
    await steps.submit((recorder) => {
      network.head(recorder, at - position, targets.length)
      network.scores(recorder, targets)
    })
    const scores = await steps.read(work.scores, 4 * targets.length, signal)
    sum += scores.reduce((a, b) => a + b, 0)
  }
  return sum
}

const numbersOf = (bytes: Float32Array, dtype: Dtype): Float32Array =>
  dtype === 'f32' ? bytes : Float32Array.from(new Uint16Array(bytes.buffer), fromHalf)

/** Queries of the layer whose step was the last to run, to their tokens' places in `into`. */
export async function readQueries(
  steps: Steps,
  { config, sizes, work }: Network,
  { position, tokens, length }: Chunk,
  into: Float32Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { qHeads, headDim } = config
  const width = qHeads * headDim
  const bytes = tokens.length * width * (sizes.cache === 'f16' ? 2 : 4)
  const rows = numbersOf(await steps.read(work.q, bytes, signal), sizes.cache)
  for (let row = 0; row < tokens.length; row++) {
    for (let head = 0; head < qHeads; head++) {
      const from = row * width + head * headDim
      into.set(rows.subarray(from, from + headDim), (head * length + position + row) * headDim)
    }
  }
}

/** Keys of a layer from its cache. */
export async function readKeys(
  steps: Steps,
  network: Network,
  layer: number,
  length: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const { config, sizes } = network
  const { kvHeads, headDim } = config
  const bytes = kvHeads * sizes.length * headDim * (sizes.cache === 'f16' ? 2 : 4)
  const all = numbersOf(await steps.read(network.keys(layer), bytes, signal), sizes.cache)
  const k = new Float32Array(kvHeads * length * headDim)
  for (let head = 0; head < kvHeads; head++) {
    const from = head * sizes.length * headDim
    k.set(all.subarray(from, from + length * headDim), head * length * headDim)
  }
  return k
}
