/** Artefacts on their way in: JSON text or a record of unknown origin in, a checked Artifact or a clear error out. */

import type {
  Artifact,
  Binding,
  Capability,
  ListInfo,
  RowsInfo,
  StageAttend,
  StageAttendForm,
  StageBinding,
  StageForm,
  StageModule,
  StageStep,
  StageVariant,
  StoredValue,
  UniformField,
  Variant,
} from '../codegen/artifact.ts'
import { unknownNames } from './derived.ts'
import { contentHash } from './hash.ts'
import { HeddleError } from './messages.ts'
import { FIXED_UNIFORMS } from './meta.ts'
import {
  anything,
  boolean,
  count,
  derivedUniform,
  either,
  first,
  isRecord,
  listOf,
  mapOf,
  nullable,
  number,
  oneOf,
  optional,
  paramInfo,
  parseJson,
  place,
  recordOf,
  string,
  tableInfo,
  type Check,
} from './schema.ts'

/** The one version that this runtime reads. */
export const READS_VERSION: Artifact['version'] = 1

const binding = recordOf<Binding>({
  binding: place,
  role: oneOf(
    'uniforms',
    'meta',
    'q',
    'k',
    'v',
    'out',
    'lse',
    'list',
    'table',
    'part',
    'kvOrder',
    'before',
    'state',
  ),
  table: optional(string),
  part: optional(place),
  access: oneOf('uniform', 'read', 'read_write'),
  type: string,
})

const capability = recordOf<Capability>({
  name: string,
  features: listOf(string),
  limits: recordOf<Capability['limits']>({
    workgroupBytes: place,
    invocations: count,
    storageBuffers: place,
  }),
  subgroup: nullable(recordOf<NonNullable<Capability['subgroup']>>({ min: count, max: count })),
})

const variant = recordOf<Variant>({
  id: string,
  headDim: count,
  valueDim: count,
  dtype: oneOf('f32', 'f16'),
  capability,
  tile: recordOf<Variant['tile']>({ q: count, kv: count }),
  workgroup: count,
  unit: optional(recordOf<NonNullable<Variant['unit']>>({ tokens: count, packs: boolean })),
  align: count,
  entries: recordOf<Variant['entries']>({ attend: string, list: nullable(string) }),
  bindings: listOf(binding),
  uniforms: listOf(recordOf<UniformField>({ name: string, type: oneOf('i32', 'u32', 'f32') })),
  code: string,
})

/** Of both kinds of artefact. */
export const listInfo = recordOf<ListInfo>({
  share: oneOf('head', 'kvHead', 'request'),
  q: either(count, oneOf('whole')),
  kv: either(count, oneOf('span')),
  order: oneOf('index', 'score'),
  form: optional(oneOf('ids', 'bits')),
})

const size: Check = anything
const stageModule = recordOf<StageModule>({
  kind: oneOf('stage'),
  name: string,
  when: optional(anything),
  share: oneOf('head', 'kvHead', 'request', 'indexHead'),
  units: size,
  inner: size,
  finer: nullable(recordOf<NonNullable<StageModule['finer']>>({ each: count, before: size })),
  tile: nullable(count),
  workgroup: count,
  sharedBytes: place,
  bindings: listOf(
    recordOf<StageBinding>({
      binding: place,
      role: oneOf('uniforms', 'meta', 'q', 'k', 'v', 'out', 'lse', 'rows', 'stored', 'table'),
      table: optional(string),
      rows: optional(string),
      stored: optional(string),
      access: oneOf('uniform', 'read', 'read_write'),
      type: string,
    }),
  ),
  uniforms: listOf(recordOf<UniformField>({ name: string, type: oneOf('i32', 'u32', 'f32') })),
  code: string,
  forms: optional(
    listOf(
      recordOf<StageForm>({
        id: string,
        when: anything,
        tile: recordOf<StageForm['tile']>({ q: count, kv: count }),
        workgroup: count,
        sharedBytes: place,
        code: string,
      }),
    ),
  ),
})
const stageAttend = recordOf<StageAttend>({
  kind: oneOf('attend'),
  name: string,
  when: optional(anything),
  variant,
  lists: listOf(string),
  rows: nullable(recordOf<NonNullable<StageAttend['rows']>>({ k: string, v: string, units: size })),
  kvOrder: nullable(string),
  before: nullable(string),
  state: nullable(string),
  forms: optional(listOf(recordOf<StageAttendForm>({ id: string, when: anything, variant }))),
})
const stageKernel = either(stageModule, stageAttend)
const stageStep = either(
  recordOf<Extract<StageStep, { kind: 'once' }>>({ kind: oneOf('once'), kernel: stageKernel }),
  recordOf<Extract<StageStep, { kind: 'chunks' }>>({
    kind: oneOf('chunks'),
    rows: size,
    count: size,
    units: size,
    kernels: listOf(stageKernel),
  }),
)
const stageProgram = recordOf<NonNullable<Artifact['stages']>>({
  rows: listOf(
    recordOf<RowsInfo>({
      name: string,
      side: oneOf('q', 'kv'),
      share: oneOf('head', 'kvHead', 'request', 'indexHead'),
      grain: oneOf('token', 'whole'),
    }),
  ),
  variants: listOf(
    recordOf<StageVariant>({
      id: string,
      headDim: count,
      valueDim: count,
      dtype: oneOf('f32', 'f16'),
      capability,
      workgroup: count,
      align: count,
      stored: listOf(recordOf<StoredValue>({ name: string, words: size, units: size })),
      steps: listOf(stageStep),
    }),
  ),
})

const artifact = recordOf<Artifact>({
  version: anything,
  heddle: string,
  pattern: string,
  cite: string,
  target: oneOf('wgsl'),
  hash: string,
  consts: mapOf(number),
  params: listOf(paramInfo),
  tables: listOf(tableInfo),
  derived: listOf(derivedUniform),
  sinkLogit: boolean,
  tiles: oneOf('ranges', 'test', 'list'),
  sharesLists: boolean,
  lists: optional(listOf(listInfo)),
  stages: optional(stageProgram),
  variants: listOf(variant),
})

/** Names that the parts of a well-shaped record use of each other. */
function disagreement({ params, tables, derived, lists, variants }: Artifact): string | null {
  const known = new Set(params.map((p) => p.name))
  const scalars = params.filter((p) => !p.perHead)
  return (
    first(derived, ({ name, value }) => {
      const [unknown] = unknownNames(value, known)
      return unknown === undefined
        ? null
        : `derived ${name} uses ${unknown}, which this runtime does not know`
    }) ??
    first(variants, ({ id, uniforms, bindings }) => {
      const expected = [...FIXED_UNIFORMS, ...scalars.map((p) => p.name)]
      const got = uniforms.map((u) => u.name)
      if (expected.join() !== got.join()) return `the uniforms of ${id} are ${got.join(', ')}`
      const roles = bindings.map(({ role, table, part }) =>
        role === 'table' ? `table ${table}` : role === 'part' ? `list ${part}` : role,
      )
      const twice = roles.find((r, i) => roles.indexOf(r) !== i)
      if (twice !== undefined) return `${id} binds ${twice} twice`
      const lost = bindings.find((b) => b.role === 'table' && !tables.some((t) => t.name === b.table))
      if (lost) return `${id} binds a table ${String(lost.table)} that the artefact does not declare`
      const unlisted = bindings.find((b) => b.role === 'part' && lists?.[b.part ?? -1] === undefined)
      return unlisted
        ? `${id} binds a list ${String(unlisted.part)} that the artefact does not declare`
        : null
    })
  )
}

/**
 * Checks a built artefact: its version, its form and its hash.
 * @param source the text of the JSON file, or the record that was parsed from it
 */
export function parseArtifact(source: unknown): Artifact {
  const record = typeof source === 'string' ? parseJson(source) : source
  if (!isRecord(record)) throw new HeddleError('not-an-artifact', { what: 'it is no JSON record' })
  if (!('version' in record) || !('hash' in record)) {
    throw new HeddleError('not-an-artifact', { what: 'it has no version and hash' })
  }
  if (record.version !== READS_VERSION) {
    throw new HeddleError('artifact-version', { expected: READS_VERSION, got: record.version })
  }
  const wrong = artifact(record, '') ?? disagreement(record as unknown as Artifact)
  if (wrong !== null) throw new HeddleError('not-an-artifact', { what: wrong })
  const hash = contentHash(record)
  if (hash !== record.hash)
    throw new HeddleError('artifact-hash', { expected: String(record.hash), got: hash })
  return record as unknown as Artifact
}
