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
  /** Of one token. */
  readonly decode: Cost
}

/** Tokens that are decoded, at most. */
const STEPS = 4

/** The last tokens of the text are its steps. Kernels are timed in a run of their own, in which each has a pass for itself. */
export async function timesOf(model: Model, tokens: readonly number[]): Promise<Times> {
  const steps = Math.min(STEPS, tokens.length - 1)
  const prompt = tokens.length - steps
  const clocked = await run(model, tokens, prompt, steps)
  const own = await timedBy(model, () => run(model, tokens, prompt, steps))
  const cost = (ms: number, part: 'prefill' | 'decode', per: number): Cost => ({
    ms: ms / per,
    kernels: own && own[part].all / per,
    attention: own && own[part].attention / per,
  })
  return { prefill: cost(clocked.prefill, 'prefill', 1), decode: cost(clocked.decode, 'decode', steps) }
}

interface Ran {
  readonly prefill: number
  readonly decode: number
  /** What the model says of its kernels when the prompt is in. */
  readonly between: Model['times']
}

async function run(model: Model, tokens: readonly number[], prompt: number, steps: number): Promise<Ran> {
  model.reset()
  const began = performance.now()
  await model.logits(tokens.slice(0, prompt))
  const between = performance.now()
  const times = model.times
  for (let n = 1; n <= steps; n++) await model.logits(tokens.slice(0, prompt + n))
  return { prefill: between - began, decode: performance.now() - between, between: times }
}

interface Sums {
  readonly all: number
  readonly attention: number
}

async function timedBy(
  model: Model,
  work: () => Promise<Ran>,
): Promise<{ readonly prefill: Sums; readonly decode: Sums } | null> {
  try {
    model.timed = true
  } catch (error) {
    // The host's clock is all there is.
    if (error instanceof HeddleError && error.code === 'no-timestamps') return null
    throw error
  }
  const { between } = await work()
  const [prefill, all] = [sumsOf(between), sumsOf(model.times)]
  model.timed = false
  return { prefill, decode: { all: all.all - prefill.all, attention: all.attention - prefill.attention } }
}

const sumsOf = (times: Model['times']): Sums => ({
  all: times.reduce((sum, t) => sum + t.ms, 0),
  attention: times.find((t) => t.kernel === 'attention')?.ms ?? 0,
})
