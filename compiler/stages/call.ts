/** A call of a word of `forward`: its arguments read as nodes, groupings, options and functions; misfits thrown. */

import type ts from 'typescript'
import type { Call } from '../calls.ts'
import { conditionOf, float, LOOP_STEPS, TERMS, wholeOf, type Context } from '../context.ts'
import type { Expr, VarName } from '../ir.ts'
import { BAD, describeValue, exprValue, KINDS, objectOf, UNDEFINED, type Value } from '../value.ts'
import { INDEX_VARS, UNIT_FIELDS, unitVar, type UnitSlot } from '../vars.ts'
import type { Args, Grouping, Share, StageNode, ValueKind, Word } from './graph.ts'
import { stageRow } from './table.ts'
import { misfit, silence, type Typing } from './typing.ts'

type Arguments = Pick<Call, 'args' | 'at' | 'apply'>
const NO_ARGUMENTS: Arguments = { args: [], at: [], apply: () => BAD }

export class StageCall {
  readonly cx: Context
  readonly typing: Typing
  readonly word: string
  /** Where the word stands. */
  readonly place: ts.Node
  readonly call: Arguments

  constructor(cx: Context, typing: Typing, word: string, place: ts.Node, call: Arguments = NO_ARGUMENTS) {
    this.cx = cx
    this.typing = typing
    this.word = word
    this.place = place
    this.call = call
  }

  get count(): number {
    return this.call.args.length
  }

  arg(i: number): Value {
    return this.call.args[i] ?? UNDEFINED
  }

  at(i: number): ts.Node {
    return this.call.at[i] ?? this.place
  }

  /** The node of a word over these operands. */
  make<W extends Word>(word: W, src: readonly StageNode[], arg: Args[W]): Value {
    return { kind: 'stage', node: this.node(word, src, arg) }
  }

  node<W extends Word>(word: W, src: readonly StageNode[], arg: Args[W]): StageNode {
    const type = stageRow(word).type(this.typing, src, arg as never)
    return this.typing.stages.node(word, src, arg, type, this.cx.program.spanOf(this.place))
  }

  #wrong(wanted: string, i: number): never {
    return this.wrong(wanted, this.arg(i), this.at(i))
  }

  wrong(wanted: string, got: Value, at: ts.Node): never {
    if (got.kind === 'bad') silence()
    return misfit('stage-argument', { word: this.word, wanted, got: describeValue(got) }, [], at)
  }

  operand(i: number, kind: ValueKind): StageNode {
    const value = this.arg(i)
    if (kind === 'scores') return this.scores(value, this.at(i))
    return value.kind === 'stage' && value.node.type.kind === kind ? value.node : this.#wrong(KINDS[kind], i)
  }

  /** Scores; a number counts as one for each sharer. */
  scores(value: Value, at: ts.Node, wanted: string = KINDS.scores): StageNode {
    if (value.kind === 'stage' && value.node.type.kind === 'scores') return value.node
    const number = value.kind === 'number' || (value.kind === 'expr' && value.expr.type !== 'bool')
    return number ? this.fill(this.amount(value, at)) : this.wrong(wanted, value, at)
  }

  fill(value: Expr): StageNode {
    const perHead = this.typing.params.filter((p) => p.perHead).map((p) => p.name)
    const share: Share = reads(value, (e) => e.op === 'param' && perHead.includes(e.arg)) ? 'head' : 'request'
    return this.node('fill', [], { value, share, rows: false })
  }

  /** A number of params, lengths and constants, whole if it can be. */
  amount(value: Value, at: ts.Node): Expr {
    const inner = this.inside()
    return (
      wholeOf(inner, value, at) ??
      (value.kind === 'number' || value.kind === 'expr' ? float(inner, value, at) : null) ??
      this.wrong('a number', value, at)
    )
  }

  grouping(i: number): Grouping {
    return groupingOf(this, this.arg(i)) ?? this.#wrong('a way to cut an axis, such as blocks(64)', i)
  }

  /** A whole number known when the kernel is built. */
  constant(value: Value, at: ts.Node, least: number, name: string): number {
    if (value.kind === 'number' && Number.isInteger(value.value) && value.value >= least) return value.value
    const got = value.kind === 'number' ? String(value.value) : describeValue(value)
    if (value.kind === 'bad') silence()
    const wanted = `a constant whole number of ${least} or more`
    return misfit('stage-constant', { word: this.word, name, wanted, got }, [], at)
  }

  /** One of some texts. */
  choice<const T extends string>(value: Value, at: ts.Node, known: readonly T[], otherwise?: T): T {
    if (value.kind === 'undefined' && otherwise !== undefined) return otherwise
    const found = value.kind === 'string' ? known.find((k) => k === value.value) : undefined
    return found ?? this.wrong(known.map((k) => `'${k}'`).join(' or '), value, at)
  }

  /** The fields of an options record; one that is missing reads as undefined. */
  options<const N extends string>(i: number, names: readonly N[]): Readonly<Record<N, Value>> {
    const value = this.arg(i)
    if (value.kind !== 'object' && value.kind !== 'undefined') this.#wrong(`options ${names.join(', ')}`, i)
    const given = value.kind === 'object' ? value.names : []
    const unknown = given.find((name) => !names.some((n) => n === name))
    if (unknown !== undefined)
      misfit('stage-option', { word: this.word, name: unknown, known: names }, [], this.at(i))
    const span = this.cx.program.spanOf(this.at(i))
    const read = (name: N): Value =>
      value.kind === 'object' ? (value.read(name, span) ?? UNDEFINED) : UNDEFINED
    return Object.fromEntries(names.map((n) => [n, read(n)])) as Record<N, Value>
  }

  table(value: Value, at: ts.Node): string {
    return value.kind === 'table' ? value.table.name : this.wrong('a table of the pattern', value, at)
  }

  /** The context of a function over cells: floats may stand anywhere in it, and no words of stages. */
  inside(part: Context['part'] = 'cell'): Context {
    const budget = { loopSteps: LOOP_STEPS, terms: TERMS }
    return { ...this.cx, part, stages: null, calls: [], budget }
  }

  /** What the author's function gives for these arguments, as an expression. */
  apply(f: Value, args: readonly Value[], at: ts.Node, part?: Context['part']): Value {
    if (f.kind !== 'function' && f.kind !== 'word') this.wrong('a function', f, at)
    return this.call.apply(this.inside(part), f, args)
  }

  number(f: Value, args: readonly Value[], at: ts.Node): Expr {
    return float(this.inside(), this.apply(f, args, at), at) ?? silence()
  }

  condition(f: Value, args: readonly Value[], at: ts.Node, part?: Context['part']): Expr {
    const c = conditionOf(this.inside(part), this.apply(f, args, at, part), at)
    if (c === null) silence()
    return typeof c === 'boolean' ? this.cx.ir.bool(c, this.cx.program.spanOf(at)) : c
  }

  var(name: VarName): Value {
    return exprValue(this.cx.ir.var(name))
  }

  unit(slot: UnitSlot): Value {
    return record(Object.fromEntries(UNIT_FIELDS.map((field) => [field, this.var(unitVar(slot, field))])))
  }

  /** Who a value belongs to, and what else a function is given. */
  who(more: Readonly<Record<string, Value>> = {}): Value {
    const names = ['batch', 'head', 'kvHead'] as const
    return record({ ...Object.fromEntries(names.map((name) => [name, this.var(name)])), ...more })
  }

  /** What functions see of a cell. */
  cell(): Value {
    return this.who({ q: this.unit('q'), kv: this.unit('kv') })
  }

  /** What filters of pools see. */
  poolCell(): Value {
    const into = record({ q: this.unit('into.q'), kv: this.unit('into.kv') })
    return this.who({ q: this.unit('q'), kv: this.unit('kv'), into })
  }

  /** What the positions of rotary embedding are made of. */
  kept(): Value {
    return record({
      q: this.unit('q'),
      kv: this.unit('kv'),
      rank: this.var('rank'),
      kept: this.var('kept'),
    })
  }

  /** The index record of a pair of tokens, and what else a function is given. */
  pair(more: readonly VarName[] = []): Value {
    const names: readonly VarName[] = [...INDEX_VARS, ...more]
    return record(Object.fromEntries(names.map((name) => [name, this.var(name)])))
  }

  /** A predicate over pairs of tokens: as a mask, without floats. */
  pairs(f: Value, at: ts.Node): Expr {
    return this.typing.derive(this.condition(f, [this.pair()], at, 'mask'))
  }
}

const record = (fields: Readonly<Record<string, Value>>): Value => objectOf(new Map(Object.entries(fields)))

const reads = (e: Expr, test: (e: Expr) => boolean): boolean => test(e) || e.src.some((s) => reads(s, test))

export function groupingOf(c: StageCall, value: Value): Grouping | null {
  if (value.kind === 'grouping') return value.grouping
  const named = value.kind === 'word' && value.of === 'heddle' ? value.name : null
  if (named === 'tokens') return c.typing.stages.grouping({ kind: 'token' })
  return named === 'whole' ? c.typing.stages.grouping({ kind: 'whole' }) : null
}
