/** Calls of selecting patterns: a name, lengths and a seed in; tensors, params, tables and rows out, and the pattern at small consts. */

import type { CompiledPattern } from '../../compiler/index.ts'
import type { Pattern } from '../../dsl/index.ts'
import { SELECTIONS } from '../../patterns/index.ts'
import { selectionInputs } from '../../patterns/selection-examples.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { ReferencePattern } from '../../runtime/reference.ts'
import type { Shape, Tensor } from '../../runtime/tensor.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import { compilePattern } from '../../runtime/testing/subject.ts'

export interface StageSizes {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim: number
}

export interface StageCase {
  readonly pattern: Pattern & ReferencePattern
  readonly compiled: CompiledPattern
  readonly call: {
    readonly q: Tensor
    readonly k: Tensor
    readonly v: Tensor
    readonly params: Readonly<Record<string, number | number[]>>
    readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
    readonly rows: Readonly<Record<string, Tensor>>
  }
}

export const METHOD_NAMES: readonly string[] = SELECTIONS.map((s) => s.pattern.name)

/** Consts of the tests beside those of the examples: what the planner takes at these sizes. */
const CONSTS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  'minference-vertical-slash': { block: 256 },
  quest: { page: 8 },
  nsa: { wide: 64 },
  blasst: { tileQ: 32, tileKv: 32 },
}

/** Its weights are a matrix, whose one side is all of a window's channels. */
const NSA_FILE = 'test/fixtures/methods/nsa.ts'
const fixture = (await import(`${PACKAGE_ROOT}/${NSA_FILE}`)) as { readonly nsa: Pattern }
const NSA = { pattern: fixture.nsa, file: NSA_FILE }

export function stageCase(name: string, sizes: StageSizes, seed: number): StageCase {
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim } = sizes
  const entry = name === 'nsa' ? NSA : SELECTIONS.find((s) => s.pattern.name === name)!
  const inputs = selectionInputs(name, sizes, seed)
  const consts = { ...inputs.consts, ...CONSTS[name] }
  const random = seededRandom(seed)
  const tensor = (shape: Shape): Tensor => ({
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() * 4 - 2),
    shape,
  })
  const pattern = { ...entry.pattern, consts: { ...entry.pattern.consts, ...consts } }
  return {
    pattern: pattern as unknown as Pattern & ReferencePattern,
    compiled: compilePattern(entry.pattern, { file: `${PACKAGE_ROOT}/${entry.file}`, consts }),
    call: {
      q: tensor([batch, qHeads, qLen, headDim]),
      k: tensor([batch, kvHeads, kvLen, headDim]),
      v: tensor([batch, kvHeads, kvLen, headDim]),
      params: inputs.params,
      tables: inputs.tables,
      rows: inputs.rows,
    },
  }
}
