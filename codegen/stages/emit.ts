/** emitStages(): the plan of a `forward` program in; for one pair of head dims, a type and a capability its kernels out. */

import { substitute, type Expr } from '../../compiler/ir.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import { isWord, type Axis, type StageNode } from '../../compiler/stages/graph.ts'
import type { AttendKernel, StageBuffer, StageKernel, StagePlan } from '../../compiler/stages/plan.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import { setOf } from '../../compiler/stages/typing.ts'
import {
  LIST_HEADER,
  stateVectors,
  type JsonExpr,
  type StageAttend,
  type StageBinding,
  type StageModule,
  type StageStep,
  type StageTile,
  type StageVariant,
  type StoredValue,
} from '../artifact.ts'
import type { Kernel } from '../kernel.ts'
import { print } from '../print.ts'
import { jsonOf } from '../record.ts'
import { ceilingOf, rowSchedulesOf } from '../schedule.ts'
import { bytesOf, type VariantOptions } from '../variant.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import { attendKernel } from './attend.ts'
import { bindingsOf, inOrder } from './bindings.ts'
import { COMPONENTS, combineEntry } from './combine.ts'
import { filterEntry, rowsEntry, scoresEntry } from './elements.ts'
import { listsEntry } from './lists.ts'
import { bitsEntry, productBits, productEntry } from './product.ts'
import { productCells, productsFor } from './product-cells.ts'
import { sharerCells, sharersPay } from './sharer-cells.ts'
import { sharersEntry } from './sharers.ts'
import { isScaled } from './quantized.ts'
import { cellsOf } from './sets.ts'
import { StageText, type StageProblem } from './text.ts'
import { selectEntry } from './select.ts'
import { extentsEntry, quantizeEntry, sortEntry, statisticsEntry } from './together.ts'
import { Unsupported } from './units.ts'

export interface StagesOptions extends Pick<
  VariantOptions,
  'target' | 'capability' | 'headDim' | 'valueDim' | 'dtype'
> {
  readonly pattern: KernelPlan
  readonly plan: StagePlan
  readonly sizes: Sizes
}

/** @throws Unsupported for what no kernel computes yet, in words */
export function emitStages(options: StagesOptions): StageVariant | null {
  const { plan } = options
  const attends: StageAttend[] = []
  const one = (kernel: StageKernel): StageModule | StageAttend | null => {
    if (kernel.keep) throw new Unsupported('a value that is kept from call to call')
    const when = kernel.when === null ? {} : { when: jsonOf(kernel.when) }
    if (kernel.kind !== 'attend') return { ...stageModule(options, kernel), ...when }
    const made = attendKernel(options, kernel)
    if (made) attends.push(made)
    return made && { ...made, ...when }
  }
  const steps: StageStep[] = []
  for (const step of plan.steps) {
    if (step.kind === 'once') {
      const kernel = one(step.kernel)
      if (kernel === null) return null
      steps.push({ kind: 'once', kernel })
      continue
    }
    const kernels = step.kernels.map(one)
    if (kernels.some((k) => k === null)) return null
    steps.push({
      kind: 'chunks',
      rows: jsonOf(step.rows),
      count: jsonOf(step.count),
      units: jsonOf(options.sizes.units(step.axis)),
      kernels: kernels as (StageModule | StageAttend)[],
    })
  }
  const [first] = attends
  if (!first) throw new Unsupported('a program without attention')
  const { headDim, valueDim, dtype, align } = first.variant
  const limits = attends.map((a) => a.variant.capability.limits)
  const most = (pick: (l: (typeof limits)[number]) => number, least: number) =>
    Math.max(least, ...limits.map(pick))
  const modules = steps
    .flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
    .filter((k) => k.kind === 'stage')
  const threads = modules.map((m) => m.workgroup)
  return {
    id: first.variant.id,
    headDim,
    valueDim,
    dtype,
    align,
    workgroup: Math.max(...threads, ...attends.map((a) => a.variant.workgroup)),
    capability: {
      ...first.variant.capability,
      limits: {
        workgroupBytes: most((l) => l.workgroupBytes, Math.max(0, ...modules.map((m) => m.sharedBytes))),
        invocations: most((l) => l.invocations, Math.max(0, ...threads)),
        storageBuffers: most(
          (l) => l.storageBuffers,
          Math.max(0, ...modules.map((m) => m.bindings.length - 1)),
        ),
      },
    },
    stored: plan.buffers
      .filter((b) => b.holds !== 'counts')
      .map((b) => storedValue(options, b, chunkRows(plan, b))),
    steps,
  }
}

/** Rows of the chunks that a buffer serves; null: it is there for the whole call. */
const chunkRows = (plan: StagePlan, buffer: StageBuffer): Expr | null =>
  plan.steps.flatMap((s) =>
    s.kind === 'chunks' && s.kernels.some((k) => k.writes.includes(buffer)) ? [s.rows] : [],
  )[0] ?? null

/** How a buffer of the plan lies in memory: sets as lists with their header, states in vectors, the rest as planned. */
function storedValue(
  { sizes, valueDim }: StagesOptions,
  buffer: StageBuffer,
  chunk: Expr | null,
): StoredValue {
  const { name, holds, node, shape } = buffer
  const times = (...factors: readonly JsonExpr[]): JsonExpr =>
    factors.reduce((a, b) => ({ op: 'mul', src: [a, b] }))
  const plus = (...terms: readonly JsonExpr[]): JsonExpr =>
    terms.reduce((a, b) => ({ op: 'add', src: [a, b] }))
  const whole = (e: Expr) =>
    substitute(sizes.ir, e, (n) => (n.op === 'var' && n.arg === 'chunk' ? chunk! : undefined))
  const all = shape.map((e) => jsonOf(whole(e)))
  const units = () => jsonOf(sizes.units(setOf(node).q))
  const records = times(...all.slice(0, 3))
  switch (holds) {
    case 'ids':
    case 'spans': {
      const most = times(...all.slice(3))
      return { name, words: plus(LIST_HEADER, times(2, records), times(records, most)), units: units() }
    }
    case 'bits':
      return { name, words: plus(LIST_HEADER, times(...all)), units: units() }
    case 'state':
      return { name, words: times(...all.slice(0, 3), 4 * stateVectors(valueDim)), units: null }
    default:
      return { name, words: times(...all), units: null }
  }
}

type OwnKernel = Exclude<StageKernel, AttendKernel>

export const stageModule = (options: StagesOptions, kernel: OwnKernel): StageModule =>
  stageText(options, kernel).module

/**
 * A kernel of the plan that is no attend, as text; and of which calls it is worth while and possible, null: of all.
 *
 * @param like bindings of another text of it, whose order this one has
 */
export function stageText(
  options: StagesOptions,
  kernel: OwnKernel,
  like: readonly StageBinding[] | null = null,
): { readonly module: StageModule; readonly pays: JsonExpr | null } {
  const { pattern, plan, sizes, target, capability, headDim, valueDim, dtype } = options
  const problem: StageProblem = {
    pattern,
    sizes,
    // A chunk's rows are for the kernels of the chunk alone: others evaluate the cells.
    buffers: plan.buffers.filter(
      (b) => b.life !== 'chunk' || kernel.reads.includes(b) || kernel.writes.includes(b),
    ),
    patches: plan.patches,
    isFiner: kernel.grid.finer !== undefined,
    inputs: plan.graph.inputs,
    headDim,
    valueDim,
    dtype,
    rows: rowSchedulesOf(capability),
    lanes: target.lanes ?? 1,
  }
  const text = new StageText(problem, kernel.writes, target.reserved)
  const product =
    target.products && kernel.kind === 'scores'
      ? productCells(text, kernel.node, target.products.widths)
      : null
  const sharers = product && sharerCells(text, product) ? product : null
  const bySharers = sharers ? (target.products?.sharers ?? null) : null
  const bits = target.products && kernel.kind === 'filter' ? productBits(text, target.products, kernel) : null
  const products = bySharers
    ? target.products
    : productsFor(text, target.products, product ?? bits?.cells ?? null)
  const cells = cellsOf(text, pattern.tiles)
  const alone = (entry: ReturnType<typeof rowsEntry>) => ({ entry, memory: [] })
  const made = (() => {
    switch (kernel.kind) {
      case 'rows':
        return isVector(kernel.node)
          ? quantizeEntry(cells, kernel.node, kernel)
          : alone(rowsEntry(cells, kernel))
      case 'scores':
        if (sharers && bySharers) return sharersEntry(cells, bySharers, kernel, sharers)
        if (product) return productEntry(cells, products!, kernel, product)
        return alone(scoresEntry(cells, kernel))
      case 'filter':
        return bits ? bitsEntry(cells, products!, kernel, bits) : filterEntry(cells, kernel)
      case 'lists':
        return listsEntry(cells, kernel)
      case 'combine':
        return alone(combineEntry(cells, kernel))
      case 'statistics':
        return statisticsEntry(cells, kernel)
      case 'select':
        return selectEntry(cells, kernel)
      case 'sort':
        return sortEntry(cells, kernel)
      case 'extents':
        return extentsEntry(cells, kernel)
    }
  })()
  const buffers = inOrder(text.buffers, like)
  const file: Kernel = {
    head: [`${pattern.name}: ${kernel.name}`, `${made.entry.threads} threads, d${headDim} ${dtype}`],
    uniforms: {
      name: text.uniforms,
      binding: 0,
      fields: text.fields.map((f) => ({ name: f.text, type: f.field.type })),
    },
    buffers: buffers.map((b) => b.buffer),
    memory: made.memory,
    constants: text.constants,
    functions: text.functions,
    entries: [made.entry],
  }
  const bytes = product || bits ? products!.most : ceilingOf(capability).bytes
  if (bytesOf(made.memory) > bytes || made.entry.threads > ceilingOf(capability).invocations)
    throw new Error(`${kernel.name} takes more workgroup memory than there is`)
  // A tile of bits has the rows and columns of the cells that are asked.
  const units = sizes.product(sizes.units(gridAxis(kernel)), sizes.num(bits?.each ?? 1))
  const inner = bits
    ? sizes.units(setOf(bits.where).kv)
    : product
      ? sizes.units(scoresOf(product.leaf.node).kv)
      : innerOf(options, kernel)
  const { finer } = kernel.grid
  const tile = bySharers?.tile ?? (product || bits ? products!.tile : null)
  const module: StageModule = {
    kind: 'stage',
    name: kernel.name,
    share: kernel.kind === 'combine' ? 'head' : kernel.grid.share,
    units: jsonOf(units),
    inner: inner && jsonOf(inner),
    finer: finer ? { each: finer.each, before: jsonOf(finer.before) } : null,
    tile: tile ? squareOf(tile) : null,
    workgroup: made.entry.threads,
    sharedBytes: bytesOf(made.memory),
    bindings: bindingsOf(buffers),
    uniforms: text.fields.map((f) => f.field),
    code: print(file, { ...target, ...(products ? { products } : {}) }),
  }
  return { module, pays: sharers && bySharers && jsonOf(sharersPay(sizes, bySharers, sharers)) }
}

const squareOf = (tile: StageTile): number | StageTile => (tile.q === tile.kv ? tile.q : tile)

/** Vectors that a workgroup has in common. */
const isVector = (node: StageNode): node is StageNode<'quantize'> =>
  isWord(node, 'quantize') && isScaled(node)

/** What the grid's units are: q units of what is made, tokens of rows and of states, the groups within which an order sorts. */
function gridAxis(kernel: Exclude<StageKernel, AttendKernel>): Axis {
  const { kind, node } = kernel
  if (kind === 'extents') return kernel.axis
  switch (node.type.kind) {
    case 'rows':
      return node.type.axis
    case 'scores':
    case 'set':
      return node.type.q
    case 'permutation': {
      const { per } = (node as StageNode<'argsort'>).arg
      if (per === null) throw new Unsupported(`a ${kind} of a whole side`)
      return { ...scoresOf(node.src[0]!).kv, units: per }
    }
    case 'state':
    case 'output':
      return { side: 'q', units: { kind: 'token' }, order: null }
  }
}

/** Elements of a unit, one thread each; null: a workgroup has the unit. */
function innerOf(
  { sizes, capability, valueDim }: StagesOptions,
  { kind, node }: Exclude<StageKernel, AttendKernel>,
): Expr | null {
  switch (kind) {
    case 'rows':
      return node.type.kind === 'rows' && !isVector(node) ? node.type.channels : null
    case 'scores':
      return sizes.units(scoresOf(node).kv)
    case 'filter': {
      // Whole workgroups.
      const { threads } = rowSchedulesOf(capability).blocks
      return sizes.product(sizes.ceilDiv(sizes.units(setOf(node).kv), threads), sizes.num(threads))
    }
    case 'combine':
      return sizes.num(Math.ceil(valueDim / COMPONENTS))
    default:
      return null
  }
}
