/** Programs as the PyTorch package has to launch them: methods and sizes in; calls with the launches that this runtime makes of them out. */

import { emitCuda } from '../codegen/cuda/emit.ts'
import type { CudaArtifact, CudaStageKernel } from '../codegen/cuda/manifest.ts'
import { metaWords } from '../runtime/meta.ts'
import { checkProgramCall } from '../runtime/cuda/call.ts'
import type { CudaFunction } from '../runtime/cuda/driver.ts'
import { planStages, takesFaster, textOn, type StageText } from '../runtime/cuda/stages.ts'
import { mappedViews, operandsOver } from '../runtime/cuda/stored-keys.ts'
import { kernelsOf } from '../runtime/cuda/stored.ts'
import { sizesOfCall } from '../runtime/stage-sizes.ts'
import { stridesOf } from '../runtime/tensor.ts'
import { stageCase, type StageCase, type StageSizes } from './runtime/stage-cases.ts'

/** A call's sizes and shapes, and its launches; addresses of what the call gives are the numbers of `addresses`. */
export interface ProgramVector {
  readonly sizes: readonly number[]
  readonly indexHeads: number
  readonly scale: number
  readonly params: Readonly<Record<string, number | readonly number[]>>
  readonly faster: boolean
  readonly addresses: Readonly<Record<string, number>>
  readonly rows: Readonly<Record<string, readonly number[]>>
  readonly bytes: number
  readonly launches: readonly unknown[]
}

const GIVEN = ['q', 'k', 'v', 'out', 'lse'] as const

/**
 * A method's artefact, and vectors of calls of these sizes, of which only the first has to be small.
 *
 * @param indexHeads how many there are; null: as many as the example has
 */
export function programVectors(
  name: string,
  all: readonly StageSizes[],
  indexHeads: number | null = null,
): { readonly artifact: CudaArtifact; readonly programs: readonly ProgramVector[] } {
  const { headDim } = all[0]!
  const made = stageCase(name, all[0]!, 1, name === 'nsa' ? { wide: 8 * headDim } : {})
  const artifact = emitCuda(made.compiled, { headDims: [headDim], dtypes: ['bf16'] })
  const both = all.flatMap((sizes) =>
    [false, true].map((faster) => vectorOf(artifact, made, { ...sizes, indexHeads }, faster)),
  )
  return { artifact, programs: both }
}

/** Of the example's params and rows what these sizes ask for; no tensor is made. */
function vectorOf(
  artifact: CudaArtifact,
  { call }: StageCase,
  {
    batch,
    qHeads,
    kvHeads,
    qLen,
    kvLen,
    headDim,
    indexHeads,
  }: StageSizes & { readonly indexHeads: number | null },
  faster: boolean,
): ProgramVector {
  const names = [...GIVEN, ...Object.keys(call.tables), ...Object.keys(call.rows)]
  const addresses = Object.fromEntries(names.map((n, i) => [n, 4096 * (i + 1)]))
  const at = (n: string) => BigInt(addresses[n]!)
  const [variant] = artifact.stages!.variants
  const tensor = (n: (typeof GIVEN)[number], heads: number, length: number) => {
    const shape = [batch, heads, length, headDim] as const
    return { address: at(n), shape, strides: stridesOf(shape, 'bhld'), dtype: 'bf16' as const }
  }
  const params = Object.fromEntries(
    Object.entries(call.params).map(([n, value]) => [
      n,
      typeof value === 'number'
        ? value
        : Array.from({ length: qHeads }, (_, head) => value[head % value.length]!),
    ]),
  )
  const tables = Object.fromEntries(Object.keys(call.tables).map((n) => [n, at(n)]))
  const rows = Object.fromEntries(
    artifact.stages!.rows.map(({ name, side, share, grain }) => {
      const [, own, , channels] = call.rows[name]!.shape
      const sharers = share === 'indexHead' ? (indexHeads ?? own) : own
      const tokens = grain === 'whole' ? 1 : side === 'q' ? qLen : kvLen
      return [name, { address: at(name), shape: [batch, sharers!, tokens, channels!] as const }]
    }),
  )
  const operands = checkProgramCall(artifact, {
    q: tensor('q', qHeads, qLen),
    k: tensor('k', kvHeads, kvLen),
    v: tensor('v', kvHeads, kvLen),
    out: tensor('out', qHeads, qLen),
    lse: at('lse'),
    params,
    tables,
    rows,
  })
  const kernels = kernelsOf(variant!)
  // A Hopper device, or one that takes no other form than the kernels' own.
  const powers = faster
    ? { capability: 90, maxSharedBytes: 232_448, vectors: true }
    : { capability: 80, maxSharedBytes: 0, vectors: false }
  const entry = (kernel: CudaStageKernel): { entry: CudaFunction; text: StageText } => {
    const text = textOn(kernel, powers, sizesOfCall(operands))
    return { entry: { name: text.hash }, text }
  }
  const taken = (kernel: CudaStageKernel) => takesFaster(kernel, powers)
  const entries = {
    plain: new Map(kernels.filter((k) => !taken(k)).map((k) => [k, entry(k)])),
    faster: new Map(
      kernels.filter(taken).map((k) => [k, k.faster.map(({ variant: v }) => [{ name: v.hash }])]),
    ),
  }
  const meta = metaWords(artifact, operands.sizes, operands.lengths, operands.params)
  const work = planStages(artifact, variant!, operands, entries, {
    lse: at('lse'),
    metaWords: meta.length,
    tables,
  })
  const launches = work.launches.map((l) => {
    switch (l.kind) {
      case 'header':
        return { header: l.name, at: work.stored.get(l.name)!.offset, units: l.words[0]! }
      case 'faster': {
        const { k, v } = mappedViews(operandsOver(operands, l).views, l, 0n)
        const halves = [k, v].map(({ address, shape, strides }) => [Number(address), shape, strides])
        return {
          faster: l.variant.hash,
          stride: l.list?.stride ?? null,
          listBytes: l.list?.bytes ?? 0,
          halves: l.keyRows === null ? null : halves,
        }
      }
      case 'stage': {
        const stored = l.patches.map(({ at: where, name: of }) => [
          where,
          of === null ? null : work.stored.get(of)!.offset,
        ])
        return {
          text: l.entry.name,
          blocks: l.grid[0],
          block: Buffer.from(l.block).toString('hex'),
          stored,
        }
      }
    }
  })
  return {
    sizes: [batch, qHeads, kvHeads, qLen, kvLen, headDim, headDim],
    indexHeads: operands.indexHeads,
    scale: operands.scale,
    params,
    faster,
    addresses,
    rows: Object.fromEntries(Object.entries(rows).map(([n, { shape }]) => [n, shape])),
    bytes: work.bytes,
    launches,
  }
}
