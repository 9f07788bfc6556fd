/** Suites of patterns with a `forward`, at tiny sizes: on the emulation and on a software adapter, and what they make of wrong results. */

import { afterAll, describe, expect, test } from 'vitest'
import {
  checkCudaSelection,
  checkGpuSelections,
  GPU_CHECK,
  selectionRows,
} from '../../bench/check-selections.ts'
import { GPU_SELECTIONS, gpuSelections } from '../../bench/gpu-selections.ts'
import { predicted, tooLong } from '../../bench/growth.ts'
import { attempt, callOf, patternOf, type SelectionCall } from '../../bench/selection-cases.ts'
import { judge } from '../../runtime/testing/judge.ts'
import { prepareSelections } from '../../bench/selection-units.ts'
import { SELECTION_TIMES, timeSelections } from '../../bench/time-selections.ts'
import { cudaAttention, loadCudaKernel, type CudaDriver } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { plain16, reference } from '../../runtime/reference.ts'
import type { Shape } from '../../runtime/tensor.ts'
import { openTestDevice } from '../helpers.ts'

const prepared = prepareSelections(['minference-block'])
const driver = await openEmulation({ multiprocessors: 2 })
const opened = await openTestDevice()
afterAll(() => {
  driver.release()
  opened?.close()
})

const unit = prepared.units.cuda.find((u) => u.grain === 'small' && u.dtype === 'bf16')!
const SIZES = { batch: 1, qHeads: 2, kvHeads: 1, qLen: 40, kvLen: 40 }

describe('a check on CUDA', () => {
  test('passes on what kernels compute, and its row says how often', async () => {
    const report = await checkCudaSelection(driver, unit, { cases: 2, sets: 1, seed: 1 })
    expect(report).toMatchObject({ cases: 2, sets: 1, failures: [], dead: false })
    const [row] = selectionRows('cuda', [unit], [report], 1)
    expect(row).toMatchObject({
      case: 'minference-block bf16',
      target: 'cuda small d64',
      ok: true,
      more: { runs: 2, sets: 1, failures: 0, seed: 1 },
    })
  })

  test('fails on the attention of another pattern', async () => {
    const kernel = loadCudaKernel(prepared.timed.cuda['causal']!, driver)
    const dense = { ...unit, headDim: 128 }
    const { difference } = await attempt(dense, 5, (call) => {
      const { q, k, v } = call
      return cudaAttention(kernel, { q, k, v })
    })
    expect(difference).toMatch(/out at batch|lse at batch/)
    const report = {
      cases: 1,
      sets: 0,
      extra: 0,
      failures: [difference!],
      worst: 2,
      loadMs: 0,
      ms: 1,
      dead: false,
    }
    expect(selectionRows('cuda', [dense], [report], 5)[0]).toMatchObject({ ok: false, note: difference })
  })

  test('tells a kernel that is not there by the words of its error', async () => {
    const broken: CudaDriver = Object.assign(Object.create(driver) as CudaDriver, {
      alloc: () => {
        throw new Error('out of memory')
      },
    })
    const report = await checkCudaSelection(broken, unit, { cases: 1, sets: 0, seed: 1 })
    expect(report.failures).toEqual(['minference-block small bf16, seed 1: out of memory'])
  })
})

describe('a judgement', () => {
  const call = callOf(unit, SIZES, 7)
  const pattern = patternOf(unit)
  const shape: Shape = [1, 2, 40, 64]
  const resultOf = (from: SelectionCall) => {
    const { out, lse } = reference(pattern, from)
    return { out: { data: Float32Array.from(out), shape }, lse: { data: Float32Array.from(lse) } }
  }

  const judged = (given: SelectionCall, got: ReturnType<typeof resultOf>) =>
    judge(pattern, given, got, reference(pattern, given), plain16(pattern, given))

  test('of the oracle itself finds its rounding alone', () => {
    const { ratio, ...found } = judged(call, resultOf(call))
    expect(found).toEqual({ difference: null, undecided: 0 })
    expect(ratio).toBeLessThan(0.1)
  })

  test('of one row that chose otherwise is a difference', () => {
    const got = resultOf(call)
    got.out.data.subarray(39 * 64, 40 * 64).fill(0.25)
    const { difference, undecided } = judged(call, got)
    expect(difference).toMatch(/batch 0, head 0, row 39/)
    expect(undecided).toBe(0)
  })

  test('leaves out rows whose choice a rounding turns', () => {
    // All blocks score the same: the least rounding chooses among them.
    const same = { ...call.k, data: (call.k.data as Uint16Array).map((_, i, all) => all[i % 64]!) }
    const even: SelectionCall = { ...call, k: same }
    const got = resultOf({ ...even, v: { ...call.v, data: call.v.data.toReversed() as Uint16Array } })
    const { undecided } = judged(even, got)
    expect(undecided).toBeGreaterThan(0)
    expect(undecided).toBeLessThan(2 * 40)
  })
})

describe('growth', () => {
  const at = (length: number, scores: number, attend: number) => ({
    length,
    kernels: [
      { name: 'scores', ms: scores, launches: 1 },
      { name: 'attend', ms: attend, launches: 1 },
    ],
  })

  test('goes on as it was, as the square where only one length is known', () => {
    expect(predicted([at(1024, 1, 1)], 4096)).toEqual(
      new Map([
        ['scores', 16],
        ['attend', 16],
      ]),
    )
    const of = predicted([at(1024, 1, 1), at(2048, 4, 2)], 8192)
    expect(of.get('scores')).toBeCloseTo(64)
    expect(of.get('attend')).toBeCloseTo(8)
  })

  test('says which kernel, or that the whole, would take too long; and nothing otherwise', () => {
    const limits = { kernelMs: 2000, wholeMs: 3000 }
    expect(tooLong([], 1024, limits)).toBeNull()
    expect(tooLong([at(1024, 10, 1)], 4096, limits)).toBeNull()
    expect(tooLong([at(1024, 200, 1)], 4096, limits)).toBe(
      'N 4096 is not run: by its growth up to N 1024, scores would take 3.2 s',
    )
    expect(tooLong([at(1024, 100, 100)], 4096, limits)).toBe(
      'N 4096 is not run: by its growth up to N 1024, it would take 3.2 s',
    )
  })
})

describe('times', () => {
  const tiny = { heads: { qHeads: 2, kvHeads: 1 }, runs: 1, shown: 128, settings: {} }

  test(
    'on CUDA stand beside dense attention of the run, kernel by kernel',
    { timeout: 300_000 },
    async () => {
      const plan = { ...SELECTION_TIMES, ...tiny, lengths: [64, 128] }
      const [dense, own] = await timeSelections(driver, prepared.timed.cuda, plan)
      expect(dense!.case).toBe('causal, N 128')
      expect(own).toMatchObject({ case: 'minference-block, N 128', peer: { ms: dense!.ours.ms } })
      expect(own!.ratio).toBeCloseTo(dense!.ours.ms / own!.ours.ms)
      const names = String(own!.more!['kernels alone, ms'])
        .split(', ')
        .map((part) => part.split(' ')[0])
      expect(names).toEqual(['rows3', 'rows4', 'scores5', 'select7', 'attend8'])
    },
  )

  test('end where a kernel would take too long', { timeout: 300_000 }, async () => {
    const limits = { kernelMs: 1e-6, wholeMs: 1e-6 }
    const plan = { ...SELECTION_TIMES, ...tiny, lengths: [64, 128], limits }
    const rows = await timeSelections(driver, prepared.timed.cuda, plan)
    expect(rows.map((row) => row.case)).toEqual(['causal, N 64', 'minference-block, N 64'])
    expect(rows[1]!.note).toMatch(/^N 128 is not run: by its growth up to N 64, \w+ would take/)
  })

  test.skipIf(!opened)('on WebGPU say which share of the blocks was met', { timeout: 300_000 }, async () => {
    const plan = { ...GPU_SELECTIONS, ...tiny, lengths: [128], only: 'minference-block, k 16' }
    const [dense, own] = await gpuSelections(opened!.device, prepared.timed.wgsl, plan)
    expect(own).toMatchObject({
      case: 'minference-block, k 16, N 128',
      peer: { ms: dense!.ours.ms },
      more: { 'blocks of the causal ones': 1 },
    })
  })
})

test.skipIf(!opened)(
  'a check on WebGPU runs every kernel of a type that the device has',
  { timeout: 300_000 },
  async () => {
    const rows = await checkGpuSelections(opened!.device, prepared.units.wgsl, {
      ...GPU_CHECK,
      cases: 1,
      sets: 1,
      only: 'minference-block f32',
    })
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatchObject({ case: 'minference-block f32', ok: true, more: { failures: 0 } })
    const none = await checkGpuSelections(opened!.device, prepared.units.wgsl, { ...GPU_CHECK, minutes: 0 })
    expect(none).toEqual([])
  },
)
