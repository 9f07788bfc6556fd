/** What `heddle explain --target cuda` says of a `forward`: which kernels take the place of its own, and the records they make. */

import type { JsonExpr } from '../../codegen/artifact.ts'
import type { CudaStageForm, CudaVariant } from '../../codegen/cuda/manifest.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { Setting } from '../../compiler/mask-map.ts'
import { evaluateJson } from '../derived.ts'
import { formFor } from '../stage-sizes.ts'
import { bytes } from './explain-stages.ts'

export interface FasterLine {
  /** Of the program. */
  readonly kernel: string
  readonly variant: string
  readonly tile: CudaVariant['tile']
  readonly threads: number
  readonly capability: CudaVariant['capability']
  /** What its entry `list` writes: bytes at the lengths that are explained, and as a formula; null: nothing of its own. */
  readonly records: { readonly bytes: number; readonly formula: string } | null
}

/** @throws Unsupported for what no kernel computes */
export async function fasterKernels(p: CompiledPattern, at: Setting): Promise<FasterLine[]> {
  const { emitCuda } = await import('../../codegen/cuda/emit.ts')
  const { stages } = emitCuda(p, { headDims: [at.headDim], dtypes: ['bf16'] })
  const kernels = stages!.variants[0]!.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
  const { batches, qHeads, kvHeads, qLen, kvLen, headDim } = at
  const vars = { batches, qHeads, kvHeads, qLen, kvLen, headDim, valueDim: headDim, indexHeads: 1 }
  const param = (name: string) => Math.max(...[at.params[name] ?? 0].flat())
  const size = (e: JsonExpr) => Number(evaluateJson(e, { vars, param }))
  return kernels.flatMap(({ name, forms, faster }) => [
    ...formsAt(forms, size).map(({ id, capability, tile, threads }) => ({
      kernel: name,
      variant: `form ${id}`,
      tile,
      threads,
      capability,
      records: null,
    })),
    ...faster.map(({ variant, records }) => ({
      kernel: name,
      variant: variant.id,
      tile: variant.tile,
      threads: Math.max(...variant.entries.map((e) => e.threads)),
      capability: variant.capability,
      records: records && {
        bytes: 4 * size(records.stride) * size(records.count),
        formula: `4 * ${printed(records.count, true)} * ${printed(records.stride, true)}`,
      },
    })),
  ])
}

/** The one that is for calls of these sizes, or those that newer devices have for all. */
function formsAt(forms: readonly CudaStageForm[], size: (e: JsonExpr) => number): readonly CudaStageForm[] {
  const sized = formFor(
    forms.filter(({ when }) => when !== null),
    size,
  )
  return sized ? [sized] : forms.filter(({ when }) => when === null)
}

const INFIX: Readonly<Record<string, string>> = { add: ' + ', sub: ' - ', mul: ' * ' }

function printed(e: JsonExpr, inside: boolean): string {
  if (typeof e !== 'object') return String(e)
  if ('var' in e) return e.var
  if ('param' in e) return e.param
  if ('pick' in e) return `[${e.pick.join(', ')}][${printed(e.src[0], false)}]`
  const infix = INFIX[e.op]
  if (infix === undefined) return `${e.op}(${e.src.map((s) => printed(s, false)).join(', ')})`
  const text = e.src.map((s) => printed(s, true)).join(infix)
  return inside ? `(${text})` : text
}

export function* fasterText(lines: readonly FasterLine[]): Generator<string> {
  for (const { kernel, variant, tile, threads, capability, records } of lines) {
    const { min, max } = capability
    const on = `capability ${(min / 10).toFixed(1)}${min === max ? '' : ' and later'}`
    yield `  ${kernel}: ${variant}, tiles of ${tile.q} x ${tile.kv}, ${threads} threads, ${on}`
    if (records) yield `    records ${bytes(records.bytes)}: ${records.formula}`
  }
}
