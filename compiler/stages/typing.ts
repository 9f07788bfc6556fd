/** What the rules of the stage table work with: sizes, declared tables, and complaints about operands that do not fit. */

import type ts from 'typescript'
import type { Expr } from '../ir.ts'
import type { Code, MessageArgs } from '../messages.ts'
import type { Dim, ParamInfo, PatternIr, TableInfo } from '../plan.ts'
import type { Span } from '../source.ts'
import { joinShares, printGrouping, sameUnits } from './axes.ts'
import type { Axis, RowsType, ScoresType, SetType, Share, StageInterner, StageNode } from './graph.ts'
import type { Sizes } from './sizes.ts'

export interface Typing {
  readonly sizes: Sizes
  readonly stages: StageInterner
  readonly tables: readonly TableInfo[]
  readonly params: readonly ParamInfo[]
  /** The types of Q, K, V and of the declared rows, by name. */
  readonly inputs: ReadonlyMap<string, RowsType>
  /** A predicate of token pairs without floats, these as derived uniforms. */
  readonly derive: (keep: Expr) => Expr
  /** The mask that scores are visible by. */
  readonly pattern: Pick<PatternIr, 'params' | 'tables' | 'mask' | 'derived'>
}

/** Thrown by a rule: why a word cannot be used on these operands, and other places that the message speaks of. */
export class Misfit extends Error {
  readonly report: (say: <C extends Code>(code: C, args: MessageArgs<C>) => void) => void
  readonly places: readonly { readonly span: Span; readonly text: string }[]
  /** The argument at fault, where it is not the whole call. */
  readonly at: ts.Node | null

  constructor(report: Misfit['report'], places: Misfit['places'], at: Misfit['at']) {
    super('operands do not fit')
    this.report = report
    this.places = places
    this.at = at
  }
}

/** Ends the reading of a word about whose argument something was reported. */
export function silence(): never {
  throw new Misfit(() => {}, [], null)
}

export function misfit<C extends Code>(
  code: C,
  args: MessageArgs<C>,
  places: Misfit['places'] = [],
  at: Misfit['at'] = null,
): never {
  throw new Misfit((say) => say(code, args), places, at)
}

/** An operand's type where the row's `operands` have said its kind. */
export function typeOf<K extends StageNode['type']['kind']>(
  node: StageNode,
  kind: K,
): Extract<StageNode['type'], { kind: K }> {
  if (node.type.kind !== kind) throw new Error(`${node.word} is no ${kind}`)
  return node.type as Extract<StageNode['type'], { kind: K }>
}
export const rowsOf = (node: StageNode): RowsType => typeOf(node, 'rows')
export const scoresOf = (node: StageNode): ScoresType => typeOf(node, 'scores')
export const setOf = (node: StageNode): SetType => typeOf(node, 'set')

export const join = (a: Share, b: Share): Share =>
  joinShares(a, b) ?? misfit('stage-heads', { first: a, second: b })

/** A table by its name, which lowering has looked up. */
export function tableOf(t: Typing, name: string): TableInfo {
  const table = t.tables.find((info) => info.name === name)
  if (!table) throw new Error(`no table ${name}`)
  return table
}

/** A table behind its batch and heads: who shares it, and the dims of one sharer's part. */
export function partOf({ dims }: TableInfo): { readonly share: Share; readonly dims: readonly Dim[] } {
  const rest = dims[0] === 'batch' ? dims.slice(1) : dims
  const [first] = rest
  return first === 'head' || first === 'kvHead' || first === 'indexHead'
    ? { share: first, dims: rest.slice(1) }
    : { share: 'request', dims: rest }
}

/** The axis of an elementwise use of two: each is equal, or whole in one of them. */
export function broadcast(a: Axis, b: Axis): Axis {
  if (sameUnits(a, b)) return a
  if (b.units.kind === 'whole') return a
  if (a.units.kind === 'whole') return b
  return differs(a, b)
}

/** In what two axes differ, that must not. */
export function differs(a: Axis, b: Axis): never {
  if (a.order !== b.order && a.order && b.order)
    return misfit('stage-orders', { side: a.side }, [
      { span: a.order.span, text: NOTES.oneOrder },
      { span: b.order.span, text: NOTES.otherOrder },
    ])
  const labels = (axis: Axis) => (axis.units.kind === 'cluster' ? axis.units.labels : null)
  const [first, second] = [labels(a), labels(b)]
  if (first !== null && second !== null) return misfit('stage-clusters', { first, second })
  return misfit('stage-units', { first: describeAxis(a), second: describeAxis(b) })
}

const NOTES = { oneOrder: 'one order is this', otherOrder: 'the other is this' } as const

export const describeAxis = ({ side, units, order }: Axis): string =>
  `${printGrouping(units)} of ${order ? 'sorted ' : ''}${side}`
