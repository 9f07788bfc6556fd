/** Calls of selecting patterns: a name, lengths and a seed in; tensors, params, tables and rows out, and the pattern at small consts. */

import type { CompiledPattern } from '../../compiler/index.ts'
import { isPattern, type Pattern } from '../../dsl/index.ts'
import { SELECTIONS } from '../../patterns/index.ts'
import type { ExampleSizes } from '../../patterns/examples.ts'
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
  readonly indexer?: NonNullable<ExampleSizes['indexer']>
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

type Numbers = (count: number) => Float32Array

/** Methods that the library has not, and nsa, whose weights are a matrix here; with what their calls need. */
interface Fixture {
  readonly consts: Readonly<Record<string, number>>
  readonly params: StageCase['call']['params']
  readonly inputs: (sizes: StageSizes, numbers: Numbers) => Pick<StageCase['call'], 'tables' | 'rows'>
}

const NONE = () => ({ tables: {}, rows: {} })
const FIXTURES: Readonly<Record<string, Fixture>> = {
  razor: { consts: {}, params: { sink: 2, window: 6 }, inputs: NONE },
  'double-sparsity': {
    consts: { r: 3 },
    params: { k: 9 },
    inputs: ({ qHeads, headDim }) => ({
      tables: { label: Int32Array.from({ length: qHeads * 3 }, (_, i) => (i * 5 + 1) % headDim) },
      rows: {},
    }),
  },
  seer: {
    consts: { block: 8, width: 6, wide: 24 },
    params: { threshold: 0.1 },
    inputs: ({ batch, qHeads, kvHeads, qLen, kvLen, headDim }, numbers) => ({
      tables: { wq: numbers(qHeads * headDim * 6), wk: numbers(qHeads * 3 * headDim * 6) },
      rows: {
        qRaw: { data: numbers(batch * qHeads * qLen * headDim), shape: [batch, qHeads, qLen, headDim] },
        kRaw: { data: numbers(batch * kvHeads * kvLen * headDim), shape: [batch, kvHeads, kvLen, headDim] },
      },
    }),
  },
}
/** Names of methods that are fixtures of the compiler. */
export const FIXTURE_NAMES: readonly string[] = Object.keys(FIXTURES)

async function fixture(name: string): Promise<{ readonly pattern: Pattern; readonly file: string }> {
  const file = `test/fixtures/methods/${name}.ts`
  const exported = (await import(`${PACKAGE_ROOT}/${file}`)) as Readonly<Record<string, unknown>>
  return { pattern: Object.values(exported).find(isPattern)!, file }
}
const FILES = new Map<string, Awaited<ReturnType<typeof fixture>>>()
for (const name of ['nsa', ...FIXTURE_NAMES]) FILES.set(name, await fixture(name))

/** @param given consts beside those that the tests have */
export function stageCase(
  name: string,
  sizes: StageSizes,
  seed: number,
  given: Readonly<Record<string, number>> = {},
): StageCase {
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim } = sizes
  const entry = FILES.get(name) ?? SELECTIONS.find((s) => s.pattern.name === name)!
  const random = seededRandom(seed)
  const own = FIXTURES[name]
  const numbers: Numbers = (count) => Float32Array.from({ length: count }, () => random() * 2 - 1)
  const inputs = own ? { ...own, ...own.inputs(sizes, numbers) } : selectionInputs(name, sizes, seed)
  const consts = { ...inputs.consts, ...CONSTS[name], ...given }
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
