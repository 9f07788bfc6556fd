/** The laws on random forward programs: the graph gives what the program gives, and parts own each pair once. */

import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { createCompiler } from '../../../compiler/index.ts'
import { evaluateGraph } from '../../../compiler/stages/evaluate.ts'
import { verifyGraph } from '../../../compiler/stages/verify.ts'
import { runForward } from '../../../dsl/stages/evaluate.ts'
import { drawSeeded } from '../../../runtime/testing/draw.ts'
import { runProgram } from '../../run-program.ts'
import { runIn } from './methods.ts'
import { strayPair } from './one-part.ts'
import { forwardProgram } from './programs.ts'

const PROGRAMS = 40
const HERE = fileURLToPath(new URL('generated.ts', import.meta.url))
const compiler = createCompiler()

describe('a random forward program', () => {
  test.each(Array.from({ length: PROGRAMS }, (_, i) => i))('means the same as its graph, seed %d', (seed) => {
    const text = drawSeeded(forwardProgram, seed).value
    const { patterns, diagnostics } = compiler.compile(HERE, { text })
    const errors = diagnostics.filter((d) => d.severity !== 'note').map((d) => `${d.code}: ${d.text}`)
    expect({ errors, text }).toEqual({ errors: [], text })
    const { stages } = patterns[0]!
    expect(verifyGraph(stages!.graph, stages!.typing)).toEqual([])
    const pattern = runProgram(text)
    const call = runIn(pattern, patterns[0]!, {}, seed)
    const { inputs, graph } = call
    const program = { name: pattern.name, forward: pattern.forward!, sinkAt: null }
    const run = runForward(program, inputs)
    const made = runForward({ ...program, forward: () => evaluateGraph(stages!.graph, graph) }, inputs)
    expect({ out: made.out, text }).toEqual({ out: run.out, text })
    expect({ stray: strayPair(call), text }).toEqual({ stray: null, text })
  })
})
