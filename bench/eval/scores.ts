/** Logits of a text's places and what should stand there in; right answers, near and far, and how far two predictions are apart, out. */

import type { Answer } from './tasks.ts'

export interface Count {
  readonly answers: number
  readonly right: number
}

/** Answers by how far back they rest. */
export interface Judged {
  readonly near: Count
  readonly far: Count
}

/** Where logits are wanted: before each token of an answer. */
export const positionsOf = (answers: readonly Answer[]): number[] =>
  answers.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin - 1 + i))

/** An answer is right if each of its tokens is the likeliest behind those before it. */
export function judge(
  tokens: ArrayLike<number>,
  answers: readonly Answer[],
  logits: Float32Array,
  vocabulary: number,
  near: number,
): Judged {
  const count = { near: { answers: 0, right: 0 }, far: { answers: 0, right: 0 } }
  let row = 0
  for (const { begin, end, distance } of answers) {
    let right = true
    for (let at = begin; at < end; at++, row++) {
      const line = logits.subarray(row * vocabulary, (row + 1) * vocabulary)
      right &&= likeliest(line) === tokens[at]
    }
    const of = count[distance <= near ? 'near' : 'far']
    of.answers++
    of.right += Number(right)
  }
  return count
}

function likeliest(logits: Float32Array): number {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
  return best
}

/** Of each row of logits, in nats, sum over p (log p - log q): p of the first, q of the second. */
export function divergences(p: Float32Array, q: Float32Array, vocabulary: number): number[] {
  return Array.from({ length: p.length / vocabulary }, (_, row) => {
    const [a, b] = [p, q].map((x) => x.subarray(row * vocabulary, (row + 1) * vocabulary)) as [
      Float32Array,
      Float32Array,
    ]
    const [za, zb] = [logSum(a), logSum(b)]
    let sum = 0
    for (let i = 0; i < vocabulary; i++) {
      const log = a[i]! - za
      sum += Math.exp(log) * (log - (b[i]! - zb))
    }
    return Math.max(0, sum)
  })
}

function logSum(logits: Float32Array): number {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  return top + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0))
}

export const added = (counts: readonly Count[]): Count => ({
  answers: counts.reduce((sum, c) => sum + c.answers, 0),
  right: counts.reduce((sum, c) => sum + c.right, 0),
})

/** Null of none. */
export const shareOf = ({ answers, right }: Count): number | null => (answers === 0 ? null : right / answers)
