/**
 * What an author's editor must mark in a forward program: each directive below is an error of tsc if the line
 * under it is none.
 */

import { expect, it } from 'vitest'
import {
  argsort,
  attend,
  blocks,
  clusters,
  dot,
  f32,
  gated,
  i32,
  linear,
  map,
  max,
  merge,
  pattern,
  perHead,
  permute,
  pool,
  rows,
  skew,
  softmax,
  table,
  topK,
  union,
  values,
  where,
  whole,
  windows,
} from '../../../dsl/index.ts'

const declared = pattern({
  name: 'declared',
  consts: { block: 64 },
  params: { k: i32(4), theta: perHead(f32(1)) },
  tables: {
    qI: rows('q', 'indexHead'),
    kI: rows('kv', 'request'),
    mean: rows('kv', 'kvHead', 'whole'),
    labels: table('i32', ['kvLen']),
    weight: table('f32', ['head', 8, 4]),
  },
  mask: ({ q, kv }) => kv <= q,
  /** Never run: only its types are looked at. */
  forward: (inputs) => {
    const { Q, K, V, k, theta, qI, kI, mean, labels, weight, block } = inputs
    const byBlock = topK(dot(pool(Q, blocks(64), 'mean'), pool(K, blocks(64), 'mean')), k)
    const order = argsort(pool(softmax(dot(Q, K)), { q: whole }, 'sum'))
    const [Ks, Vs] = [permute(K, order), permute(V, order)]
    const sorted = topK(dot(pool(Q, blocks(64), 'mean'), pool(Ks, blocks(64), 'mean')), k)
    const [kc, vc] = [pool(K, windows(32, 16), 'mean'), pool(V, windows(32, 16), 'mean')]
    // @ts-expect-error an unreduced index head cannot reach attend
    attend(Q, K, V, topK(dot(qI, kI), k))
    // @ts-expect-error the heads of an indexer and the heads of the model do not join
    topK(dot(qI, K), k)
    // @ts-expect-error blocks of sorted keys, operands in the sequence's order
    attend(Q, K, V, sorted)
    // @ts-expect-error blocks of the sequence's keys, operands sorted
    attend(Q, Ks, Vs, byBlock)
    // @ts-expect-error a union with one part in the wrong order
    attend(Q, Ks, Vs, union(sorted, byBlock))
    // @ts-expect-error keys sorted, values not
    attend(Q, Ks, V, sorted)
    // @ts-expect-error pooled keys with values of tokens
    attend(Q, kc, V)
    // @ts-expect-error blocks of keys do not address compressed keys
    attend(Q, kc, vc, byBlock)
    // @ts-expect-error queries and keys swapped
    attend(Q, K, V, topK(dot(K, Q), k))
    // @ts-expect-error scores cannot be shared more finely than they are
    pool(dot(kI, kI), { share: 'kvHead' }, 'sum')
    // @ts-expect-error a set has no sum
    pool(byBlock, { q: blocks(128) }, 'sum')
    // @ts-expect-error scores are not a set
    pool(dot(Q, K), { q: blocks(64) }, 'any')
    // @ts-expect-error clusters have no distance
    skew(dot(Q, pool(K, clusters(labels), 'mean')))
    const [coarse, fine] = [
      dot(pool(Q, blocks(64), 'mean'), pool(K, blocks(64), 'mean')),
      values(K, (u) => u.index),
    ]
    // @ts-expect-error a vector over tokens against scores of blocks: neither equal nor whole
    map(coarse, fine, (a: number, b: number) => a + b)
    // @ts-expect-error a misspelt axis
    pool(dot(Q, K), { kvs: whole }, 'sum')
    // @ts-expect-error rows are not scores
    topK(K, k)
    // @ts-expect-error a gated sum has no log-sum-exp and cannot be merged
    merge(gated([attend(Q, K, V), () => 1]), attend(Q, K, V))
    // @ts-expect-error no such parameter
    void inputs.window
    // @ts-expect-error a param of each head is no number
    void (theta * 2)
    // @ts-expect-error a set of scores is not made of rows
    union(byBlock, K)
    // @ts-expect-error map also passes a cell's record, and max takes numbers alone
    map(dot(Q, K), dot(Q, K), max)
    // @ts-expect-error a const is a number
    void block.at(0)
    // @ts-expect-error a param that all heads share has no number of one of them
    where(({ kv, head }) => kv < k.at(head))
    // @ts-expect-error a param of each head is no number before a head is named
    where(({ kv }) => kv < theta)

    attend(Q, K, V, byBlock)
    attend(Q, Ks, Vs, sorted)
    attend(
      Q,
      Ks,
      Vs,
      union(
        sorted,
        where(({ q, kv }) => q - kv < 64),
      ),
    )
    attend(Q, kc, vc, topK(dot(Q, kc), k))
    topK(dot(Q, K), theta)
    topK(dot(Q, K), k, { force: ({ kv, head }) => kv.index < theta.at(head) })
    where(dot(Q, K), theta, (s, t) => s >= t)
    map(K, mean, (x, m) => x - m)
    attend(Q, linear(K, weight), linear(V, weight))
    attend(Q, K, V, topK(pool(dot(qI, kI), { share: 'request' }, 'sum'), k))
    return attend(Q, K, V, pool(topK(skew(softmax(dot(Q, K))), k), { q: blocks(64) }, 'any'))
  },
})

it('keeps the declarations of a pattern with rows', () => {
  const share: 'indexHead' = declared.tables.qI.share
  const perHeadIsKnown: true = declared.params.theta.perHead
  expect([share, perHeadIsKnown, declared.tables.mean.grain]).toEqual(['indexHead', true, 'whole'])
})

/** Never run. */
export const refused = (): readonly unknown[] => [
  // @ts-expect-error rows are for forward alone
  pattern({ name: 'x', tables: { qI: rows('q', 'head') }, mask: ({ q, qI }) => qI.at(q) > 0 }),
  // @ts-expect-error an answer that is no attention
  pattern({ name: 'x', mask: () => true, forward: ({ Q, K }) => dot(Q, K) }),
  // @ts-expect-error a side that is none
  rows('k', 'head'),
  // @ts-expect-error a grain that inputs do not come in
  rows('kv', 'head', 'block'),
  // @ts-expect-error an input misspelt
  pattern({ name: 'x', mask: () => true, forward: ({ Q, k, V }) => attend(Q, k, V) }),
]
