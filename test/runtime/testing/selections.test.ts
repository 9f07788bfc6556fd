/** A device's lists against those of the oracle's steps. */

import { expect, it } from 'vitest'
import { blocks, dot, map, pool, topK, where, whole } from '../../../dsl/index.ts'
import { perHeadScores } from '../../../dsl/stages/evaluate.ts'
import { chosenBy, disagreements } from '../../../runtime/testing/index.ts'
import { valuesOf } from '../../dsl/stage-values.ts'

/** Queries 4 and 5 over three blocks of two keys: block b scores 10 b, on head 1 its negative. */
function steps() {
  const { call, Q, K } = valuesOf({ qLen: 2, kvLen: 6 })
  const scores = map(
    dot(Q, pool(K, blocks(2), 'mean')),
    (_, { head, kv }) => (head === 0 ? 1 : -1) * 10 * kv.index,
  )
  topK(scores, 2)
  where(pool(scores, { q: whole, share: 'kvHead' }, 'max'), perHeadScores(call, [5, 15]), (s, bar) => s > bar)
  return call.trace!
}

it('tells what a step chose', () => {
  const [step, compared] = steps()
  expect([chosenBy(step!, 0, 0), chosenBy(step!, 1, 1)]).toEqual([
    [1, 2],
    [0, 1],
  ])
  // One list for all queries, each head against a bar of its own.
  expect([chosenBy(compared!, 0, 0), chosenBy(compared!, 1, 0)]).toEqual([[1, 2], [2]])
  expect(compared!.scores!.values.map((rows) => [...rows[0]!])).toEqual([
    [0, 10, 20],
    [0, 10, 20],
  ])
})

it('agrees with the same list in any order, and with nothing else', () => {
  const [step] = steps()
  expect(disagreements(step!, (sharer) => (sharer === 0 ? [2, 1] : [1, 0]))).toEqual([])
  const swapped = (sharer: number, row: number) => (sharer === 0 ? [2, row] : [0, 1])
  expect(disagreements(step!, swapped)).toEqual([
    { sharer: 0, row: 0, missing: [{ unit: 1, score: 10 }], extra: [{ unit: 0, score: 0 }] },
  ])
  const wrong = (sharer: number) => (sharer === 0 ? [1, 1, 9] : [0, 1])
  expect(disagreements(step!, wrong).map(({ row, missing, extra }) => ({ row, missing, extra }))).toEqual(
    [0, 1].map((row) => ({
      row,
      missing: [{ unit: 2, score: 20 }],
      extra: [
        { unit: 1, score: 10 },
        { unit: 9, score: -Infinity },
      ],
    })),
  )
})
