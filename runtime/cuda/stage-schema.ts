/** What a manifest's `forward` program looks like: checks of its form, and of the names that its parts use of each other. */

import type { RowsInfo, StoredValue } from '../../codegen/artifact.ts'
import type {
  Cubin,
  CudaArtifact,
  CudaFaster,
  CudaStageForm,
  CudaStageKernel,
  CudaStageVariant,
  StoredKeys,
} from '../../codegen/cuda/manifest.ts'
import { unknownNames } from '../derived.ts'
import {
  anything,
  boolean,
  count,
  either,
  first,
  listOf,
  nullable,
  oneOf,
  optional,
  place,
  recordOf,
  string,
  type Check,
} from '../schema.ts'
import { kernelsOf } from './stored.ts'

/** Sizes of what kernels hand on read lengths and heads, and how wide rows are. */
const SIZE_VARS: readonly string[] = [
  'batches',
  'qHeads',
  'kvHeads',
  'indexHeads',
  'qLen',
  'kvLen',
  'headDim',
  'valueDim',
]

const sharer = oneOf('head', 'kvHead', 'request', 'indexHead')

/** @param cubin of whatever a build compiled
 * @param variant of a kernel of a mask's own kind */
export function stagesCheck(cubin: Check, variantCheck: Check): Check {
  const capability = recordOf<CudaStageVariant['capability']>({ min: place, max: place })
  const kernel = recordOf<CudaStageKernel>({
    name: string,
    when: anything,
    threads: count,
    sharedBytes: place,
    grid: either(
      recordOf<Extract<CudaStageKernel['grid'], { kind: 'units' }>>({
        kind: oneOf('units'),
        share: sharer,
        units: anything,
        inner: anything,
        finer: nullable(
          recordOf<NonNullable<Extract<CudaStageKernel['grid'], { kind: 'units' }>['finer']>>({
            each: count,
            before: anything,
          }),
        ),
        tile: nullable(count),
      }),
      recordOf<Extract<CudaStageKernel['grid'], { kind: 'tiles' }>>({
        kind: oneOf('tiles'),
        tile: recordOf<{ q: number; kv: number }>({ q: count, kv: count }),
        rows: anything,
        unit: optional(anything),
      }),
    ),
    uniforms: listOf(
      recordOf<CudaStageKernel['uniforms'][number]>({ name: string, type: oneOf('i32', 'u32', 'f32') }),
    ),
    buffers: listOf(
      recordOf<CudaStageKernel['buffers'][number]>({
        role: oneOf('meta', 'q', 'k', 'v', 'out', 'lse', 'rows', 'stored', 'table'),
        name: nullable(string),
      }),
    ),
    hash: string,
    code: string,
    cubins: listOf(cubin as ReturnType<typeof recordOf<Cubin>>),
    forms: listOf(
      recordOf<CudaStageForm>({
        id: string,
        when: anything,
        capability,
        vectors: boolean,
        suffix: oneOf('', 'a'),
        threads: count,
        sharedBytes: place,
        tile: recordOf<CudaStageForm['tile']>({ q: count, kv: count }),
        hash: string,
        code: string,
        cubins: listOf(cubin as ReturnType<typeof recordOf<Cubin>>),
      }),
    ),
    faster: listOf(
      recordOf<CudaFaster>({
        variant: variantCheck,
        lists: listOf(string),
        order: nullable(string),
        before: nullable(string),
        state: nullable(string),
        keys: nullable(recordOf<StoredKeys>({ k: string, v: string, rows: anything, parts: count })),
        records: nullable(
          recordOf<NonNullable<CudaFaster['records']>>({ stride: anything, count: anything }),
        ),
      }),
    ),
  })
  const variant = recordOf<CudaStageVariant>({
    id: string,
    headDim: count,
    valueDim: count,
    dtype: oneOf('bf16', 'f16'),
    capability,
    align: count,
    stored: listOf(recordOf<StoredValue>({ name: string, words: anything, units: anything })),
    steps: listOf(
      either(
        recordOf<{ kind: 'once'; kernel: unknown }>({ kind: oneOf('once'), kernel }),
        recordOf<{ kind: 'chunks'; rows: unknown; count: unknown; units: unknown; kernels: unknown }>({
          kind: oneOf('chunks'),
          rows: anything,
          count: anything,
          units: anything,
          kernels: listOf(kernel),
        }),
      ),
    ),
  })
  return nullable(
    recordOf<NonNullable<CudaArtifact['stages']>>({
      rows: listOf(
        recordOf<RowsInfo>({
          name: string,
          side: oneOf('q', 'kv'),
          share: sharer,
          grain: oneOf('token', 'whole'),
        }),
      ),
      variants: listOf(variant),
    }),
  )
}

/** A name that a program's parts use and nobody declares, in words; null: there is none. */
export function stageDisagreement({ stages, params, tables }: CudaArtifact): string | null {
  if (stages === null) return null
  const rows = stages.rows.map((r) => r.name)
  const known = new Set([...params.map((p) => p.name), ...rows.map((name) => `${name}.channels`)])
  return first(stages.variants, (variant) => {
    const stored = variant.stored.map((s) => s.name)
    const names = { stored, rows, table: tables.map((t) => t.name) }
    const kernels = kernelsOf(variant)
    const faster = kernels.flatMap((k) => k.faster)
    const rules = [
      ...faster.flatMap(({ records }) => (records === null ? [] : [records.stride, records.count])),
      ...faster.flatMap(({ keys }) => (keys === null ? [] : [keys.rows])),
      ...variant.stored.flatMap(({ words, units }) => [words, ...(units === null ? [] : [units])]),
      ...variant.steps.flatMap((s) => (s.kind === 'chunks' ? [s.rows, s.count, s.units] : [])),
      ...kernels.flatMap(({ when, forms }) =>
        [when, ...forms.map((f) => f.when)].filter((rule) => rule !== null),
      ),
      ...kernels.flatMap(({ grid }) =>
        (grid.kind === 'units' ? [grid.units, grid.inner] : [grid.rows]).filter((rule) => rule !== null),
      ),
    ]
    const unknown = rules.flatMap((rule) => unknownNames(rule, known, SIZE_VARS))[0]
    const read = faster.flatMap((f) => [
      ...f.lists,
      f.order,
      f.before,
      f.state,
      ...(f.keys ? [f.keys.k, f.keys.v] : []),
    ])
    const lostList = read.find((name) => name !== null && !stored.includes(name))
    if (lostList) return `${variant.id} reads stored ${lostList}, which there is not`
    const lost = kernels
      .flatMap((k) => k.buffers)
      .find(({ role, name }) => role in names && !names[role as keyof typeof names].includes(name ?? ''))
    if (unknown !== undefined) return `${variant.id} uses ${unknown}, which this runtime does not know`
    return lost ? `${variant.id} reads ${lost.role} ${lost.name}, which there is not` : null
  })
}
