/** docs/selecting.md is in step with the language: its words are the exported ones, its pattern compiles, runs and is right. */

import { readFileSync } from 'node:fs'
import { transformSync } from 'esbuild'
import { afterAll, describe, expect, test } from 'vitest'
import { emit, emitCuda } from '../codegen/index.ts'
import { createCompiler } from '../compiler/index.ts'
import { PACKAGE_ROOT } from '../compiler/package-root.ts'
import * as dsl from '../dsl/index.ts'
import { stageCost, stageLines } from '../runtime/cli/explain-stages.ts'
import { cudaAttention, loadCudaKernel } from '../runtime/cuda.ts'
import { openEmulation } from '../runtime/cuda/emulated.ts'
import { attention, loadKernel, reference, type ReferencePattern } from '../runtime/index.ts'
import { plain16 } from '../runtime/reference.ts'
import type { Pattern } from '../dsl/index.ts'
import { chosenBy, compareWithOracle, disagreements, randomTensor } from '../runtime/testing/index.ts'
import { openTestDevice } from './helpers.ts'

const read = (file: string) => readFileSync(`${PACKAGE_ROOT}/${file}`, 'utf8')
const page = read('docs/selecting.md')
const section = (name: string) => new RegExp(`<!-- ${name} -->\\n([^]*?)<!-- /${name} -->`).exec(page)![1]!

/** The words of forward: values that the language takes from its stages. */
function exportedWords(): string[] {
  const lists = [...read('dsl/index.ts').matchAll(/export \{([^}]*)\} from '\.\/stages\//g)]
  return lists
    .flatMap(([, names]) => names!.split(',').map((name) => name.trim()))
    .filter((n) => /^[a-z]/.test(n) && !n.startsWith('type '))
}

test('the table of words has those that the language exports, and no others', () => {
  const firstCells = section('words')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(' | ')[0]!)
  const shown = firstCells.flatMap((cell) => [...cell.matchAll(/`(\w+)/g)].map((m) => m[1]!))
  expect([...new Set(shown)].toSorted()).toEqual(exportedWords().toSorted())
  for (const word of shown) expect(dsl).toHaveProperty(word)
})

const text = /```ts\n(import[^]*?)```/.exec(page)![1]!
const BLOCK = 8

function patternOfPage(): Pattern & ReferencePattern {
  const { code } = transformSync(text, { loader: 'ts', format: 'cjs' })
  const module: { exports: Record<string, unknown> } = { exports: {} }
  const run = new Function('module', 'exports', 'require', code) as (...args: unknown[]) => void
  run(module, module.exports, () => dsl)
  const made = module.exports['peakBlocks'] as Pattern
  return { ...made, consts: { block: BLOCK } } as unknown as Pattern & ReferencePattern
}

const compile = (consts: Readonly<Record<string, number>>) => {
  const { diagnostics, patterns } = createCompiler().compile(`${PACKAGE_ROOT}/peak-blocks.ts`, {
    text,
    consts,
  })
  expect(diagnostics.filter((d) => d.severity !== 'note')).toEqual([])
  return patterns[0]!
}

test('the kernels of the example are those that the page shows', () => {
  const made = compile({})
  const at = {
    ...{ batch: 0, batches: 1, head: 0, qHeads: 4, kvHeads: 4, qLen: 384, kvLen: 384, headDim: 64 },
    params: { k: 16 },
    tables: {},
  }
  const lines = stageLines(made.ir, made.stages!, stageCost(made, made.stages!, at))
  const kernels = lines.slice(
    0,
    lines.findIndex((line) => line.startsWith('workspace')),
  )
  expect(section('explain')).toBe(`\`\`\`\n${kernels.join('\n')}\n\`\`\`\n`)
})

describe('the example', () => {
  const pattern = patternOfPage()
  const params = { k: [1, 2, 3, 5] }
  const callOf = (dtype: 'f32' | 'bf16', qLen: number, kvLen: number) => ({
    q: randomTensor([1, 4, qLen, 16], dtype, 1),
    k: randomTensor([1, 2, kvLen, 16], dtype, 2),
    v: randomTensor([1, 2, kvLen, 16], dtype, 3),
    params,
  })

  test('gives each head its number of blocks, its own among them', () => {
    const { steps } = reference(pattern, callOf('f32', 70, 70))
    const [step] = steps[0]!
    expect(step!.word).toBe('topK')
    for (const [head, k] of params.k.entries()) {
      for (const row of [0, 7, 8, 40, 69]) {
        const own = Math.floor(row / BLOCK)
        const chosen = chosenBy(step!, head, row)
        expect(chosen).toHaveLength(Math.min(k, own + 1))
        expect(chosen).toContain(own)
      }
    }
    expect(disagreements(step!, (head, row) => chosenBy(step!, head, row))).toEqual([])
    const others = disagreements(step!, (head, row) =>
      head === 1 && row === 40 ? [5] : chosenBy(step!, head, row),
    )
    expect(others).toMatchObject([{ sharer: 1, row: 40, extra: [] }])
    expect(others[0]!.missing).toHaveLength(1)
  })

  test('runs on CUDA, emulated', { timeout: 120_000 }, async () => {
    const driver = await openEmulation({ multiprocessors: 2 })
    const kernel = loadCudaKernel(
      emitCuda(compile({ block: BLOCK }), { headDims: [16], dtypes: ['bf16'] }),
      driver,
    )
    for (const [qLen, kvLen] of [
      [70, 70],
      [1, 66],
      [21, 61],
    ] as const) {
      const call = callOf('bf16', qLen, kvLen)
      const got = await cudaAttention(kernel, call)
      const { difference } = compareWithOracle(
        pattern,
        call,
        got,
        reference(pattern, call),
        plain16(pattern, call),
      )
      expect(difference).toBeNull()
    }
    kernel.release()
    driver.release()
  })
})

const opened = await openTestDevice()
afterAll(() => opened?.close())

test.skipIf(!opened)('the example runs on WebGPU', { timeout: 120_000 }, async () => {
  const pattern = patternOfPage()
  const artifact = emit(compile({ block: BLOCK }), {
    target: 'wgsl',
    headDims: [16],
    dtypes: ['f32'],
    capabilities: ['portable'],
  })
  const kernel = loadKernel(artifact, opened!.device)
  const tensor = (heads: number, length: number, seed: number) =>
    randomTensor([1, heads, length, 16], 'f32', seed)
  const call = { q: tensor(4, 21, 1), k: tensor(2, 61, 2), v: tensor(2, 61, 3), params: { k: [1, 2, 3, 5] } }
  expect(compareWithOracle(pattern, call, await attention(kernel, call)).difference).toBeNull()
  kernel.release()
})
