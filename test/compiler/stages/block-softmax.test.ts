/** Softmaxes by blocks: which programs have them, what is then stored for a row, and which widths of blocks have none. */

import { describe, expect, test } from 'vitest'
import { bySoftmaxOfBlocks } from '../../../compiler/stages/block-softmax.ts'
import { isWord } from '../../../compiler/stages/graph.ts'
import type { StagePlan } from '../../../compiler/stages/plan.ts'
import { scoresOf } from '../../../compiler/stages/typing.ts'
import { PACKAGE_ROOT } from '../../../compiler/package-root.ts'
import { xattention } from '../../../patterns/index.ts'
import type { Pattern } from '../../../dsl/index.ts'
import { compilePattern } from '../../../runtime/testing/subject.ts'
import { compileMethod, METHODS } from './methods.ts'

const WIDTHS = [4, 8, 16, 32]

const planOf = (consts: Readonly<Record<string, number>>): StagePlan =>
  compilePattern(xattention as unknown as Pattern, {
    file: `${PACKAGE_ROOT}/patterns/xattention.ts`,
    consts,
  }).stages!

const pools = (plan: StagePlan) =>
  plan.graph.nodes.filter((n) => isWord(n, 'poolScores') && n.arg.how === 'lse')

describe('xattention', () => {
  test('stores a number for each block of a row of patches, and none for a patch', () => {
    const plan = planOf({ block: 128, step: 16 })
    const made = bySoftmaxOfBlocks(plan, WIDTHS)
    const [blocks, ...more] = pools(made)
    expect(more).toEqual([])
    expect(scoresOf(blocks!).q.units).toEqual({ kind: 'block', size: 16 })
    expect(scoresOf(blocks!).kv.units).toEqual({ kind: 'block', size: 128 })
    const scores = made.buffers.filter((b) => b.holds === 'scores')
    expect(scores.map((b) => scoresOf(b.node).kv.units)).toEqual([
      { kind: 'block', size: 128 },
      { kind: 'block', size: 128 },
    ])
    expect(made.buffers.map((b) => b.holds)).toEqual(plan.buffers.map((b) => b.holds))
    expect(made.graph.result.type).toBe(plan.graph.result.type)
  })

  test('stays as it is where a block has another number of patches', () => {
    for (const consts of [
      { block: 32, step: 16 },
      { block: 192, step: 16 },
    ]) {
      const plan = planOf(consts)
      expect(bySoftmaxOfBlocks(plan, WIDTHS)).toBe(plan)
    }
  })
})

test.each(METHODS)('%s has none, or a plan of its own', (method) => {
  const plan = compileMethod(method).stages!
  const made = bySoftmaxOfBlocks(plan, WIDTHS)
  expect(pools(plan)).toEqual([])
  expect(made === plan).toBe(pools(made).length === 0)
})
