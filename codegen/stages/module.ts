/** stageModule(): a kernel of a plan that is no attend in; its text, what it binds and how many workgroups it has out. */

import type { KernelPlan } from '../../compiler/plan.ts'
import { isWord, type Axis, type StageNode } from '../../compiler/stages/graph.ts'
import type { AttendKernel, StageKernel, StagePlan } from '../../compiler/stages/plan.ts'
import type { Expr } from '../../compiler/ir.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import { scoresOf, setOf } from '../../compiler/stages/typing.ts'
import type { StageBinding, StageForm, StageModule, StageTile } from '../artifact.ts'
import type { Kernel } from '../kernel.ts'
import { print } from '../print.ts'
import { jsonOf } from '../record.ts'
import { ceilingOf, rowSchedulesOf } from '../schedule.ts'
import { bytesOf, type VariantOptions } from '../variant.ts'
import { bindingsOf } from './bindings.ts'
import { COMPONENTS, combineEntry } from './combine.ts'
import { filterEntry, rowsEntry, scoresEntry } from './elements.ts'
import { fewRowsEntry } from './few-rows.ts'
import { formsOf, tileOf, type Shape } from './forms.ts'
import { linearRowsEntry } from './linear-rows.ts'
import { listsEntry } from './lists.ts'
import { bitsEntry, productBits } from './product-bits.ts'
import { pairsEntry } from './paired-rows.ts'
import { productEntry } from './product.ts'
import { productCells, productsFor } from './product-cells.ts'
import { isScaled } from './quantized.ts'
import { selectEntry } from './select.ts'
import { cellsOf } from './sets.ts'
import { sharersEntry } from './sharers.ts'
import { StageText, type StageProblem } from './text.ts'
import { extentsEntry, quantizeEntry, sortEntry, statisticsEntry } from './together.ts'
import { rowScheduleOf, Unsupported } from './units.ts'

export interface StagesOptions extends Pick<
  VariantOptions,
  'target' | 'capability' | 'headDim' | 'valueDim' | 'dtype'
> {
  readonly pattern: KernelPlan
  readonly plan: StagePlan
  readonly sizes: Sizes
}

/** A kernel that computes what attends read. */
export type ComputeKernel = Exclude<StageKernel, AttendKernel>

/**
 * A kernel of the plan that is no attend, as text; with other texts of it for calls of some sizes.
 *
 * @param like what another target's text of it binds, and these do too; null: there is none
 */
export function stageModule(
  options: StagesOptions,
  kernel: ComputeKernel,
  like: readonly StageBinding[] | null = null,
): StageModule {
  const own = moduleOf(options, kernel, null, like)
  const forms = formsOf(options, kernel, textOf(options, kernel)).map(({ id, when, shape }): StageForm => {
    const { workgroup, sharedBytes, code } = moduleOf(options, kernel, shape, own.bindings)
    return { id, when, tile: tileOf(shape), workgroup, sharedBytes, code }
  })
  return forms.length === 0 ? own : { ...own, forms }
}

function textOf(options: StagesOptions, kernel: ComputeKernel): StageText {
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
  return new StageText(problem, kernel.writes, target.reserved)
}

/**
 * @param shape what the text is made to; null: the kernel's own
 * @param like what another text of the kernel binds, and this one does too, in that order; null: it is the first
 */
function moduleOf(
  options: StagesOptions,
  kernel: ComputeKernel,
  shape: Shape | null,
  like: readonly StageBinding[] | null,
): StageModule {
  const { pattern, sizes, target, capability, headDim, dtype } = options
  const text = textOf(options, kernel)
  if (like) text.bind(like)
  const short = shape?.kind === 'short' ? shape : null
  const long = shape?.kind === 'long' ? shape : null
  const product =
    target.products && kernel.kind === 'scores'
      ? productCells(text, kernel.node, target.products.widths)
      : null
  const bits = target.products && kernel.kind === 'filter' ? productBits(text, target.products, kernel) : null
  const products =
    shape?.kind === 'sharers'
      ? target.products
      : productsFor(text, target.products, product ?? bits?.cells ?? null)
  const cells = cellsOf(text, pattern.tiles)
  const alone = (entry: ReturnType<typeof rowsEntry>) => ({ entry, memory: [] })
  const made = (() => {
    switch (kernel.kind) {
      case 'rows':
        if (shape?.kind === 'linear') return linearRowsEntry(cells, kernel, shape.node)
        if (shape?.kind === 'pairs') return alone(pairsEntry(cells, kernel, shape.pairs))
        return isVector(kernel.node)
          ? quantizeEntry(cells, kernel.node, kernel)
          : alone(rowsEntry(cells, kernel))
      case 'scores':
        if (shape?.kind === 'few') return fewRowsEntry(cells, kernel, product!, shape)
        if (shape?.kind === 'sharers') return sharersEntry(cells, shape.products, kernel, shape.cells)
        if (product) return productEntry(cells, products!, kernel, product)
        return alone(scoresEntry(cells, kernel))
      case 'filter':
        return bits ? bitsEntry(cells, products!, kernel, bits) : filterEntry(cells, kernel)
      case 'lists':
        return listsEntry(cells, kernel)
      case 'combine':
        return alone(combineEntry(cells, kernel))
      case 'statistics':
        return statisticsEntry(cells, kernel, short)
      case 'select':
        return selectEntry(
          cells,
          kernel,
          short ?? long ?? rowScheduleOf(text, scoresOf(kernel.node.src[0]!).kv),
        )
      case 'sort':
        return sortEntry(cells, kernel)
      case 'extents':
        return extentsEntry(cells, kernel)
    }
  })()
  const file: Kernel = {
    head: [`${pattern.name}: ${kernel.name}`, `${made.entry.threads} threads, d${headDim} ${dtype}`],
    uniforms: {
      name: text.uniforms,
      binding: 0,
      fields: text.fields.map((f) => ({ name: f.text, type: f.field.type })),
    },
    buffers: text.buffers.map((b) => b.buffer),
    memory: made.memory,
    constants: text.constants,
    functions: text.functions,
    entries: [made.entry],
  }
  const bytes = product || bits ? products!.most : ceilingOf(capability).bytes
  if (bytesOf(made.memory) > bytes || made.entry.threads > ceilingOf(capability).invocations)
    throw new Error(`${kernel.name} takes more workgroup memory than there is`)
  const bindings = bindingsOf(text.buffers)
  // The argument's words are those of the kernel.
  if (like && JSON.stringify(bindings) !== JSON.stringify(like))
    throw new Error(`texts of ${kernel.name} bind differently`)
  // A tile of bits has the rows and columns of the cells that are asked.
  const units = sizes.product(sizes.units(gridAxis(kernel)), sizes.num(bits?.each ?? 1))
  const inner = bits
    ? sizes.units(setOf(bits.where).kv)
    : product
      ? sizes.units(scoresOf(product.leaf.node).kv)
      : innerOf(options, kernel)
  const { finer } = kernel.grid
  return {
    kind: 'stage',
    name: kernel.name,
    share: kernel.kind === 'combine' ? 'head' : kernel.grid.share,
    units: jsonOf(units),
    inner: inner && jsonOf(inner),
    finer: finer ? { each: finer.each, before: jsonOf(finer.before) } : null,
    tile: product || bits ? squareOf(products!.tile) : null,
    workgroup: made.entry.threads,
    sharedBytes: bytesOf(made.memory),
    bindings,
    uniforms: text.fields.map((f) => f.field),
    code: print(file, { ...target, ...(products ? { products } : {}) }),
  }
}

const squareOf = (tile: StageTile): number | StageTile => (tile.q === tile.kv ? tile.q : tile)

/** Vectors that a workgroup has in common. */
const isVector = (node: StageNode): node is StageNode<'quantize'> =>
  isWord(node, 'quantize') && isScaled(node)

/** What the grid's units are: q units of what is made, tokens of rows and of states, the groups within which an order sorts. */
function gridAxis(kernel: ComputeKernel): Axis {
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
function innerOf({ sizes, capability, valueDim }: StagesOptions, { kind, node }: ComputeKernel): Expr | null {
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
