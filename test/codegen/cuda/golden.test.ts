/**
 * The CUDA text of every pattern, for the eye of a reviewer: the section that knows the pattern, and the outline of its
 * kernel on each skeleton, in which files of codegen/cuda stand by their names, and what is made for a shape by its hash. Of one
 * pattern the texts are kept whole.
 * UPDATE=1 rewrites the files.
 */

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { emitCuda, type CudaVariant, type Skeleton } from '../../../codegen/index.ts'
import { passesOf, patternSection } from '../../../codegen/cuda/pattern.ts'
import { partLine } from '../../../codegen/cuda/variant.ts'
import type { KernelPlan } from '../../../compiler/plan.ts'
import { PATTERNS } from '../../../patterns/index.ts'
import { compiled } from '../../helpers.ts'

const WHOLE = 'causal'
const SOURCES = '../../../codegen/cuda/'
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))

function expectGolden(pattern: string, file: string, text: string): void {
  const path = at(`../../golden/${pattern}/${file}`)
  if (process.env.UPDATE) {
    mkdirSync(at(`../../golden/${pattern}`), { recursive: true })
    writeFileSync(path, text)
  }
  expect(text).toBe(readFileSync(path, 'utf8'))
}

const PART = new RegExp(`^${partLine('(.+)')}$`, 'm')

/** What the golden of a pass's section is called. */
const sectionFile = (skeleton: Skeleton, pass: number): string =>
  skeleton === 'residues' ? `pattern.residues${pass}.cuh` : 'pattern.cuh'

/** A text with each file, and what is the same in other goldens, replaced by where it is to be found. */
function outlineOf({ code, skeleton }: CudaVariant, plan: KernelPlan): string {
  const passes = passesOf(plan, skeleton === 'residues')
  let pass = 0
  const [head, ...parts] = code.split(PART) as [string, ...string[]]
  const lines = [head.trim()]
  for (let i = 0; i < parts.length; i += 2) {
    const [name, text] = [parts[i]!, parts[i + 1]!.trim()]
    if (name.endsWith('.cuh')) {
      expect(text, name).toBe(readFileSync(at(`${SOURCES}${name}`), 'utf8').trim())
      lines.push(`// codegen/cuda/${name}`)
    } else if (name === 'pattern') {
      // A skeleton may have the tiles that tests find listed.
      const listed = text.includes('LISTED = true')
      const here = passes[pass++]!
      expect(text).toBe(patternSection(here.plan, listed, here).trim())
      lines.push(`// ${sectionFile(skeleton, pass - 1)}${listed ? ', tiles listed' : ''}`)
    } else if (name === 'configuration') lines.push(text)
    else lines.push(`// ${name}: ${createHash('sha256').update(text).digest('hex').slice(0, 16)}`)
  }
  return `${lines.join('\n')}\n`
}

describe('the CUDA text of', () => {
  it.each(PATTERNS.map(({ pattern }) => [pattern.name, pattern] as const))('%s', (name, pattern) => {
    const found = compiled(pattern)
    expectGolden(name, 'pattern.cuh', patternSection(found.plan))
    passesOf(found.plan, true).forEach((pass, i) => {
      expectGolden(name, sectionFile('residues', i), patternSection(pass.plan, false, pass))
    })
    const { variants } = emitCuda(found, { headDims: [128], dtypes: ['bf16'] })
    expectGolden(name, 'kernels.txt', variants.map((v) => outlineOf(v, found.plan)).join('\n'))
    if (name === WHOLE) for (const v of variants) expectGolden(name, `kernel.${v.skeleton}.cu`, v.code)
  })
})
