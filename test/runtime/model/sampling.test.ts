/** The next token: each option against its definition on small vocabularies, distributions against the draws, and refusals. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkSampling, sampleToken, seededRandom, type Sampling } from '../../../runtime/model/sampling.ts'
import { refusal } from './tiny.ts'

const logits = (...xs: number[]) => Float32Array.from(xs)
const never = () => {
  throw new Error('a greedy choice draws nothing')
}

/** Which tokens can come, and how often, over evenly spaced draws. */
function frequencies(
  scores: Float32Array,
  sampling: Sampling,
  history: number[] = [],
  draws = 4000,
): number[] {
  const counts = Array.from(scores, () => 0)
  for (let i = 0; i < draws; i++) {
    const token = sampleToken(scores, sampling, history, () => (i + 0.5) / draws)
    counts[token] = counts[token]! + 1
  }
  return counts.map((n) => n / draws)
}

/** Plain definition: sort all, cut, normalise. */
function expected(scores: Float32Array, s: Required<Sampling>, history: readonly number[]): number[] {
  const changed = Array.from(scores, (x, id) =>
    history.includes(id) ? Math.fround(x < 0 ? x * s.repetitionPenalty : x / s.repetitionPenalty) : x,
  )
  const most = Math.max(...changed)
  const weights = changed.map((x) => Math.exp((x - most) / s.temperature))
  const order = [...weights.keys()].sort((a, b) => changed[b]! - changed[a]! || a - b)
  const top = s.topK > 0 ? order.slice(0, s.topK) : order
  const total = top.reduce((sum, id) => sum + weights[id]!, 0)
  let before = 0
  const nucleus = top.filter((id, i) => {
    const kept = i === 0 || before < s.topP * total
    before += weights[id]!
    return kept
  })
  const kept = nucleus.filter((id) => weights[id]! >= s.minP)
  const sum = kept.reduce((n, id) => n + weights[id]!, 0)
  return weights.map((w, id) => (kept.includes(id) ? w / sum : 0))
}

describe('greedy', () => {
  test('takes the largest, of equals the first, and draws nothing', () => {
    expect(sampleToken(logits(1, 3, 2), {}, [], never)).toBe(1)
    expect(sampleToken(logits(1, 3, 3), { temperature: 0, topK: 2, topP: 0.1 }, [], never)).toBe(1)
    expect(sampleToken(logits(-Infinity, -5), {}, [], never)).toBe(1)
  })

  test('after the penalty', () => {
    expect(sampleToken(logits(4, 3), { repetitionPenalty: 2 }, [0, 0], never)).toBe(1)
    expect(sampleToken(logits(-2, -3), { repetitionPenalty: 2 }, [0], never)).toBe(1)
    expect(sampleToken(logits(4, 3), { repetitionPenalty: 2 }, [9], never)).toBe(0)
  })

  test('leaves the logits as they are', () => {
    const scores = logits(4, 3)
    sampleToken(scores, { repetitionPenalty: 2, temperature: 1, topK: 1 }, [0], () => 0)
    expect([...scores]).toEqual([4, 3])
  })
})

describe('drawn', () => {
  const thirds = logits(Math.log(6), Math.log(3), Math.log(2), Math.log(1))
  test.each<[string, Sampling, number[]]>([
    ['by softmax', { temperature: 1 }, [6 / 12, 3 / 12, 2 / 12, 1 / 12]],
    [
      'flatter with a temperature above 1',
      { temperature: 2 },
      [6, 3, 2, 1].map((x) => Math.sqrt(x) / 6.5958),
    ],
    ['from the k largest', { temperature: 1, topK: 2 }, [6 / 9, 3 / 9, 0, 0]],
    ['from more than there are', { temperature: 1, topK: 9 }, [6 / 12, 3 / 12, 2 / 12, 1 / 12]],
    ['from the fewest that have p', { temperature: 1, topP: 0.7 }, [6 / 9, 3 / 9, 0, 0]],
    ['from one at least', { temperature: 1, topP: 0.01 }, [1, 0, 0, 0]],
    ['from p of the k largest', { temperature: 1, topK: 3, topP: 0.9 }, [6 / 11, 3 / 11, 2 / 11, 0]],
    ['from those near the largest', { temperature: 1, minP: 0.3 }, [6 / 11, 3 / 11, 2 / 11, 0]],
  ])('%s', (_, sampling, shares) => {
    for (const [id, share] of frequencies(thirds, sampling).entries())
      expect(share).toBeCloseTo(shares[id]!, 3)
  })

  test('any options: as the plain definition says', () => {
    const number = fc.integer({ min: -40, max: 40 }).map((x) => x / 8)
    const options = fc.record({
      temperature: fc.constantFrom(0.25, 1, 3),
      topK: fc.nat(6),
      topP: fc.constantFrom(0.2, 0.5, 0.85, 1),
      minP: fc.constantFrom(0, 0.1, 0.6),
      repetitionPenalty: fc.constantFrom(1, 1.5, 0.5),
    })
    fc.assert(
      fc.property(
        fc.array(number, { minLength: 1, maxLength: 12 }),
        options,
        fc.array(fc.nat(12), { maxLength: 4 }),
        (xs, sampling, history) => {
          const scores = logits(...xs)
          const shares = expected(scores, sampling, history)
          const got = frequencies(scores, sampling, history, 200)
          for (const [id, share] of shares.entries()) expect(Math.abs(got[id]! - share)).toBeLessThan(0.01)
        },
      ),
    )
  })

  test('never a token of -Infinity, whatever is drawn', () => {
    const scores = logits(-Infinity, 0, -Infinity)
    for (const draw of [0, 0.5, 1 - 2 ** -53]) {
      expect(sampleToken(scores, { temperature: 1 }, [], () => draw)).toBe(1)
      expect(sampleToken(scores, { temperature: 1, topK: 3, topP: 0.99 }, [], () => draw)).toBe(1)
    }
  })

  test('from a vocabulary of 150,000 in milliseconds', () => {
    const random = seededRandom(7)
    const scores = Float32Array.from({ length: 150_000 }, () => 10 * random())
    const start = performance.now()
    for (let i = 0; i < 20; i++) sampleToken(scores, { temperature: 0.8, topK: 40, topP: 0.95 }, [], random)
    expect(performance.now() - start).toBeLessThan(4000)
  })
})

describe('seeds', () => {
  test('give the same numbers every time, others for others', () => {
    const numbers = (seed: number) => {
      const random = seededRandom(seed)
      return Array.from({ length: 5 }, random)
    }
    expect(numbers(1)).toEqual(numbers(1))
    const all = [0, 1, 2, 2 ** 31, 2 ** 32 - 1].map((seed) => numbers(seed).join(' '))
    expect(new Set(all).size).toBe(5)
  })

  test('are even: every sixteenth of the range has its share', () => {
    const random = seededRandom(42)
    const counts = Array.from({ length: 16 }, () => 0)
    for (let i = 0; i < 160_000; i++) {
      counts[Math.floor(random() * 16)]!++
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500)
  })
})

describe('refusals', () => {
  test.each<[Sampling, string]>([
    [{ temperature: -1 }, 'temperature: expected a finite number of at least 0, got -1'],
    [{ temperature: Infinity }, 'temperature: expected a finite number of at least 0, got Infinity'],
    [{ topK: 1.5 }, 'topK: expected a whole number of at least 0, got 1.5'],
    [{ topP: 0 }, 'topP: expected a number above 0 and at most 1, got 0'],
    [{ minP: 2 }, 'minP: expected a number from 0 to 1, got 2'],
    [{ repetitionPenalty: 0 }, 'repetitionPenalty: expected a finite number above 0, got 0'],
    [{ topK: '5' as unknown as number }, 'topK: expected a whole number of at least 0, got 5'],
  ])('%j', async (sampling, text) => {
    expect(await refusal(() => checkSampling(sampling))).toBe(`error[sampling-value]: sampling.${text}`)
  })

  test('a seed that is none', async () => {
    for (const seed of [0.5, -1, 2 ** 32, Number.NaN]) {
      expect(await refusal(() => seededRandom(seed))).toBe(
        `error[sampling-value]: sampling.seed: expected a whole number from 0 to 4294967295, got ${seed}`,
      )
    }
  })

  test.each<[string, Float32Array, string]>([
    ['NaN', logits(1, Number.NaN), 'NaN for token 1'],
    ['Infinity', logits(Infinity), 'Infinity for token 0'],
    ['nothing that may come', logits(-Infinity, -Infinity), 'none among 2'],
    ['no tokens', logits(), 'none among 0'],
  ])('logits with %s', async (_, scores, text) => {
    expect(await refusal(() => sampleToken(scores, {}, [], never))).toBe(
      `error[sampling-logits]: logits: expected finite numbers, or -Infinity for tokens that may not come, got ${text}`,
    )
  })
})
