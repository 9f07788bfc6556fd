/** Rows of the stage table for words that make vectors: inputs, cuts, pools, linear maps, rotations. */

import { addForms, affineOf, fromAffine } from '../affine.ts'
import { Bounds } from '../interval.ts'
import { nodesOf, type Expr } from '../ir.ts'
import { readable } from '../print.ts'
import { nesting, printGrouping, sameUnits } from './axes.ts'
import type { Args, RowsType, StageNode } from './graph.ts'
import type { Rules } from './table.ts'
import { misfit, differs, join, partOf, rowsOf, tableOf, type Typing } from './typing.ts'

type RowWord =
  | 'input'
  | 'slice'
  | 'concat'
  | 'channels'
  | 'linear'
  | 'rope'
  | 'quantize'
  | 'poolRows'
  | 'mapRows'

/** Operations that a function takes for one element. */
export const workOf = (e: Expr): number => nodesOf(e).filter((n) => n.src.length > 0).length

const none = (t: Typing) => t.sizes.num(0)
const perElement = (t: Typing, node: StageNode, work: number): Expr =>
  t.sizes.product(t.sizes.num(work), t.sizes.cells(node.type))

export const ROWS_RULES: Rules<RowWord> = {
  input: {
    operands: [],
    had: 'input',
    type: (t, _, { name }) => {
      const found = t.inputs.get(name)
      if (!found) throw new Error(`no input ${name}`)
      return found
    },
    flops: none,
  },

  slice: {
    operands: ['rows'],
    had: 'loader',
    type: (t, [x], { start, end, step }) => {
      const rows = rowsOf(x!)
      const { side, units, order } = rows.axis
      return { ...rows, axis: t.stages.axis(side, { kind: 'slice', of: units, start, end, step }, order) }
    },
    flops: none,
  },

  concat: {
    operands: ['rows'],
    more: '..',
    had: 'loader',
    type: (t, src) => {
      const [first, ...rest] = src.map(rowsOf) as [RowsType, ...RowsType[]]
      for (const { axis } of rest) if (!sameUnits(first.axis, axis)) differs(first.axis, axis)
      const all = [first, ...rest]
      const share = all.map((x) => x.share).reduce(join)
      return { ...first, share, channels: t.sizes.sum(...all.map((x) => x.channels)), precision: 'f32' }
    },
    flops: none,
  },

  channels: {
    operands: ['rows'],
    had: 'loader',
    type: (t, [x], { table }) => {
      const rows = rowsOf(x!)
      const info = tableOf(t, table)
      const { share, dims } = partOf(info)
      if (dims.length !== 1 || info.type !== 'i32')
        return misfit('stage-table', { word: 'channels', table, wanted: 'i32 [head, channels]' })
      return { ...rows, share: join(rows.share, share), channels: t.sizes.dim(dims[0]!) }
    },
    flops: none,
  },

  linear: {
    operands: ['rows'],
    had: 'rows',
    type: (t, [x], { weight, bias }) => linearType(t, rowsOf(x!), weight, bias),
    flops: (t, node) => {
      const x = rowsOf(node.src[0]!)
      return t.sizes.product(t.sizes.num(2), t.sizes.cells(node.type), x.channels)
    },
  },

  rope: {
    operands: ['rows'],
    had: 'rows',
    type: (_, [x]) => ({ ...rowsOf(x!), precision: 'f32' }),
    flops: (t, node) => perElement(t, node, 4),
  },

  quantize: {
    operands: ['rows'],
    had: 'rows',
    type: (_, [x], { precision }) => ({ ...rowsOf(x!), precision }),
    flops: (t, node) => perElement(t, node, 4),
  },

  poolRows: {
    operands: ['rows'],
    had: 'rows',
    type: (t, [x], { by, how }) => {
      const rows = rowsOf(x!)
      const { side, units, order } = rows.axis
      if (nesting(units, by) !== 'inside' && by.kind !== 'window')
        return misfit('stage-nesting', { from: printGrouping(units), to: printGrouping(by), how })
      const axis = t.stages.axis(side, by, order)
      if (how !== 'concat') return { ...rows, axis, precision: 'f32' }
      const members = membersOf(by)
      if (members === null)
        return misfit('stage-argument', {
          word: 'pool',
          wanted: 'units of one length, such as blocks or windows, where it concatenates',
          got: printGrouping(by),
        })
      return { ...rows, axis, channels: t.sizes.product(t.sizes.num(members), rows.channels) }
    },
    // Every token is added to each unit that holds it: windows of twice their step read all twice.
    flops: (t, node) => {
      const x = rowsOf(node.src[0]!)
      const { by } = node.arg
      const times = by.kind === 'window' ? Math.ceil(by.size / by.step) : 1
      return t.sizes.product(t.sizes.num(times), t.sizes.cells(x))
    },
  },

  mapRows: {
    operands: ['rows', 'rows'],
    more: '?',
    had: 'loader',
    type: (t, src) => {
      const [x, y] = src.map(rowsOf) as [RowsType, RowsType?]
      if (!y) return { ...x, precision: 'f32' }
      const share = join(x.share, y.share)
      if (y.axis.units.kind !== 'whole' && !sameUnits(x.axis, y.axis)) return differs(x.axis, y.axis)
      checkChannels(t, x.channels, y.channels)
      return { ...x, share, precision: 'f32' }
    },
    flops: (t, node) => perElement(t, node, workOf(node.arg.value)),
  },
}

/** How many tokens a unit has, where all have the same. */
function membersOf(by: Args['poolRows']['by']): number | null {
  switch (by.kind) {
    case 'token':
      return 1
    case 'block':
    case 'window':
      return by.size
    default:
      return null
  }
}

/** Refuses vectors whose lengths cannot be the same, whatever the head dim. */
export function checkChannels(t: Typing, x: Expr, y: Expr): void {
  const difference = fromAffine(t.sizes.ir, addForms(affineOf(x), affineOf(y), -1))
  const [lo, hi] = new Bounds(t).numeric(difference)
  if (lo > 0 || hi < 0) misfit('stage-channels', { first: readable(x), second: readable(y) })
}

/** The weight maps all channels of a vector, which its dims but the last may count as members and channels. */
function linearType(t: Typing, x: RowsType, weight: string, bias: string | null): RowsType {
  const w = partOf(tableOf(t, weight))
  const [into, out] = [w.dims.slice(0, -1), w.dims.at(-1)]
  if (into.length < 1 || into.length > 2 || out === undefined || tableOf(t, weight).type !== 'f32')
    return misfit('stage-table', { word: 'linear', table: weight, wanted: 'f32 [head, in, out]' })
  checkChannels(t, x.channels, t.sizes.product(...into.map((d) => t.sizes.dim(d))))
  const made: RowsType = { ...x, share: join(x.share, w.share), channels: t.sizes.dim(out), precision: 'f32' }
  if (bias === null) return made
  const b = partOf(tableOf(t, bias))
  if (b.dims.length !== 1 || tableOf(t, bias).type !== 'f32')
    return misfit('stage-table', { word: 'linear', table: bias, wanted: 'f32 [head, out]' })
  checkChannels(t, made.channels, t.sizes.dim(b.dims[0]!))
  return { ...made, share: join(made.share, b.share) }
}
