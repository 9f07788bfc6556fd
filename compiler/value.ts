/** Value: what a piece of the author's code stands for while it is lowered; Frame: the names it can see. */

import type ts from 'typescript'
import type { Expr } from './ir.ts'
import type { ParamInfo, TableInfo } from './plan.ts'
import type { Span } from './source.ts'
import type { Grouping, Share, Side, StageNode } from './stages/graph.ts'

export type FunctionNode =
  | ts.FunctionDeclaration
  | ts.FunctionExpression
  | ts.ArrowFunction
  | ts.MethodDeclaration

export type Value =
  /** Constants: folded in doubles, as JavaScript does. They become i32 or f32 where they meet an expression. */
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'undefined' }
  /** What depends on the index record. */
  | { readonly kind: 'expr'; readonly expr: Expr }
  | { readonly kind: 'array'; readonly items: readonly Value[] }
  /** An object literal, or the index record itself. */
  | {
      readonly kind: 'object'
      readonly names: readonly string[]
      readonly read: (name: string, span: Span) => Value | undefined
    }
  | { readonly kind: 'function'; readonly node: FunctionNode; readonly frame: Frame | null }
  | { readonly kind: 'math' }
  /** A function of the language: Math.floor, floorDiv, an array's includes, a table's or a param's at. */
  | {
      readonly kind: 'word'
      readonly of: 'Math' | 'heddle' | 'array' | 'table' | 'param'
      readonly name: string
      readonly self?: Value
    }
  | { readonly kind: 'table'; readonly table: TableInfo }
  /** What a word of `forward` gives, and a way to cut an axis. */
  | { readonly kind: 'stage'; readonly node: StageNode }
  | { readonly kind: 'grouping'; readonly grouping: Grouping }
  /** Declarations: what i32(..), perHead(..), table(..) and pattern(..) give. */
  | { readonly kind: 'param-spec'; readonly spec: ParamSpec }
  | { readonly kind: 'table-spec'; readonly spec: TableSpec }
  | { readonly kind: 'rows-spec'; readonly spec: RowsSpec }
  | { readonly kind: 'pattern'; readonly call: ts.CallExpression }
  /** Something was reported; whoever meets it says no more. */
  | { readonly kind: 'bad' }

export type ParamSpec = Omit<ParamInfo, 'name'>

/** Dims as written: an axis, a const's name or a number. */
export interface TableSpec extends Omit<TableInfo, 'name' | 'dims'> {
  readonly dims: readonly (string | number)[]
}

/** An input of vectors that a pattern declares among its tables. */
export interface RowsSpec {
  readonly side: Side
  readonly share: Share
  readonly grain: 'token' | 'whole'
}

export const BAD: Value = { kind: 'bad' }
export const UNDEFINED: Value = { kind: 'undefined' }
export const number = (value: number): Value => ({ kind: 'number', value })
export const boolean = (value: boolean): Value => ({ kind: 'boolean', value })
export const exprValue = (expr: Expr): Value => ({ kind: 'expr', expr })

/** A condition: known while lowering, or a boolean expression. */
export type Condition = boolean | Expr

export function objectOf(fields: ReadonlyMap<string, Value>): Value {
  return { kind: 'object', names: [...fields.keys()], read: (name) => fields.get(name) }
}

/**
 * The variables of one function call. Branches work on copies and are merged, so an assignment in one of them becomes a
 * choice; a closure sees its parent's frame and may not assign in it.
 */
export interface Frame {
  readonly values: Map<ts.Symbol, Value>
  readonly parent: Frame | null
  /** Of a function whose statements take effect one after another, as JavaScript's do: a closure reads what stands there. */
  readonly live: boolean
}

export const newFrame = (parent: Frame | null, live = false): Frame => ({ values: new Map(), parent, live })
export const copyFrame = (frame: Frame): Frame => ({ ...frame, values: new Map(frame.values) })

/** Values of stages in words. */
export const KINDS = {
  rows: 'rows',
  scores: 'scores',
  set: 'a set',
  permutation: 'a permutation',
  state: 'a state of attend',
  output: 'an output of gated',
} as const

/** A value in a few words, for a sentence. */
export function describeValue(value: Value): string {
  switch (value.kind) {
    case 'number':
    case 'boolean':
      return String(value.value)
    case 'string':
      return 'a string'
    case 'undefined':
      return '`undefined`'
    case 'expr':
      return value.expr.type === 'bool' ? 'a boolean' : 'a number'
    case 'array':
      return 'an array'
    case 'object':
      return 'a record'
    case 'function':
    case 'word':
      return 'a function'
    case 'math':
      return '`Math` itself'
    case 'table':
      return `the table \`${value.table.name}\` itself`
    case 'stage':
      return KINDS[value.node.type.kind]
    case 'grouping':
      return 'a way to cut an axis'
    case 'rows-spec':
      return 'the declaration of rows'
    case 'param-spec':
      return 'the declaration of a param'
    case 'table-spec':
      return 'the declaration of a table'
    case 'pattern':
      return 'a pattern'
    case 'bad':
      return 'an error'
  }
}
