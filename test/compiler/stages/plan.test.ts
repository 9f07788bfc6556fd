/** What holds of every stage plan: kernels read what earlier ones wrote, memory does not grow with all pairs, parts own pairs. */

import { describe, expect, test } from 'vitest'
import { environmentOf, type Setting } from '../../../compiler/mask-map.ts'
import type { CompiledPattern } from '../../../compiler/index.ts'
import type { StageBuffer, StageKernel, StagePlan } from '../../../compiler/stages/plan.ts'
import { costOf } from '../../../compiler/stages/print-plan.ts'
import { compileMethod, METHODS } from './methods.ts'

const kernelsOf = (plan: StagePlan): readonly StageKernel[] =>
  plan.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))

function costAt(compiled: CompiledPattern, length: number) {
  const at: Setting = {
    batch: 0,
    batches: 1,
    head: 0,
    qHeads: 8,
    kvHeads: 2,
    qLen: length,
    kvLen: length,
    headDim: 64,
    params: {},
    tables: {},
  }
  const env = environmentOf(compiled.plan, at, { batches: 1, indexHeads: 4, valueDim: 64, scale: 0.125 })
  const param = (name: string) => (name.endsWith('.channels') ? 64 : env.param(name))
  return costOf(compiled.stages!, { ...env, param })
}

describe.each(METHODS)('%s', (method) => {
  const compiled = compileMethod(method)
  const plan = compiled.stages!

  test('a kernel reads only what an earlier one has written', () => {
    const written = new Set<StageBuffer>()
    for (const kernel of kernelsOf(plan)) {
      expect(kernel.reads.filter((b) => !written.has(b)).map((b) => b.name)).toEqual([])
      for (const b of kernel.writes) written.add(b)
    }
    expect([...written].toSorted(byName)).toEqual([...plan.buffers].toSorted(byName))
  })

  test('the last kernel makes the output, and every buffer is read', () => {
    const kernels = kernelsOf(plan)
    expect(kernels.at(-1)).toMatchObject({ makes: 'output', writes: [] })
    const read = new Set(kernels.flatMap((k) => k.reads))
    expect(plan.buffers.filter((b) => !read.has(b)).map((b) => b.name)).toEqual([])
  })

  test('no buffer has a place for each pair of tokens', () => {
    const [short, long] = [costAt(compiled, 2 ** 16), costAt(compiled, 2 ** 20)]
    const pairs = 2 ** 40
    // A row of one chunk may be as long as the keys.
    expect(long.workspace).toBeLessThan(pairs)
    expect(long.workspace).toBeLessThanOrEqual(short.workspace * 15 ** 2)
    for (const [i, kernel] of long.kernels.entries()) {
      expect(kernel.flops).toBeGreaterThanOrEqual(short.kernels[i]!.flops)
      for (const { shape, bytes } of kernel.writes) expect(bytes).toBe(4 * shape.reduce((a, b) => a * b, 1))
    }
  })
})

const byName = (a: StageBuffer, b: StageBuffer): number => (a.name < b.name ? -1 : 1)
