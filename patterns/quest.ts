/** quest: the pages whose keys could have the greatest inner product with the query. */

import { attend, blocks, concat, dot, i32, map, max, min, pattern, pool, topK } from '../dsl/index.ts'

const above = (x: number) => max(x, 0)
const below = (x: number) => min(x, 0)

/**
 * Query-aware pages (Quest, 2024): the greatest and least of each channel over a page of `page` keys bound
 * the inner product of a query with any of them: the sum over channels of the greater of q times either,
 * which is an inner product of the query's positive and negative parts with both. The `pages` pages of the
 * greatest bound are attended, the query's own always and of the same budget.
 *
 * Quest selects for each query head; here the bounds of a group of heads are added up, so that they share
 * one list, as The Sparse Frontier (2025) does. Quest keeps the first two layers dense, which is a
 * profile's to say.
 */
export const quest = pattern({
  name: 'quest',
  cite: 'The Sparse Frontier, arXiv:2504.17768; Quest, arXiv:2406.10774',
  consts: { page: 16 },
  params: { pages: i32(128, { min: 1, max: 2 ** 20 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, page, pages }) => {
    const sides = concat(map(Q, above), map(Q, below))
    const bounds = concat(pool(K, blocks(page), 'max'), pool(K, blocks(page), 'min'))
    const shared = pool(dot(sides, bounds), { share: 'kvHead' }, 'sum')
    return attend(Q, K, V, topK(shared, pages, { force: ({ q, kv }) => kv.last >= q.first }))
  },
})
