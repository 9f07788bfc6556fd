/** CUDA artefacts on their way in: JSON text or a record of unknown origin in, a checked CudaArtifact or a clear error out. */

import { createHash } from 'node:crypto'
import type {
  Cubin,
  CudaArtifact,
  CudaEntry,
  CudaVariant,
  TensorMapRule,
} from '../../codegen/cuda/manifest.ts'
import { unknownNames } from '../derived.ts'
import { listInfo } from '../artifact.ts'
import { canonicalJson } from '../hash.ts'
import { HeddleError } from '../messages.ts'
import {
  anything,
  boolean,
  count,
  derivedUniform,
  first,
  isRecord,
  listOf,
  mapOf,
  nullable,
  number,
  oneOf,
  paramInfo,
  parseJson,
  place,
  recordOf,
  string,
  tableInfo,
  type Check,
} from '../schema.ts'
import { CALL_KNOWN, MOST_TABLES } from './block.ts'
import { SIZE_VARS } from './sizes.ts'
import { stageDisagreement, stagesCheck } from './stage-schema.ts'
import { kernelsOf } from './stored.ts'

/** The one version that this runtime reads. */
export const READS_CUDA_VERSION: CudaArtifact['version'] = 5

const callField = recordOf<CudaArtifact['call']['fields'][number]>({
  name: string,
  type: oneOf('pointer', 'i64', 'i32', 'f32'),
  count,
  offset: place,
})

const three =
  (check: Check): Check =>
  (x, path) =>
    Array.isArray(x) && x.length === 3 ? listOf(check)(x, path) : `${path} is no list of three`

const entry = recordOf<CudaEntry>({
  name: string,
  threads: count,
  sharedBytes: place,
  grid: three(anything),
  tensorMaps: listOf(
    recordOf<TensorMapRule>({
      tensor: oneOf('q', 'k', 'v', 'out'),
      columns: count,
      rows: count,
      swizzle: oneOf(64, 128),
      step: anything,
    }),
  ),
})

const cubin = recordOf<Cubin>({
  arch: string,
  file: string,
  sha256: string,
  resources: listOf(
    recordOf<Cubin['resources'][number]>({ entry: string, registers: place, spillBytes: place }),
  ),
})

const variant = recordOf<CudaVariant>({
  id: string,
  skeleton: oneOf('hopper', 'rounded', 'residues', 'lists', 'gather', 'rows', 'ampere', 'decode'),
  headDim: count,
  valueDim: count,
  dtype: oneOf('bf16', 'f16'),
  capability: recordOf<CudaVariant['capability']>({ min: place, max: place }),
  suffix: oneOf('', 'a'),
  needs: recordOf<CudaVariant['needs']>({ vectors: boolean, qRows: nullable(place), pages: boolean }),
  pays: anything,
  debug: boolean,
  tile: recordOf<CudaVariant['tile']>({ q: count, kv: count }),
  units: count,
  entries: listOf(entry),
  splits: anything,
  workspace: recordOf<CudaVariant['workspace']>({ counters: anything, list: anything, scratch: anything }),
  hash: string,
  code: string,
  cubins: listOf(cubin),
})

const manifest = recordOf<CudaArtifact>({
  version: anything,
  heddle: string,
  pattern: string,
  cite: string,
  target: oneOf('cuda'),
  hash: string,
  consts: mapOf(number),
  params: listOf(paramInfo),
  tables: listOf(tableInfo),
  derived: listOf(derivedUniform),
  sinkLogit: boolean,
  tiles: oneOf('ranges', 'test', 'list'),
  sharesLists: boolean,
  call: recordOf<CudaArtifact['call']>({ bytes: count, fields: listOf(callField) }),
  lists: nullable(listOf(listInfo)),
  stages: stagesCheck(cubin, variant),
  variants: listOf(variant),
})

/** Names that the parts of a well-shaped record use of each other, and of this runtime. */
function disagreement(artifact: CudaArtifact): string | null {
  const { params, tables, derived, call, variants } = artifact
  const known = new Set(params.map((p) => p.name))
  const scalars = new Set(params.flatMap((p) => (p.perHead ? [] : [p.name])))
  if (tables.length > MOST_TABLES) return `it has ${tables.length} tables, a call holds ${MOST_TABLES}`
  return (
    first(derived, ({ name, value }) => {
      const [unknown] = unknownNames(value, known)
      return unknown === undefined
        ? null
        : `derived ${name} uses ${unknown}, which this runtime does not know`
    }) ??
    first(call.fields, ({ name, type, count: n }) => {
      const here = CALL_KNOWN.get(name)
      return here && here.type === type && here.count === n
        ? null
        : `call has ${name}, ${n} of ${type}, which this runtime does not fill`
    }) ??
    first(variants, (v) => unknownSize(v, scalars)) ??
    stageDisagreement(artifact)
  )
}

/** A rule of a variant that names what no rule may. */
function unknownSize(
  { id, entries, splits, workspace, pays }: CudaVariant,
  scalars: ReadonlySet<string>,
): string | null {
  const rules = { ...workspace, ...(splits === null ? {} : { splits }) }
  const steps = entries.flatMap((e) => e.tensorMaps.flatMap(({ step }) => (step === null ? [] : [step])))
  const none: ReadonlySet<string> = new Set()
  const named = [
    ...Object.entries(rules).map(([name, rule]) => [name, rule, none] as const),
    ...entries.flatMap((e) => e.grid.map((rule) => [`${e.name}'s grid`, rule, none] as const)),
    ...steps.map((rule) => ['a step', rule, scalars] as const),
    ...(pays === null ? [] : [['pays', pays, scalars] as const]),
  ]
  return first(named, ([name, rule, params]) => {
    const [unknown] = unknownNames(rule, params, SIZE_VARS)
    return unknown === undefined ? null : `${id}: ${name} uses ${unknown}, which this runtime does not know`
  })
}

/** The hash that an artefact's record should carry: over all fields but `hash` and the variants' `cubins`. */
export function cudaContentHash(record: Readonly<Record<string, unknown>>): string {
  const { hash: _, ...rest } = record
  return sha256(canonicalJson(withoutCubins(rest)))
}

/** A record without what was compiled of it, at whatever depth. */
function withoutCubins(x: unknown): unknown {
  if (Array.isArray(x)) return x.map(withoutCubins)
  if (!isRecord(x)) return x
  const kept = Object.entries(x).filter(([name]) => name !== 'cubins')
  return Object.fromEntries(kept.map(([name, value]) => [name, withoutCubins(value)]))
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/**
 * Checks a built artefact: its version, its form and its hashes.
 * @param source the text of the JSON file, or the record that was parsed from it
 */
export function parseCudaArtifact(source: unknown): CudaArtifact {
  const record = typeof source === 'string' ? parseJson(source) : source
  if (!isRecord(record)) throw new HeddleError('not-an-artifact', { what: 'it is no JSON record' })
  if (!('version' in record) || !('hash' in record))
    throw new HeddleError('not-an-artifact', { what: 'it has no version and hash' })
  if (record.version !== READS_CUDA_VERSION)
    throw new HeddleError('artifact-version', { expected: READS_CUDA_VERSION, got: record.version })
  const wrong = manifest(record, '') ?? disagreement(record as unknown as CudaArtifact)
  if (wrong !== null) throw new HeddleError('not-an-artifact', { what: wrong })
  const got = cudaContentHash(record)
  if (got !== record.hash) throw new HeddleError('artifact-hash', { expected: String(record.hash), got })
  const checked = record as unknown as CudaArtifact
  const kernels = (checked.stages?.variants ?? []).flatMap(kernelsOf)
  const texts = [...checked.variants, ...kernels, ...kernels.flatMap((k) => k.forms)]
  const changed = texts.find((v) => sha256(v.code) !== v.hash)
  if (changed) throw new HeddleError('artifact-hash', { expected: changed.hash, got: sha256(changed.code) })
  return checked
}
