/** Generated kernels on a device, by the artefact's contract alone, against dense attention in f64 under the same plan. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { emit, type CapabilityName, type Dtype } from '../../codegen/index.ts'
import { openTestDevice, type OpenDevice } from '../helpers.ts'
import {
  numbers,
  planOfArtifact,
  reference,
  roundHalf,
  runVariant,
  type Problem,
  type Result,
} from './dispatch.ts'
import { plan, PLAN_NAMES, type PlanName } from './plans.ts'

let opened: OpenDevice | null
beforeAll(async () => {
  opened = await openTestDevice()
})
afterAll(() => opened?.close())

interface Setting {
  readonly headDim: number
  readonly valueDim?: number
  readonly dtype?: Dtype
  readonly capability?: CapabilityName
}

const TABLES = (kvRows: number) => ({
  docId: Int32Array.from({ length: kvRows }, (_, i) => Math.floor(i / 37)),
  slope: Float32Array.from([0.5, 0.25, 0.125, 1]),
  sink: Float32Array.from([0.5, -2, 3, -30]),
})

/** Two batch entries: one whole with queries at the end, one with padding before and behind. */
function problemOf(headDim: number, valueDim: number, changes: Partial<Problem> = {}): Problem {
  const [batch, qHeads, kvHeads] = [2, 4, 2]
  const { qRows = 45, kvRows = 70 } = changes
  return {
    batch,
    qHeads,
    kvHeads,
    qRows,
    kvRows,
    lengths: [
      { qRow: 0, qStart: kvRows - qRows, qLen: qRows, kvStart: 0, kvLen: kvRows },
      { qRow: 3, qStart: 2, qLen: qRows - 8, kvStart: 5, kvLen: kvRows - 11 },
    ],
    q: numbers(batch * qHeads * qRows * headDim, 1),
    k: numbers(batch * kvHeads * kvRows * headDim, 2),
    v: numbers(batch * kvHeads * kvRows * valueDim, 3),
    params: { sinkTokens: [0, 5, 9, 40], window: 20 },
    tables: TABLES(kvRows),
    ...changes,
  }
}

async function run(
  device: GPUDevice,
  name: PlanName,
  { headDim, valueDim = headDim, dtype = 'f32', capability = 'portable' }: Setting,
  problem: Problem,
): Promise<Result> {
  const p = plan(name)
  const artifact = emit(
    { plan: p },
    {
      target: 'wgsl',
      headDims: [headDim],
      valueDims: [valueDim],
      dtypes: [dtype],
      capabilities: [capability],
    },
  )
  planOfArtifact.set(artifact, p)
  return runVariant(device, artifact, artifact.variants[0]!, problem)
}

/** Largest difference; a NaN or a missing infinity counts as infinite. */
function distance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  expect(got.length).toBe(want.length)
  let worst = 0
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i]) || got[i] === want[i]) continue
    const d = Math.abs(got[i]! - want[i]!)
    worst = Math.max(worst, d >= 0 ? d : Infinity)
  }
  return worst
}

async function check(name: PlanName, setting: Setting, changes: Partial<Problem> = {}): Promise<Result> {
  const { headDim, valueDim = headDim, dtype = 'f32' } = setting
  const problem = problemOf(headDim, valueDim, changes)
  const got = await run(opened!.device, name, setting, problem)
  const want = reference(plan(name), problem, headDim, valueDim, dtype === 'f16' ? roundHalf : undefined)
  // Half storage rounds the result by at most 2^-11 of values below 2.
  expect(distance(got.out, want.out), 'out').toBeLessThan(dtype === 'f16' ? 1e-3 : 5e-6)
  expect(distance(got.lse, want.lse), 'lse').toBeLessThan(1e-5)
  return got
}

describe('every plan', () => {
  it.for(PLAN_NAMES)('%s equals dense attention', async (name, { skip }) => {
    if (!opened) return skip('no device')
    await check(name, { headDim: 16 })
  })
})

describe('every shape of storage', () => {
  const SETTINGS: readonly Setting[] = [
    { headDim: 8 },
    { headDim: 59 },
    { headDim: 80 },
    { headDim: 100 },
    { headDim: 256 },
    { headDim: 16, valueDim: 48 },
    { headDim: 20, valueDim: 7 },
    { headDim: 32, valueDim: 256 },
    { headDim: 64, dtype: 'f16' },
    { headDim: 59, dtype: 'f16' },
    { headDim: 12, valueDim: 5, dtype: 'f16' },
    { headDim: 64, capability: 'large' },
    { headDim: 80, capability: 'large', dtype: 'f16' },
    { headDim: 36, valueDim: 256, capability: 'large' },
  ]
  it.for(SETTINGS)('%o', async (setting, { skip }) => {
    if (!opened) return skip('no device')
    await check('a-shape', setting)
  })

  it('with subgroups, where the device has them', async ({ skip }) => {
    if (!opened?.features.includes('subgroups')) return skip('no subgroups')
    await check('a-shape', { headDim: 32, capability: 'subgroups' })
  })

  it('large tiles with a list and with a score', async ({ skip }) => {
    if (!opened) return skip('no device')
    await check('document', { headDim: 16, capability: 'large' })
    await check('alibi', { headDim: 16, capability: 'large' })
  })
})

describe('the grid and the lengths', () => {
  it('a two-dimensional grid with surplus workgroups, rows before heads', async ({ skip }) => {
    if (!opened) return skip('no device')
    await check('causal', { headDim: 16 }, { gridX: 3, rowsFirst: true })
    await check('document', { headDim: 16 }, { gridX: 5 })
  })

  it.for([1, 31, 32, 33])('%i keys and as many queries', async (n, { skip }) => {
    if (!opened) return skip('no device')
    const lengths = [0, 0].map(() => ({ qRow: 0, qStart: 0, qLen: n, kvStart: 0, kvLen: n }))
    await check('causal', { headDim: 16 }, { qRows: n, kvRows: n, lengths })
  })

  it('an entry without keys and one without queries: zeros and -infinity', async ({ skip }) => {
    if (!opened) return skip('no device')
    const lengths = [
      { qRow: 0, qStart: 0, qLen: 45, kvStart: 0, kvLen: 0 },
      { qRow: 4, qStart: 0, qLen: 0, kvStart: 0, kvLen: 70 },
    ]
    for (const name of ['causal', 'document', 'strided'] as const) {
      const { out, lse } = await check(name, { headDim: 16 }, { lengths })
      expect(Array.from(out).every((x) => x === 0)).toBe(true)
      expect(Array.from(lse).every((x) => x === -Infinity)).toBe(true)
    }
  })

  it('the sink logit is the LSE of an empty row, to the bit', async ({ skip }) => {
    if (!opened) return skip('no device')
    const { lse } = await check(
      'sink-logit',
      { headDim: 16 },
      { lengths: [0, 0].map(() => ({ qRow: 0, qStart: 0, qLen: 45, kvStart: 0, kvLen: 45 })) },
    )
    const sink = TABLES(70).sink
    for (let head = 0; head < 4; head++)
      for (let row = 0; row < 3; row++) expect(lse[head * 45 + row]).toBe(sink[head])
  })
})

describe('NaN and infinity', () => {
  it('do not leak from masked keys and values, nor from rows that are padding', async ({ skip }) => {
    if (!opened) return skip('no device')
    for (const name of ['causal', 'document', 'softcap'] as const) {
      for (const capability of ['portable', 'large'] as const) {
        const headDim = 16
        const clean = problemOf(headDim, headDim)
        const lengths = [
          { qRow: 2, qStart: 0, qLen: 40, kvStart: 3, kvLen: 60 },
          { qRow: 0, qStart: 0, qLen: 41, kvStart: 0, kvLen: 60 },
        ]
        const want = await run(opened.device, name, { headDim, capability }, { ...clean, lengths })
        const [q, k, v] = [clean.q.slice(), clean.k.slice(), clean.v.slice()]
        const poison = (
          data: Float32Array,
          heads: number,
          rows: number,
          bad: (batch: number, row: number) => boolean,
        ) => {
          for (let i = 0; i < data.length; i++) {
            const row = Math.floor(i / headDim)
            if (bad(Math.floor(row / (heads * rows)), row % rows))
              data[i] = [NaN, Infinity, -Infinity][i % 3]!
          }
        }
        poison(q, 4, 45, (b, row) => row < lengths[b]!.qRow || row >= lengths[b]!.qRow + lengths[b]!.qLen)
        // Keys that no query reaches: padding, and positions behind the last query.
        const unreached = (b: number, row: number) =>
          row < lengths[b]!.kvStart || row - lengths[b]!.kvStart >= lengths[b]!.qLen
        poison(k, 2, 70, unreached)
        poison(v, 2, 70, unreached)
        const got = await run(opened.device, name, { headDim, capability }, { ...clean, lengths, q, k, v })
        expect(distance(got.out, want.out), `${name} ${capability}`).toBe(0)
        expect(distance(got.lse, want.lse), `${name} ${capability}`).toBe(0)
      }
    }
  })

  it('of a value reach the rows that attend it alone', async ({ skip }) => {
    if (!opened) return skip('no device')
    const problem = problemOf(16, 16, {
      qRows: 70,
      lengths: [0, 0].map(() => ({ qRow: 0, qStart: 0, qLen: 70, kvStart: 0, kvLen: 70 })),
      q: numbers(2 * 4 * 70 * 16, 1),
    })
    const v = problem.v.slice()
    for (let i = 0; i < 2 * 2; i++) v.fill(NaN, (i * 70 + 40) * 16, (i * 70 + 41) * 16)
    const { out } = await run(opened.device, 'causal', { headDim: 16 }, { ...problem, v })
    for (let row = 0; row < 70; row++) expect(Number.isNaN(out[row * 16]), `row ${row}`).toBe(row >= 40)
  })
})
