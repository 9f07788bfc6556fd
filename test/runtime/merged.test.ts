/** Merged lists on WebGPU: tiles whose rows have lists of their own, and meet at the keys of any of them, give the oracle's numbers. */

import { afterAll, describe, expect, test } from 'vitest'
import type { Artifact } from '../../codegen/artifact.ts'
import { emit } from '../../codegen/index.ts'
import { attention } from '../../runtime/index.ts'
import { kernelsOf } from '../../runtime/stages.ts'
import { formFor, sizesOfCall } from '../../runtime/stage-sizes.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { Bench, DSL, openTestDevice, program } from '../helpers.ts'

const HEAD_DIM = 4
const PARAMS = { count: 7, gap: 0 }

/** What a query keeps: keys; blocks within a tile of keys, across tiles, and of several; of queries alone or four together; two sets. */
const SETS = {
  keys: 'topK(dot(Q, K), count)',
  pages: "topK(dot(Q, pool(K, blocks(8), 'mean')), count)",
  'pages across tiles': "topK(dot(Q, pool(K, blocks(24), 'max')), count)",
  'blocks of tiles': "topK(dot(Q, pool(K, blocks(96), 'mean')), 1)",
  'pages of a group': "topK(pool(dot(Q, pool(K, blocks(8), 'mean')), { share: 'kvHead' }, 'sum'), count)",
  'pages of four queries': "topK(dot(pool(Q, blocks(4), 'mean'), pool(K, blocks(8), 'max')), count)",
  'pages and keys': "union(topK(dot(Q, pool(K, blocks(16), 'mean')), count), topK(dot(Q, K), count))",
} as const

const compiledOf = (set: string) =>
  program(`
    import { attend, blocks, dot, i32, pattern, pool, topK, union } from '${DSL}'
    export const program = pattern({
      name: 'merged',
      params: { count: i32(1, { min: 1, max: 2 ** 22 }), gap: i32(0, { min: 0, max: 2 ** 22 }) },
      mask: ({ q, kv, gap }) => kv <= q - gap,
      forward: ({ Q, K, V, count }) => attend(Q, K, V, ${set}),
    })`)

interface Lengths {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qRows: number
  readonly kvRows: number
}

function callOf({ batch, qHeads, kvHeads, qRows, kvRows }: Lengths, params: Partial<typeof PARAMS> = {}) {
  const random = seededRandom(qRows + kvRows)
  const tensor = (heads: number, rows: number): Tensor => ({
    data: Float32Array.from({ length: batch * heads * rows * HEAD_DIM }, () => random() * 4 - 2),
    shape: [batch, heads, rows, HEAD_DIM],
  })
  return {
    q: tensor(qHeads, qRows),
    k: tensor(kvHeads, kvRows),
    v: tensor(kvHeads, kvRows),
    params: { ...PARAMS, ...params },
  }
}

/** The form of its attention that a call runs; null: the kernel's own text. */
function chosen({ stages }: Artifact, lengths: Lengths, params: Partial<typeof PARAMS> = {}): string | null {
  const values = Object.entries({ ...PARAMS, ...params }).map(([name, v]) => [name, [v]] as const)
  const sizes = { ...lengths, headDim: HEAD_DIM, valueDim: HEAD_DIM }
  const size = sizesOfCall({ sizes, params: new Map(values), rows: new Map(), indexHeads: 0, scale: 1 })
  const attend = kernelsOf(stages!.variants[0]!).find((k) => k.kind === 'attend')!
  return formFor(attend.kind === 'attend' ? attend.forms : [], size)?.id ?? null
}

const opened = await openTestDevice()
const bench = opened ? new Bench(opened) : null
afterAll(() => bench?.close())

const PROMPT: Lengths = { batch: 2, qHeads: 4, kvHeads: 2, qRows: 75, kvRows: 107 }
const CHUNK: Lengths = { ...PROMPT, batch: 1, qRows: 34, kvRows: 201 }

describe.skipIf(!opened)('lists of', () => {
  test.each(Object.entries(SETS))('%s', { timeout: 120_000 }, async (_, set) => {
    const { pattern, compiled } = compiledOf(set)
    for (const capability of ['portable', 'large'] as const) {
      const kernel = bench!.kernel(compiled, {
        headDim: HEAD_DIM,
        dtype: 'f32',
        capabilities: [capability],
      })
      for (const lengths of [PROMPT, CHUNK]) {
        expect(chosen(kernel.artifact, lengths)).toBe('merged')
        // Rows that have no key, and lists that leave most out.
        for (const params of [{}, { gap: 60, count: 40 }]) {
          const call = callOf(lengths, params)
          const { difference } = compareWithOracle(pattern, call, await attention(kernel, call))
          expect(difference, `${capability} ${JSON.stringify({ ...lengths, ...params })}`).toBeNull()
        }
      }
    }
  })
})

test('a step of decoding, and queries that keep little of many keys, draw theirs', () => {
  const { compiled } = compiledOf(SETS.keys)
  const artifact = emit(compiled, {
    target: 'wgsl',
    headDims: [HEAD_DIM],
    dtypes: ['f32'],
    capabilities: ['large'],
  })
  const kvRows = 4096
  expect(chosen(artifact, { ...CHUNK, qRows: 1, kvRows })).toBeNull()
  expect(chosen(artifact, { ...CHUNK, qRows: 256, kvRows }, { count: 63 })).toBeNull()
  expect(chosen(artifact, { ...CHUNK, qRows: 256, kvRows }, { count: 64 })).toBe('merged')
  expect(chosen(artifact, { ...CHUNK, qRows: 32, kvRows }, { count: 64 })).toBeNull()
})

test('lists of as many queries as a tile has are not merged', () => {
  const forms = (set: string) => {
    const { compiled } = compiledOf(set)
    const { stages } = emit(compiled, {
      target: 'wgsl',
      headDims: [HEAD_DIM],
      dtypes: ['f32'],
      capabilities: ['large'],
    })
    return kernelsOf(stages!.variants[0]!).flatMap((k) => (k.kind === 'attend' ? (k.forms ?? []) : []))
  }
  const blocksOf = (size: number) =>
    `topK(dot(pool(Q, blocks(${size}), 'mean'), pool(K, blocks(8), 'max')), count)`
  expect(forms(blocksOf(64))).toEqual([])
  expect(forms(blocksOf(32)).map((f) => f.id)).toEqual(['merged'])
})
