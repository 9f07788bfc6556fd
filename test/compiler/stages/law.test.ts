/** The law of lowering: a stage graph gives what its program gives when it is run as JavaScript. */

import { describe, expect, test } from 'vitest'
import { evaluateGraph } from '../../../compiler/stages/evaluate.ts'
import { runForward } from '../../../dsl/stages/evaluate.ts'
import { METHODS, runOf } from './methods.ts'

describe.each(METHODS)('%s', (method) => {
  test.each([0, 1, 2, 3])('means the same as a graph, seed %d', async (seed) => {
    const { pattern, compiled, inputs, graph } = await runOf(method, seed)
    const program = { name: method, forward: pattern.forward!, sinkAt: null }
    const run = runForward(program, inputs)
    const made = runForward(
      { ...program, forward: () => evaluateGraph(compiled.stages!.graph, graph) },
      inputs,
    )
    expect(made.out).toEqual(run.out)
    expect(run.out.flat(2).some((v) => v.some((x) => x !== 0))).toBe(true)
  })
})
