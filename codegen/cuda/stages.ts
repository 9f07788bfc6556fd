/** emitCudaStages(): a compiled `forward` program in; its kernels as CUDA texts, with what a loader needs to launch them, out. */

import { createHash } from 'node:crypto'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { StageKernel, StagePlan } from '../../compiler/stages/plan.ts'
import { bySoftmaxOfBlocks } from '../../compiler/stages/block-softmax.ts'
import { Sizes } from '../../compiler/stages/sizes.ts'
import type { StageAttend, StageBinding, StageForm, StageModule, StageTile } from '../artifact.ts'
import { tileOf } from '../frame.ts'
import { scheduleOf } from '../schedule.ts'
import { attendForm, type AttendForm } from '../stages/attend-form.ts'
import { emitStages } from '../stages/emit.ts'
import { stageModule, type StagesOptions } from '../stages/module.ts'
import type { CudaDtype, CudaFaster, CudaStageForm, CudaStageKernel, CudaStageVariant } from './manifest.ts'
import { BLOCK_WIDTHS } from './panels.ts'
import { hopperCuda, portableCuda } from './portable.ts'

export interface CudaStagesOptions {
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: CudaDtype
  /** Kernels that are made for such attention; none: []. */
  readonly faster: (form: AttendForm) => readonly CudaFaster[]
}

type Program = Pick<CompiledPattern, 'plan' | 'ir'> & { readonly stages: StagePlan }

/** The texts need no more than this of a device; what is made for newer ones takes their place where it fits. */
const CAPABILITY = { min: 80, max: 129 } as const
const HOPPER = { min: 90, max: 90 } as const

const kernelsOf = ({ steps }: StagePlan): readonly StageKernel[] =>
  steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))

/** Best first: tiles of 64 x 64 by 256 threads, and the small ones, for programs whose meaning is of such tiles. */
const SHAPES = ['large48', 'portable'] as const

/** The shape whose tiles are those that a skip is asked of. */
function shapeFor(stages: StagePlan, valueDim: number): (typeof SHAPES)[number] {
  const tile = kernelsOf(stages).flatMap((k) =>
    k.kind === 'attend' && k.node.arg.tile ? [k.node.arg.tile] : [],
  )[0]
  const fits = (shape: (typeof SHAPES)[number]) => {
    const own = tileOf(scheduleOf(shape, 'f16', valueDim)!)
    return !tile || (own.q === tile.q && own.kv === tile.kv)
  }
  return SHAPES.find(fits) ?? SHAPES[0]
}

/** The plan as CUDA's kernels have it: products meet in tiles, so that blocks of their cells do. */
export const cudaPlan = (stages: StagePlan): StagePlan => bySoftmaxOfBlocks(stages, BLOCK_WIDTHS)

export function emitCudaStages(
  { plan: pattern, stages: planned, ir }: Program,
  { headDim, valueDim, dtype, faster }: CudaStagesOptions,
): CudaStageVariant {
  const stages = cudaPlan(planned)
  const options: StagesOptions = {
    pattern,
    plan: stages,
    sizes: new Sizes(ir, pattern.tables),
    target: portableCuda(dtype === 'bf16'),
    capability: shapeFor(stages, valueDim),
    headDim,
    valueDim,
    // Halves in pairs; of which kind is a constant of the text.
    dtype: 'f16',
  }
  const made = emitStages(options)
  const fasterFor = new Map<string, readonly CudaFaster[]>()
  for (const kernel of kernelsOf(stages)) {
    const form = kernel.kind === 'attend' ? attendForm(options, kernel) : null
    if (form) fasterFor.set(kernel.name, faster(form))
  }
  const onHopper = { ...options, target: hopperCuda(dtype === 'bf16') }
  const kernelsByName = new Map(kernelsOf(stages).map((k) => [k.name, k]))
  const kernelOf = (kernel: StageModule | StageAttend): CudaStageKernel => ({
    ...(kernel.kind === 'stage' ? stageKernel(kernel) : attendKernel(kernel)),
    when: kernel.when ?? null,
    forms:
      kernel.kind === 'stage'
        ? [...sizedForms(kernel), ...hopperForms(kernel, kernelsByName.get(kernel.name)!, onHopper)]
        : [],
    faster: fasterFor.get(kernel.name) ?? [],
  })
  if (made === null) throw new Error('there is a shape for halves')
  return {
    id: `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-stages`,
    headDim,
    valueDim,
    dtype,
    capability: CAPABILITY,
    align: made.align,
    stored: made.stored,
    steps: made.steps.map((step) =>
      step.kind === 'once'
        ? { kind: 'once', kernel: kernelOf(step.kernel) }
        : { ...step, kernels: step.kernels.map(kernelOf) },
    ),
  }
}

type Plain = Omit<CudaStageKernel, 'faster' | 'forms' | 'when'>

const textOf = (code: string) => ({
  code,
  hash: createHash('sha256').update(code).digest('hex'),
  cubins: [],
})

const bufferOf = ({ role, table, rows, stored }: StageBinding): CudaStageKernel['buffers'][number] => ({
  role: role as Exclude<StageBinding['role'], 'uniforms'>,
  name: table ?? rows ?? stored ?? null,
})

const formOf = (
  { id, when, tile, workgroup, sharedBytes, code }: Omit<StageForm, 'when'> & Pick<CudaStageForm, 'when'>,
  needs: Pick<CudaStageForm, 'capability' | 'vectors' | 'suffix'>,
): CudaStageForm => ({ id, when, ...needs, threads: workgroup, sharedBytes, tile, ...textOf(code) })

/** For calls of some sizes, on every device. */
const sizedForms = ({ forms = [] }: StageModule): CudaStageForm[] =>
  forms.map((form) => formOf(form, { capability: CAPABILITY, vectors: false, suffix: '' }))

/** The kernel's texts where products are Hopper's own, best first: none where it makes no products. */
function hopperForms(plain: StageModule, kernel: StageKernel, onHopper: StagesOptions): CudaStageForm[] {
  if (kernel.kind === 'attend' || plain.tile === null) return []
  const { forms = [], ...own } = stageModule(onHopper, kernel, plain.bindings)
  const made = own.tile === null ? [] : [{ ...own, id: 'wgmma', when: null, tile: rectangleOf(own.tile) }]
  const known = new Set([plain, ...(plain.forms ?? [])].map(({ code }) => code))
  return [...forms, ...made]
    .filter(({ code }) => !known.has(code))
    .map((form) => formOf(form, { capability: HOPPER, vectors: true, suffix: 'a' }))
}

const rectangleOf = (tile: number | StageTile): StageTile =>
  typeof tile === 'number' ? { q: tile, kv: tile } : tile

function stageKernel({
  name,
  share,
  units,
  inner,
  finer,
  tile,
  workgroup,
  sharedBytes,
  bindings,
  uniforms,
  code,
}: StageModule): Plain {
  return {
    name,
    threads: workgroup,
    sharedBytes,
    grid: { kind: 'units', share, units, inner, finer, tile: squareOf(tile) },
    uniforms,
    buffers: bindings.filter((b) => b.role !== 'uniforms').map(bufferOf),
    ...textOf(code),
  }
}

/** The tiles of texts for every device are squares. */
function squareOf(tile: StageModule['tile']): number | null {
  if (tile === null || typeof tile === 'number') return tile
  throw new Error(`a tile of ${tile.q} by ${tile.kv} has no text for every device`)
}

/** What it reads of other kernels goes by name, as theirs does. */
function attendKernel({ name, variant, lists, rows, kvOrder, before, state }: StageAttend): Plain {
  const stored = (found: string | null | undefined) => ({ role: 'stored', name: found! }) as const
  return {
    name,
    threads: variant.workgroup,
    sharedBytes: variant.capability.limits.workgroupBytes,
    grid: {
      kind: 'tiles',
      tile: variant.tile,
      rows: rows && rows.units,
      ...(variant.unit ? { unit: variant.unit } : {}),
    },
    uniforms: variant.uniforms,
    buffers: variant.bindings
      .filter((b) => b.role !== 'uniforms')
      .map(({ role, table, part }) => {
        switch (role) {
          case 'k':
          case 'v':
            return rows ? stored(rows[role]) : { role, name: null }
          case 'part':
            return stored(lists[part!])
          case 'kvOrder':
            return stored(kvOrder)
          case 'before':
            return stored(before)
          case 'state':
            return stored(state)
          default:
            return { role: role as CudaStageKernel['buffers'][number]['role'], name: table ?? null }
        }
      }),
    ...textOf(variant.code),
  }
}
