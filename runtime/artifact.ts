/** Artefacts on their way in: JSON text or a record of unknown origin in, a checked Artifact or a clear error out. */

import type { Artifact, Binding, Capability, UniformField, Variant } from '../codegen/artifact.ts'
import type { ParamInfo, TableInfo } from '../compiler/plan.ts'
import { unknownNames } from './derived.ts'
import { contentHash } from './hash.ts'
import { HeddleError } from './messages.ts'
import { FIXED_UNIFORMS } from './meta.ts'

/** The one version that this runtime reads. */
export const READS_VERSION: Artifact['version'] = 1

/** What is wrong with a value, or null. */
type Check = (x: unknown, path: string) => string | null

const of =
  (type: 'string' | 'number' | 'boolean'): Check =>
  (x, path) =>
    typeof x === type ? null : `${path} is no ${type}`
const string = of('string')
const number = of('number')
const boolean = of('boolean')
const anything: Check = () => null
const count: Check = (x, path) =>
  Number.isInteger(x) && (x as number) > 0 ? null : `${path} is no positive whole number`
const place: Check = (x, path) =>
  Number.isInteger(x) && (x as number) >= 0 ? null : `${path} is no whole number`
const oneOf =
  (...values: readonly unknown[]): Check =>
  (x, path) =>
    values.includes(x) ? null : `${path} is ${JSON.stringify(x) ?? 'missing'}, none of ${values.join(', ')}`
/** JSON writes an infinite bound as null. */
const bound: Check = (x, path) => (x === null ? null : number(x, path))
const nullable =
  (check: Check): Check =>
  (x, path) =>
    x === null ? null : check(x, path)
const optional =
  (check: Check): Check =>
  (x, path) =>
    x === undefined ? null : check(x, path)
const either =
  (a: Check, b: Check): Check =>
  (x, path) =>
    a(x, path) === null ? null : b(x, path)
const first = <T>(items: Iterable<T>, f: (item: T) => string | null): string | null => {
  for (const item of items) {
    const wrong = f(item)
    if (wrong !== null) return wrong
  }
  return null
}
const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)
const listOf =
  (check: Check): Check =>
  (x, path) =>
    Array.isArray(x) ? first(x.entries(), ([i, item]) => check(item, `${path}[${i}]`)) : `${path} is no list`
const recordOf =
  <T>(fields: { readonly [K in keyof T]-?: Check }): Check =>
  (x, path) =>
    isRecord(x)
      ? first(Object.entries<Check>(fields), ([key, check]) =>
          check(x[key], path === '' ? key : `${path}.${key}`),
        )
      : `${path === '' ? 'it' : path} is no record`
const mapOf =
  (check: Check): Check =>
  (x, path) =>
    isRecord(x)
      ? first(Object.entries(x), ([key, item]) => check(item, `${path}.${key}`))
      : `${path} is no record`

const type = oneOf('i32', 'f32')
const axis = oneOf('batch', 'head', 'kvHead', 'indexHead', 'qLen', 'kvLen', 'headDim')

const binding = recordOf<Binding>({
  binding: place,
  role: oneOf('uniforms', 'meta', 'q', 'k', 'v', 'out', 'lse', 'list', 'table'),
  table: optional(string),
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
  align: count,
  entries: recordOf<Variant['entries']>({ attend: string, list: nullable(string) }),
  bindings: listOf(binding),
  uniforms: listOf(recordOf<UniformField>({ name: string, type: oneOf('i32', 'u32', 'f32') })),
  code: string,
})

const artifact = recordOf<Artifact>({
  version: anything,
  heddle: string,
  pattern: string,
  cite: string,
  target: oneOf('wgsl'),
  hash: string,
  consts: mapOf(number),
  params: listOf(
    recordOf<ParamInfo>({ name: string, type, default: number, min: number, max: number, perHead: boolean }),
  ),
  tables: listOf(
    recordOf<TableInfo>({
      name: string,
      type,
      dims: listOf(either(count, axis)),
      min: bound,
      max: bound,
      monotone: boolean,
    }),
  ),
  derived: listOf(recordOf<Artifact['derived'][number]>({ name: string, type, value: anything })),
  sinkLogit: boolean,
  tiles: oneOf('ranges', 'test', 'list'),
  sharesLists: boolean,
  variants: listOf(variant),
})

/** Names that the parts of a well-shaped record use of each other. */
function disagreement({ params, tables, derived, variants }: Artifact): string | null {
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
      const roles = bindings.map((b) => (b.role === 'table' ? `table ${b.table}` : b.role))
      const twice = roles.find((r, i) => roles.indexOf(r) !== i)
      if (twice !== undefined) return `${id} binds ${twice} twice`
      const lost = bindings.find((b) => b.role === 'table' && !tables.some((t) => t.name === b.table))
      return lost ? `${id} binds a table ${String(lost.table)} that the artefact does not declare` : null
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

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    throw new HeddleError('not-an-artifact', { what }, { cause })
  }
}
