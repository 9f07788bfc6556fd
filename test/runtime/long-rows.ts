/** Rows of cells that no workgroup holds at once: a number of keys in; a program that chooses from them, and a call of it, out. */

import { seededRandom } from '../../runtime/testing/draw.ts'
import { DSL, program, type Program } from '../helpers.ts'
import type { Tensor } from '../../runtime/tensor.ts'

export interface LongCase extends Program {
  readonly call: {
    readonly q: Tensor
    readonly k: Tensor
    readonly v: Tensor
    readonly params: Readonly<Record<string, number>>
  }
}

export const LONG_HEAD_DIM = 4

/**
 * Whole numbers, so that sums of cells are exact, and many are equal: of these the first are taken. Keys are chosen by count or by
 * mass, and distances by the other, so that lists and bits of both are made.
 */
export function longCase(kvLen: number, keysBy: 'count' | 'mass'): LongCase {
  const [keys, distances] =
    keysBy === 'count'
      ? ['topK(byKey, count, force)', 'topP(map(byDistance, (s) => max(s, 0)), 0.25)']
      : ['topP(map(byKey, (s) => max(s, 0)), 0.5, force)', 'topK(byDistance, count)']
  const made = program(`
    import { attend, blocks, dot, i32, map, max, pattern, pool, skew, slice, topK, topP, union, whole } from '${DSL}'
    export const program = pattern({
      name: 'long-rows',
      params: { count: i32(1, { min: 1, max: 2 ** 22 }) },
      mask: ({ q, kv }) => kv <= q,
      forward: ({ Q, K, V, scale, count }) => {
        const cells = dot(slice(Q, -3), K, { scale })
        const byKey = pool(cells, { q: whole }, 'sum')
        const byDistance = pool(skew(cells), { q: whole }, 'sum')
        const keys = ${keys.replace('force', '{ force: ({ kv }) => kv.index % 97 === 5 }')}
        const distances = ${distances}
        return attend(Q, K, V, union(pool(distances, { q: blocks(16) }, 'any'), keys))
      },
    })`)
  const random = seededRandom(kvLen)
  const tensor = (rows: number): Tensor => ({
    data: Float32Array.from({ length: rows * LONG_HEAD_DIM }, () => Math.floor(random() * 5) - 2),
    shape: [1, 1, rows, LONG_HEAD_DIM],
  })
  return {
    ...made,
    call: { q: tensor(20), k: tensor(kvLen), v: tensor(kvLen), params: { count: Math.floor(kvLen / 3) } },
  }
}
