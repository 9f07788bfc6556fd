/** What `heddle explain --target cuda` says of a `forward`: which kernels take the place of its own, and the records they make. */

import type { JsonExpr } from '../../codegen/artifact.ts'
import type { CudaStageForm, CudaVariant } from '../../codegen/cuda/manifest.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { Setting } from '../../compiler/mask-map.ts'
import { evaluateJson, unknownNames } from '../derived.ts'
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
  const { steps, capability } = stages!.variants[0]!
  const kernels = steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
  const { batches, qHeads, kvHeads, qLen, kvLen, headDim } = at
  const known = { batches, qHeads, kvHeads, qLen, kvLen, headDim, valueDim: headDim }
  const vars = { ...known, indexHeads: 1 }
  const param = (name: string) => Math.max(...[at.params[name] ?? 0].flat())
  const size = (e: JsonExpr) => Number(evaluateJson(e, { vars, param }))
  const knows = (e: JsonExpr) =>
    unknownNames(e, new Set(Object.keys(at.params)), Object.keys(known)).length === 0
  const holds = (e: JsonExpr) => (knows(e) ? size(e) !== 0 : null)
  return kernels.flatMap(({ name, forms, faster }) => [
    ...formsAt(forms, capability, holds).map(({ form: { id, when, capability, tile, threads }, taken }) => ({
      kernel: name,
      variant: `form ${id}${taken ? '' : `, where ${printed(when!, false)}`}`,
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

/** True, false, or null: it hangs on what is not known. */
type Truth = boolean | null

/** Those that calls of these sizes take or may take, up to one that every device of the program has. */
function formsAt(
  forms: readonly CudaStageForm[],
  program: CudaVariant['capability'],
  holds: (when: JsonExpr) => Truth,
): { readonly form: CudaStageForm; readonly taken: boolean }[] {
  const all = forms.map((form) => ({ form, truth: form.when === null || conjunction(form.when, holds) }))
  const may = all.filter(({ truth }) => truth !== false)
  const last = may.findIndex(({ form, truth }) => truth && form.capability.min <= program.min)
  return (last < 0 ? may : may.slice(0, last + 1)).map(({ form, truth }) => ({ form, taken: truth === true }))
}

function conjunction(e: JsonExpr, holds: (part: JsonExpr) => Truth): Truth {
  if (typeof e !== 'object' || !('op' in e) || e.op !== 'and') return holds(e)
  const parts = e.src.map((part) => conjunction(part, holds))
  if (parts.includes(false)) return false
  return parts.includes(null) ? null : true
}

const INFIX: Readonly<Record<string, string>> = { add: ' + ', sub: ' - ', mul: ' * ', mod: ' mod ' }
/** Of a condition; they bind less than what stands between them. */
const LOOSE: Readonly<Record<string, string>> = { le: ' <= ', eq: ' = ', and: ' and ' }

function printed(e: JsonExpr, inside: boolean): string {
  if (typeof e !== 'object') return String(e)
  if ('var' in e) return e.var
  if ('param' in e) return e.param
  if ('pick' in e) return `[${e.pick.join(', ')}][${printed(e.src[0], false)}]`
  const loose = LOOSE[e.op]
  if (loose !== undefined) return e.src.map((s) => printed(s, false)).join(loose)
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
