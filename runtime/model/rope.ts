/** Rotary embeddings: the fields of a configuration in, a checked scaling out, and from it the frequencies in f64. */

import { HeddleError } from '../messages.ts'
import type { Fields } from './fields.ts'

/** How positions beyond those of the training are reached; `theta` is the base of the wavelengths. */
export type Rope = { readonly theta: number } & (
  | { readonly kind: 'default' }
  | { readonly kind: 'linear'; readonly factor: number }
  | { readonly kind: 'dynamic'; readonly factor: number; readonly originalPositions: number }
  | {
      readonly kind: 'llama3'
      readonly factor: number
      readonly lowFreqFactor: number
      readonly highFreqFactor: number
      readonly originalPositions: number
    }
  | {
      readonly kind: 'yarn'
      readonly factor: number
      readonly originalPositions: number
      readonly betaFast: number
      readonly betaSlow: number
      readonly truncate: boolean
      readonly attentionFactor: number
    }
  /** What GGUF files store of llama3's scaling: a divisor for each frequency. */
  | { readonly kind: 'divisors'; readonly divisors: readonly number[] }
)

export interface RopeFrequencies {
  /** Radians a position for each of headDim / 2 pairs; component i turns with component i + headDim / 2. */
  readonly inverse: Float64Array
  /** What the cosines and sines are multiplied by. */
  readonly attentionFactor: number
}

type Kind = Exclude<Rope['kind'], 'divisors'>
type Reader = (rope: Fields, theta: number, maxPositions: number) => Rope

// Wavelengths grow from 2 pi by powers of the base; yarn divides by its logarithm.
const BASE = { least: 2, most: 1e12 }
const POSITIVE = { least: 1e-6, most: 1e12 }
const POSITIONS = { least: 1, most: 2 ** 31 }
const original = (rope: Fields, maxPositions: number) =>
  rope.whole('original_max_position_embeddings', POSITIONS, maxPositions)

/** One row a kind: how its fields are read. */
const READERS: Readonly<Record<Kind, Reader>> = {
  default: (_, theta) => ({ kind: 'default', theta }),
  linear: (rope, theta) => ({ kind: 'linear', theta, factor: rope.number('factor', POSITIVE) }),
  dynamic: (rope, theta, maxPositions) => ({
    kind: 'dynamic',
    theta,
    factor: rope.number('factor', { least: 1, most: 1e12 }),
    originalPositions: maxPositions,
  }),
  llama3(rope, theta, maxPositions) {
    const lowFreqFactor = rope.number('low_freq_factor', POSITIVE)
    const highFreqFactor = rope.number('high_freq_factor', POSITIVE)
    if (highFreqFactor <= lowFreqFactor) throw rope.refuse('high_freq_factor', 'more than low_freq_factor')
    return {
      kind: 'llama3',
      theta,
      factor: rope.number('factor', POSITIVE),
      lowFreqFactor,
      highFreqFactor,
      originalPositions: original(rope, maxPositions),
    }
  },
  yarn(rope, theta, maxPositions) {
    const originalPositions = original(rope, maxPositions)
    const factor = rope.number('factor', POSITIVE, maxPositions / originalPositions)
    // Zero counts as absent for these four, as it does for transformers.
    const optional = (key: string, or: number) => rope.number(key, { least: 0, most: 1e12 }, 0) || or
    const [mscale, allDim] = [optional('mscale', 0), optional('mscale_all_dim', 0)]
    const magnitude = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1)
    const inferred = mscale && allDim ? magnitude(mscale) / magnitude(allDim) : magnitude(1)
    return {
      kind: 'yarn',
      theta,
      factor,
      originalPositions,
      betaFast: optional('beta_fast', 32),
      betaSlow: optional('beta_slow', 1),
      truncate: rope.flag('truncate', true),
      attentionFactor: rope.number('attention_factor', POSITIVE, inferred),
    }
  },
}

export const ROPE_KINDS: readonly string[] = Object.keys(READERS)

/**
 * The rope of a configuration: `rope_theta` and `rope_scaling` beside the other fields, as transformers 4 writes them, or
 * all in `rope_parameters`, as 5 does. The kind is `rope_type`, in older files `type`.
 */
export function readRope(config: Fields, maxPositions: number): Rope {
  const rope = config.record('rope_scaling') ?? config.record('rope_parameters')
  const theta = (rope?.raw('rope_theta') === undefined ? config : rope).number('rope_theta', BASE, 10_000)
  for (const fields of rope ? [config, rope] : [config]) {
    if (fields.number('partial_rotary_factor', POSITIVE, 1) !== 1)
      throw fields.refuse('partial_rotary_factor', '1')
  }
  const kind = rope?.raw('rope_type') ?? rope?.raw('type') ?? 'default'
  if (typeof kind !== 'string' || !Object.hasOwn(READERS, kind)) {
    throw new HeddleError('unknown-rope', { file: config.file, got: kind, known: ROPE_KINDS })
  }
  return READERS[kind as Kind](rope ?? config, theta, maxPositions)
}

/** How many tokens a sequence may have: a dynamic rope has frequencies for lengths that it was not trained on. */
export const reachOf = ({
  rope,
  maxPositions,
}: {
  readonly rope: Rope
  readonly maxPositions: number
}): number => (rope.kind === 'dynamic' ? Math.floor(maxPositions * rope.factor) : maxPositions)

/** The frequencies for a sequence of `length` tokens; only those of `dynamic` depend on it. */
export function ropeFrequencies(
  { rope, headDim }: { readonly rope: Rope; readonly headDim: number },
  length: number,
): RopeFrequencies {
  const exponents = Float64Array.from({ length: headDim / 2 }, (_, i) => (2 * i) / headDim)
  const plain = (theta: number) => exponents.map((x) => 1 / theta ** x)
  const inverse = plain(rope.theta)
  switch (rope.kind) {
    case 'default':
      return { inverse, attentionFactor: 1 }
    case 'linear':
      return { inverse: inverse.map((f) => f / rope.factor), attentionFactor: 1 }
    case 'divisors':
      return { inverse: inverse.map((f, i) => f / rope.divisors[i]!), attentionFactor: 1 }
    case 'dynamic': {
      const stretch = (rope.factor * Math.max(length, rope.originalPositions)) / rope.originalPositions
      const theta = rope.theta * (stretch - (rope.factor - 1)) ** (headDim / (headDim - 2))
      return { inverse: plain(theta), attentionFactor: 1 }
    }
    case 'llama3': {
      const { factor, lowFreqFactor: low, highFreqFactor: high, originalPositions } = rope
      const scaled = inverse.map((f) => {
        // How often the component turns within the training length: fast ones stay, slow ones stretch, the rest is between.
        const turns = (originalPositions * f) / (2 * Math.PI)
        const keep = Math.min(1, Math.max(0, (turns - low) / (high - low)))
        return (1 - keep) * (f / factor) + keep * f
      })
      return { inverse: scaled, attentionFactor: 1 }
    }
    case 'yarn': {
      const { factor, attentionFactor } = rope
      const [from, to] = yarnRange(rope, headDim)
      const scaled = inverse.map((f, i) => {
        const stretch = Math.min(1, Math.max(0, (i - from) / (to - from)))
        return stretch * (f / factor) + (1 - stretch) * f
      })
      return { inverse: scaled, attentionFactor }
    }
  }
}

/** The components between which yarn goes over from the plain frequencies to the stretched ones. */
function yarnRange(rope: Extract<Rope, { kind: 'yarn' }>, headDim: number): [from: number, to: number] {
  const component = (turns: number) =>
    (headDim * Math.log(rope.originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(rope.theta))
  const [first, last] = [component(rope.betaFast), component(rope.betaSlow)]
  const from = Math.max(0, rope.truncate ? Math.floor(first) : first)
  const to = Math.min(headDim - 1, rope.truncate ? Math.ceil(last) : last)
  return [from, from === to ? to + 0.001 : to]
}
