/** The text of a few patterns' kernels, for the eye of a reviewer. UPDATE=1 rewrites the files. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { emit, type CapabilityName } from '../../codegen/index.ts'
import { textsOf } from '../../runtime/cli/stage-texts.ts'
import { createCompiler } from '../../compiler/index.ts'

const compiler = createCompiler()
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** One of each kind: closed-form ranges, a union of them, a test, a list, a score, a sink; and one unrolled text. */
const CASES: readonly {
  readonly pattern: string
  readonly capability: CapabilityName
  readonly file: string
}[] = [
  ...['causal', 'a-shape', 'strided', 'document', 'alibi', 'sink-logit'].map((pattern) => ({
    pattern,
    capability: 'portable' as const,
    file: 'kernel.wgsl',
  })),
  { pattern: 'causal', capability: 'large48', file: 'kernel.large48.wgsl' },
]

/** Pools, a plane of scores and a choice; states, votes and bits. */
const PROGRAMS = ['minference-block', 'anchor']

function expectGolden(text: string, folder: string, file: string): void {
  const path = at(`../golden/${folder}/${file}`)
  if (process.env.UPDATE) {
    mkdirSync(at(`../golden/${folder}`), { recursive: true })
    writeFileSync(path, text)
  }
  expect(text).toBe(readFileSync(path, 'utf8'))
}

describe('the kernels of the forward of', () => {
  it.each(PROGRAMS)('%s', (pattern) => {
    const { patterns } = compiler.compile(at(`../../patterns/${pattern}.ts`))
    const { stages } = emit(patterns[0]!, {
      target: 'wgsl',
      headDims: [64],
      dtypes: ['f16'],
      capabilities: ['portable'],
    })
    const texts = textsOf(stages!.variants[0]!).map(({ code }) => code)
    expectGolden(texts.join('\n'), pattern, 'stages.wgsl')
  })
})

describe('the kernel of', () => {
  it.each(CASES)('$pattern, $capability', ({ pattern, capability, file }) => {
    const { patterns, diagnostics } = compiler.compile(at(`../../patterns/${pattern}.ts`))
    expect(diagnostics.filter((d) => d.severity !== 'note')).toEqual([])
    const { variants } = emit(patterns[0]!, {
      target: 'wgsl',
      headDims: [64],
      dtypes: ['f16'],
      capabilities: [capability],
    })
    expectGolden(variants[0]!.code, pattern, file)
  })
})
