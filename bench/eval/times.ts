/** A model under a pattern and a prompt in; what the prompt and a step behind it take out. */

import { HeddleError } from '../../runtime/messages.ts'
import type { Model } from '../../runtime/model/model.ts'

export interface Cost {
  /** Of the whole call, on the host's clock. */
  readonly ms: number
  /** Of all kernels and of attention's, on the device's own clock; null where it has none. */
  readonly kernels: number | null
  readonly attention: number | null
}

export interface Times {
  readonly prefill: Cost
  /** Of one token; null where a step makes the whole prompt anew, since its length turns all keys otherwise. */
  readonly decode: Cost | null
}

/** Tokens that are decoded, at most. */
const STEPS = 4

/** The last tokens of the text are its steps. Where there is a device's clock, each kernel has a pass for itself. */
export async function timesOf(model: Model, tokens: readonly number[]): Promise<Times> {
  const { rope } = model.config
  const anew = rope.kind === 'dynamic' && tokens.length > rope.originalPositions
  const steps = anew ? 0 : Math.min(STEPS, tokens.length - 1)
  const prompt = tokens.length - steps
  const isTimed = timed(model)
  model.reset()
  const began = performance.now()
  await model.logits(tokens.slice(0, prompt))
  const [between, prefill] = [performance.now(), sumsOf(model.times)]
  for (let n = 1; n <= steps; n++) await model.logits(tokens.slice(0, prompt + n))
  const [ended, all] = [performance.now(), sumsOf(model.times)]
  if (isTimed) model.timed = false
  const cost = (ms: number, sums: Sums, per: number): Cost => ({
    ms: ms / per,
    kernels: isTimed ? sums.all / per : null,
    attention: isTimed ? sums.attention / per : null,
  })
  const decode = { all: all.all - prefill.all, attention: all.attention - prefill.attention }
  return {
    prefill: cost(between - began, prefill, 1),
    decode: anew ? null : cost(ended - between, decode, steps),
  }
}

/** False on a device without timestamps: the host's clock is all there is. */
function timed(model: Model): boolean {
  try {
    model.timed = true
    return true
  } catch (error) {
    if (error instanceof HeddleError && error.code === 'no-timestamps') return false
    throw error
  }
}

interface Sums {
  readonly all: number
  readonly attention: number
}

const sumsOf = (times: Model['times']): Sums => ({
  all: times.reduce((sum, t) => sum + t.ms, 0),
  attention: times.find((t) => t.kernel === 'attention')?.ms ?? 0,
})
