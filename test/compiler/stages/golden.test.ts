/** The graph and the kernels of every method, word for word: golden/<method>.txt. `UPDATE=1` rewrites them. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { printGraph } from '../../../compiler/stages/print-graph.ts'
import { printStagePlan } from '../../../compiler/stages/print-plan.ts'
import { compileMethod, METHODS } from './methods.ts'

const GOLDEN = fileURLToPath(new URL('golden/', import.meta.url))

describe.each(METHODS)('%s', (method) => {
  test('has the graph and the kernels that were read', () => {
    const stages = compileMethod(method).stages!
    const text = `${printGraph(stages.graph)}\n\n${printStagePlan(stages)}\n`
    const file = `${GOLDEN}${method}.txt`
    if (process.env.UPDATE === '1') writeFileSync(file, text)
    expect(text).toBe(existsSync(file) ? readFileSync(file, 'utf8') : '')
  })
})

test('every file is of a method', () => {
  expect(readdirSync(GOLDEN).toSorted()).toEqual(METHODS.map((m) => `${m}.txt`).toSorted())
})
