/** Rows of few cells: how they are chosen from in; a program whose queries choose keys each for itself, and calls of it, out. */

import { seededRandom } from '../../runtime/testing/draw.ts'
import { DSL, program, type Program } from '../helpers.ts'
import type { Tensor } from '../../runtime/tensor.ts'

export const SHORT_HEAD_DIM = 4

/** Ways to choose: keys, of whose count forced ones cost; and blocks, of which bits are made, by a count beside these and by mass. */
const CHOICES = {
  count: 'topK(cells, count, { force: ({ q, kv }) => kv.index === q.index - 3 })',
  beside:
    "topK(pool(cells, { kv: blocks(4) }, 'max'), count, { force: ({ kv }) => kv.index % 7 === 2, forced: 'extra' })",
  mass: "topP(map(pool(cells, { kv: blocks(4) }, 'max'), (s) => max(s, 0)), 0.4, { force: ({ kv }) => kv.index === 1 })",
} as const
export type ShortChoice = keyof typeof CHOICES
export const SHORT_CHOICES = Object.keys(CHOICES) as readonly ShortChoice[]

/** Keys that are `gap` behind the query or more are seen. */
export const shortProgram = (choice: ShortChoice): Program =>
  program(`
    import { attend, blocks, dot, i32, map, max, pattern, pool, topK, topP } from '${DSL}'
    export const program = pattern({
      name: 'short-rows',
      params: { count: i32(1, { min: 1, max: 2 ** 22 }), gap: i32(0, { min: 0, max: 2 ** 22 }) },
      mask: ({ q, kv, gap }) => kv <= q - gap,
      forward: ({ Q, K, V, scale, count }) => {
        const cells = dot(Q, K, { scale })
        return attend(Q, K, V, ${CHOICES[choice]})
      },
    })`)

export interface ShortCall {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly params: Readonly<Record<string, number>>
}

/**
 * Whole numbers, so that sums of cells are exact, and many are equal: of these the first are taken.
 * @param equal all cells are
 */
export function shortCall(
  kvLen: number,
  qLen: number,
  params: { readonly count: number; readonly gap?: number },
  equal = false,
): ShortCall {
  const random = seededRandom(kvLen + qLen)
  const tensor = (heads: number, rows: number, draw: () => number): Tensor => ({
    data: Float32Array.from({ length: heads * rows * SHORT_HEAD_DIM }, draw),
    shape: [1, heads, rows, SHORT_HEAD_DIM],
  })
  const whole = () => Math.floor(random() * 7) - 3
  return {
    q: tensor(2, qLen, equal ? () => 0 : whole),
    k: tensor(1, kvLen, whole),
    v: tensor(1, kvLen, random),
    params: { gap: 0, ...params },
  }
}

/** Calls around the lengths at which another text takes over, and such as choose nothing, all, or the first of equals. */
export function shortCalls(choice: ShortChoice, limits: readonly number[]): readonly ShortCall[] {
  const size = choice === 'count' ? 1 : 4
  // The last unit is not whole.
  const keysOf = (cells: number) => (cells - 1) * size + 1
  const few = limits[0]! - 5
  return [
    shortCall(5, 5, { count: 2 }),
    ...limits.flatMap((n) =>
      [n - 1, n, n + 1].map((cells) => shortCall(keysOf(cells), 3, { count: Math.ceil(n / 5) })),
    ),
    // More rows than are few.
    shortCall(keysOf(limits.at(-1)! + 1), 9, { count: 7 }),
    shortCall(few, 9, { count: 10 }, true),
    shortCall(few, 7, { count: 4, gap: 1000 }),
    shortCall(few, 33, { count: 4, gap: 40 }),
    shortCall(few, 4, { count: 1000 }),
    shortCall(few, 1, { count: 6 }),
  ]
}
