/** What a check on CUDA runs: the kernels that the device has, with dims that they take. */

import { describe, expect, test } from 'vitest'
import { SKELETONS } from '../../../codegen/cuda/emit.ts'
import { causal } from '../../../patterns/index.ts'
import { examinePattern, type Runner } from '../../../runtime/testing/index.ts'
import { cudaRunner } from '../../../runtime/testing/cuda.ts'
import { RUNS_PER_VARIANT } from '../../../runtime/testing/runner.ts'
import { FakeDriver } from '../../cuda/handmade.ts'

const choicesOf = (runner: Runner, dtype?: 'bf16' | 'f16') =>
  Array.from({ length: 600 }, (_, i) => runner.choose(i * RUNS_PER_VARIANT, dtype))
const kindsOf = (driver: FakeDriver) => new Set(choicesOf(cudaRunner(driver)).map((c) => c.kind))

describe('the runner of CUDA kernels', () => {
  test('takes every skeleton that the device runs, and no other', () => {
    const on = (device: number) =>
      new Set(
        SKELETONS.filter(
          (s) => s.walks === 'mask' && s.capability.min <= device && device <= s.capability.max,
        ).map((s) => s.name),
      )
    expect(kindsOf(new FakeDriver())).toEqual(on(90))
    expect(kindsOf(new FakeDriver({ capability: { major: 8, minor: 0 } }))).toEqual(on(80))
    const one = cudaRunner(new FakeDriver(), { skeletons: ['ampere'] })
    expect(new Set(choicesOf(one).map((c) => c.kind))).toEqual(new Set(['ampere']))
  })

  test('shares a choice among neighbouring runs, and makes it from the seed alone', () => {
    const runner = cudaRunner(new FakeDriver())
    for (const seed of [0, 7, RUNS_PER_VARIANT - 1]) expect(runner.choose(seed)).toEqual(runner.choose(0))
    expect(runner.choose(1e9)).toEqual(cudaRunner(new FakeDriver()).choose(1e9))
  })

  test('meets padded dims and both types, and keeps to whole vectors where a skeleton needs them', () => {
    const choices = choicesOf(cudaRunner(new FakeDriver()))
    expect(new Set(choices.map((c) => c.dtype))).toEqual(new Set(['bf16', 'f16']))
    expect(new Set(choicesOf(cudaRunner(new FakeDriver()), 'f16').map((c) => c.dtype))).toEqual(
      new Set(['f16']),
    )
    const odd = new Set(choices.filter((c) => c.headDim % 8 !== 0).map((c) => c.kind))
    const whole = SKELETONS.filter((s) => s.walks === 'mask' && s.needs.vectors).map((s) => s.name)
    expect([...odd].filter((kind) => whole.some((name) => name === kind))).toEqual([])
    expect(odd.size).toBeGreaterThan(0)
    expect(Math.max(...choices.map((c) => c.headDim))).toBe(256)
    const emulated = choicesOf(cudaRunner(new FakeDriver({ kind: 'emulated' })))
    expect(Math.max(...emulated.map((c) => c.headDim))).toBe(128)
  })

  test('a device whose kernels write nothing is found out', async () => {
    const runner = cudaRunner(new FakeDriver({ capability: { major: 8, minor: 0 } }))
    const { target, runs, failures, counterExample } = await examinePattern(causal, {
      runner,
      runs: 3,
      seed: 0,
    })
    expect([target, runs, failures]).toEqual(['cuda', 3, 3])
    expect(counterExample!.text).toMatch(/is NaN, the oracle gives/)
  })
})
