/** Compiled patterns and the sizes of a model and a text in; subjects with their kernels built, or why there are none, out. */

import { join } from 'node:path'
import type { Artifact, Dtype } from '../../codegen/artifact.ts'
import { emitWhereAble, Unsupported, type CapabilityName } from '../../codegen/index.ts'
import { createCompiler, type CompiledPattern, type Compiler } from '../../compiler/index.ts'
import { maskRows } from '../../compiler/mask-map.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import { PATTERNS, SELECTIONS } from '../../patterns/index.ts'
import type { ParamValues } from '../../runtime/params.ts'
import { SETTINGS, type Entry, type TextSizes } from './settings.ts'
import type { Builds, Refusal, Subject } from './subject.ts'

/** What may be judged: a pattern of the library, or of a file of anybody's. */
export interface Candidate {
  readonly name: string
  readonly entry: Entry
  readonly compile: (consts: Readonly<Record<string, number>>) => CompiledPattern
}

export interface Shape extends TextSizes {
  readonly headDim: number
  readonly dtype: Dtype
}

/** What the setting's numbers give way to. */
export interface Changes {
  readonly consts?: Readonly<Record<string, number>>
  readonly params?: ParamValues
  /** By layer, from a profile. */
  readonly layers?: readonly ParamValues[]
}

/** In their order of reading. */
export const LIBRARY: readonly string[] = [...PATTERNS, ...SELECTIONS].map((e) => e.pattern.name)

export function libraryCandidate(name: string, compiler: Compiler = createCompiler()): Candidate {
  const file = join(PACKAGE_ROOT, 'patterns', `${name}.ts`)
  return {
    name,
    entry: SETTINGS[name]!,
    compile: (consts) => {
      const { patterns, diagnostics } = compiler.compile(file, { consts })
      const found = patterns.find((p) => p.name === name)
      if (found) return found
      throw new Error(`${file}: ${diagnostics.find((d) => d.severity !== 'note')?.text ?? 'no pattern'}`)
    },
  }
}

/** A pattern that the library's settings do not know: its own defaults. */
export const OWN_DEFAULTS: Entry = { at: () => ({ about: 'its own defaults' }) }

/** Builds what was not built before: lengths share what has the same consts. */
export class Builder {
  readonly #built = new Map<string, Builds>()

  subject(candidate: Candidate, shape: Shape, changes: Changes = {}): Subject | Refusal {
    const { name, entry } = candidate
    if ('refused' in entry) return { name, reason: entry.refused }
    const setting = entry.at(shape)
    const consts = { ...setting.consts, ...changes.consts }
    const compiled = candidate.compile(consts)
    const { tables, rows } = inputsOf(compiled)
    const given = Object.keys(entry.tables?.(shape) ?? {})
    const unknown = [...rows, ...tables].filter((input) => !given.includes(input))
    if (unknown.length > 0)
      return { name, reason: `reads ${unknown.join(', ')}, which the texts do not have` }
    const params = { ...setting.params, ...changes.params }
    if (looksAhead(compiled, shape, params))
      return { name, reason: 'lets a query see keys behind it, which a causal model was not trained for' }
    const key = JSON.stringify([name, consts, shape.headDim, shape.dtype])
    try {
      const builds = this.#built.get(key) ?? build(compiled, shape)
      this.#built.set(key, builds)
      const changed = [changes.consts, changes.params].some((c) => Object.keys(c ?? {}).length > 0)
      return {
        name,
        pattern: compiled.name,
        about: changes.layers ? 'as its profile says' : changed ? 'as given' : setting.about,
        consts: compiled.plan.consts,
        params: changes.layers?.map((layer) => ({ ...layer, ...changes.params })) ?? params,
        near: setting.near ?? Math.floor(shape.length / 4),
        builds,
      }
    } catch (error) {
      if (error instanceof Unsupported) return { name, reason: `no kernel computes ${error.what}` }
      throw error
    }
  }
}

function inputsOf({ plan, stages }: CompiledPattern) {
  const rows = stages ? [...stages.typing.inputs.keys()].filter((n) => !['Q', 'K', 'V'].includes(n)) : []
  return { tables: plan.tables.map((t) => t.name), rows }
}

/** Asked of a few rows of the text: what looks ahead does so somewhere among them. */
function looksAhead({ plan }: CompiledPattern, shape: Shape, params: ParamValues): boolean {
  const { length, qHeads, kvHeads, headDim } = shape
  const rows = [0, 1, length >> 2, length >> 1, (length >> 1) + 1, length - 2].filter(
    (row) => row >= 0 && row < length - 1,
  )
  return Array.from({ length: Math.min(qHeads, 4) }, (_, head) => head).some((head) => {
    const at = { batch: 0, batches: 1, head, qHeads, kvHeads, qLen: length, kvLen: length, headDim }
    const rowOf = maskRows(plan, { ...at, params, tables: {} })
    return rows.some((row) =>
      rowOf(row)
        .subarray(row + 1, length)
        .includes(1),
    )
  })
}

function build(compiled: CompiledPattern, shape: Shape): Builds {
  const { plan, ir } = compiled
  const changesLogits = plan.score !== null || plan.sinkLogit !== null
  const withScore = (score: typeof plan.score): CompiledPattern => ({
    ...compiled,
    plan: { ...plan, score, sinkLogit: null },
  })
  return {
    pattern: emitted(compiled, shape),
    plain: changesLogits ? emitted(withScore(null), shape) : null,
    counting: choosesFirst(compiled) ? emitted(withScore(ir.float(0)), shape) : null,
  }
}

/** Its set of keys is complete before attention's own logits are: those may then be anything. */
function choosesFirst({ stages }: CompiledPattern): boolean {
  if (!stages) return true
  const kernels = stages.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
  const attends = kernels.flatMap((k) => (k.kind === 'attend' ? [k] : []))
  return (
    attends.length === 1 &&
    attends.every(({ makes, node: { arg } }) => makes === 'output' && !arg.skip && !arg.stop && !arg.bias)
  )
}

const PREFILL: readonly CapabilityName[] = ['large48', 'unrolled', 'portable']
const DECODE: readonly CapabilityName[] = ['decode', 'decode-portable']

const emitted = (compiled: CompiledPattern, { headDim, dtype }: Shape): Artifact =>
  emitWhereAble(compiled, {
    target: 'wgsl',
    headDims: [headDim],
    dtypes: [dtype],
    capabilities: [...PREFILL, ...DECODE],
  })
