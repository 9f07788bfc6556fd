/** Logits in, the next token out: greedy or drawn, as pure functions on the CPU. */

import { HeddleError } from '../messages.ts'

export interface Sampling {
  /** Logits are divided by it; 0, the default, takes the token of the largest. */
  readonly temperature?: number
  /** Only the k tokens of the largest logits; 0, the default, for all. */
  readonly topK?: number
  /** Only the fewest tokens, by falling probability, that have this much of it together; 1, the default, for all. */
  readonly topP?: number
  /** Only tokens of at least this fraction of the largest probability; 0, the default, for all. */
  readonly minP?: number
  /** Positive logits of tokens that occurred are divided by it, negative ones multiplied; 1, the default, for none. */
  readonly repetitionPenalty?: number
}

/** A number from 0 up to and without 1. */
export type Random = () => number

const RULES: Readonly<
  Record<keyof Sampling, { expected: string; fits: (x: number) => boolean; or: number }>
> = {
  temperature: { expected: 'a finite number of at least 0', fits: (x) => x >= 0 && x < Infinity, or: 0 },
  topK: { expected: 'a whole number of at least 0', fits: (x) => Number.isInteger(x) && x >= 0, or: 0 },
  topP: { expected: 'a number above 0 and at most 1', fits: (x) => x > 0 && x <= 1, or: 1 },
  minP: { expected: 'a number from 0 to 1', fits: (x) => x >= 0 && x <= 1, or: 0 },
  repetitionPenalty: { expected: 'a finite number above 0', fits: (x) => x > 0 && x < Infinity, or: 1 },
}

/** The options with their defaults; throws for what is none. */
export function checkSampling(sampling: Sampling): Required<Sampling> {
  const values = Object.entries(RULES).map(([name, { expected, fits, or }]) => {
    const got: unknown = sampling[name as keyof Sampling] ?? or
    if (typeof got !== 'number' || !fits(got))
      throw new HeddleError('sampling-value', { name, expected, got })
    return [name, got]
  })
  return Object.fromEntries(values) as Required<Sampling>
}

/** A stream of numbers that a seed determines, the same everywhere: splitmix32, two steps for the 53 bits of a number. */
export function seededRandom(seed: number): Random {
  if (seed !== seed >>> 0) {
    const expected = `a whole number from 0 to ${2 ** 32 - 1}`
    throw new HeddleError('sampling-value', { name: 'seed', expected, got: seed })
  }
  let state = seed | 0
  const next = (): number => {
    state = (state + 0x9e3779b9) | 0
    let x = state ^ (state >>> 16)
    x = Math.imul(x, 0x21f0aaad)
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
    return (x ^ (x >>> 15)) >>> 0
  }
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}

/**
 * The next token. `history` are the tokens so far, for the penalty; `random` is asked once, and not at all by greedy choice.
 * The order is that of transformers: penalty, temperature, topK, topP, minP. Among equals the smaller id comes first.
 */
export function sampleToken(
  logits: Float32Array,
  sampling: Sampling,
  history: Iterable<number>,
  random: Random,
): number {
  const { temperature, topK, topP, minP, repetitionPenalty } = checkSampling(sampling)
  checkLogits(logits)
  const scores = repetitionPenalty === 1 ? logits : penalized(logits, history, repetitionPenalty)
  const best = argmax(scores)
  if (temperature === 0) return best
  // Weights are relative to the best token's, which has 1.
  const weight = (id: number) => Math.exp((scores[id]! - scores[best]!) / temperature)
  const cut = topK > 0 || topP < 1
  const kept = cut ? nucleus(scores, topK || scores.length, topP, weight) : Array.from(scores.keys())
  const allowed = minP > 0 ? kept.filter((id) => weight(id) >= minP) : kept
  const total = allowed.reduce((sum, id) => sum + weight(id), 0)
  let left = random() * total
  for (const id of allowed) {
    left -= weight(id)
    if (left < 0) return id
  }
  // Rounding can leave a crumb: it belongs to the last token that has any weight.
  return allowed.findLast((id) => weight(id) > 0) ?? best
}

/** -Infinity is a token that may not come; NaN and Infinity are a model gone wrong, which no choice should hide. */
function checkLogits(logits: Float32Array): void {
  let finite = 0
  for (const [id, logit] of logits.entries()) {
    if (Number.isNaN(logit) || logit === Infinity) {
      throw new HeddleError('sampling-logits', { detail: `${logit} for token ${id}` })
    }
    if (logit !== -Infinity) finite++
  }
  if (finite === 0) throw new HeddleError('sampling-logits', { detail: `none among ${logits.length}` })
}

function argmax(scores: Float32Array): number {
  let best = 0
  for (let id = 1; id < scores.length; id++) if (scores[id]! > scores[best]!) best = id
  return best
}

function penalized(logits: Float32Array, history: Iterable<number>, penalty: number): Float32Array {
  const scores = logits.slice()
  for (const id of new Set(history)) {
    const logit = scores[id]
    if (logit !== undefined) scores[id] = logit < 0 ? logit * penalty : logit / penalty
  }
  return scores
}

/** The first `most` tokens by falling score, or as many of them as it takes for `share` of their weight. */
function nucleus(
  scores: Float32Array,
  most: number,
  share: number,
  weight: (id: number) => number,
): number[] {
  const heap = new ScoreHeap(scores)
  const size = Math.min(most, scores.length)
  // The whole weight has to be known first: that of all tokens takes no order.
  const first = size < scores.length || share === 1 ? Array.from({ length: size }, () => heap.pop()) : null
  if (first && share === 1) return first
  let total = 0
  for (const id of first ?? scores.keys()) total += weight(id)
  const taken: number[] = []
  for (let sum = 0; taken.length < size && (taken.length === 0 || sum < share * total);) {
    const id = first ? first[taken.length]! : heap.pop()
    taken.push(id)
    sum += weight(id)
  }
  return taken
}

/** Token ids by falling score: made in time linear in the vocabulary, of which mostly few are taken. */
class ScoreHeap {
  readonly #ids: Uint32Array
  readonly #scores: Float32Array
  #size: number

  constructor(scores: Float32Array) {
    this.#scores = scores
    this.#ids = Uint32Array.from(scores.keys())
    this.#size = scores.length
    for (let at = (this.#size >> 1) - 1; at >= 0; at--) this.#sink(at)
  }

  /** The id of the best score left; there has to be one. */
  pop(): number {
    const top = this.#ids[0]!
    this.#size--
    this.#ids[0] = this.#ids[this.#size]!
    this.#sink(0)
    return top
  }

  #before(a: number, b: number): boolean {
    const [x, y] = [this.#scores[a]!, this.#scores[b]!]
    return x > y || (x === y && a < b)
  }

  #sink(start: number): void {
    const ids = this.#ids
    for (let at = start; ;) {
      const left = 2 * at + 1
      if (left >= this.#size) return
      const right = left + 1
      const child = right < this.#size && this.#before(ids[right]!, ids[left]!) ? right : left
      if (!this.#before(ids[child]!, ids[at]!)) return
      const id = ids[at]!
      ids[at] = ids[child]!
      ids[child] = id
      at = child
    }
  }
}
