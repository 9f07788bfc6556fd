/** Stmt and Code: a kernel's statements and the values they compute, before any target's spelling. */

import type { Op, Scalar } from '../compiler/ops.ts'

/** Scalars of the pattern's language, unsigned addresses, vectors of four, and packed or native halves. */
export type Type = Scalar | 'u32' | 'f32x4' | 'u32x2' | 'f16' | 'f16x4'

/** What the skeletons need beyond the ops of a pattern; a target spells both. */
export type KernelOp =
  | 'quotient' // of numbers known to be non-negative
  | 'remainder'
  | 'mad' // a * b + c, fused where the target does so
  | 'isWild4' // one of the four is a NaN or infinite
  | 'mad4' // scalar times vector, plus vector
  | 'mul4' // vector times scalar
  | 'splat'
  | 'vector4'
  | 'select4'
  | 'toU32'
  | 'fromU32'
  | 'floatBits' // f32 -> u32
  | 'bitsFloat' // i32 -> f32
  | 'unpackHalf4' // two words -> four floats
  | 'packHalf4' // clamped to what a half holds
  | 'unpackHalf' // (word, 0 or 1) -> float
  | 'packHalf' // float -> low sixteen bits
  | 'widen'
  | 'widen4'
  | 'narrow'
  | 'narrow4'
  | 'roundEven' // to the nearest whole number, ties to even
  | 'shuffleXor'
  | 'ballot' // a bit for each of the neighbours that shuffles bring together
  | 'atomicLoad'
  | 'uniformLoad' // of workgroup memory, with a barrier on both sides
  | 'groupX'
  | 'groupY'
  | 'thread'
export type AnyOp = Op | KernelOp

export type Code =
  | { readonly kind: 'name'; readonly type: Type; readonly name: string }
  | { readonly kind: 'literal'; readonly type: Type; readonly value: number | boolean }
  | { readonly kind: 'op'; readonly type: Type; readonly op: AnyOp; readonly args: readonly Code[] }
  | { readonly kind: 'at'; readonly type: Type; readonly memory: string; readonly indices: readonly Code[] }
  | { readonly kind: 'lane'; readonly type: Type; readonly of: Code; readonly lane: number }
  | { readonly kind: 'call'; readonly type: Type; readonly callee: string; readonly args: readonly Code[] }

export type AtomicOp = 'and' | 'or' | 'add' | 'max' | 'store'

export type Stmt =
  | { readonly kind: 'comment'; readonly text: string }
  | { readonly kind: 'let'; readonly name: string; readonly value: Code }
  | { readonly kind: 'var'; readonly name: string; readonly value: Code }
  | { readonly kind: 'set'; readonly target: Code; readonly value: Code }
  | {
      readonly kind: 'if'
      readonly condition: Code
      readonly then: readonly Stmt[]
      readonly else: readonly Stmt[]
    }
  | {
      readonly kind: 'for'
      readonly name: string
      readonly from: Code
      readonly below: Code
      readonly step: number
      readonly body: readonly Stmt[]
    }
  | { readonly kind: 'loop'; readonly body: readonly Stmt[] }
  | { readonly kind: 'break' }
  | { readonly kind: 'continue' }
  | { readonly kind: 'return'; readonly value: Code | null }
  | { readonly kind: 'barrier' }
  | {
      readonly kind: 'atomic'
      readonly op: AtomicOp
      readonly target: Code
      readonly value: Code
    }
  /** Registers for the sums of a product's tile, all zero. */
  | { readonly kind: 'sums'; readonly name: string }
  /** All threads together: sums += x y, over `channels`. */
  | {
      readonly kind: 'product'
      readonly sums: string
      readonly memory: Memory
      readonly x: Panel
      readonly y: Panel
      readonly channels: Code
    }
  /**
   * For each row of the tile and block of `width` columns that this thread speaks for: the logarithm of the sum of exponentials of
   * the sums there, -Infinity where all are.
   */
  | {
      readonly kind: 'lses'
      readonly sums: string
      readonly width: number
      readonly row: string
      readonly block: string
      readonly value: string
      readonly body: readonly Stmt[]
    }
  /** All threads together: in `words`, 32 columns of the tile to a word, the bits of cells whose sums are not zero; `each` rows share a row. */
  | { readonly kind: 'bits'; readonly sums: string; readonly words: Memory; readonly each: number }
  /** All threads together: totals over sharers of what is made of their products. */
  | ({ readonly kind: 'sharerSums' } & SharerSums)
  /** For each strip of the tile that has cells of this thread: its number, and its first row and column. */
  | {
      readonly kind: 'strips'
      readonly strip: string
      readonly row: string
      readonly column: string
      readonly body: readonly Stmt[]
    }
  /** For each cell of the tile, or of a strip of it, that is this thread's, by its number among them, its row and its column. */
  | {
      readonly kind: 'cells'
      readonly strip: string | null
      readonly cell: string
      readonly row: string
      readonly column: string
      readonly body: readonly Stmt[]
    }

/**
 * Vectors of a product's tile, as a function of a row of the tile, the first channel of a chunk and a channel of it: `body`, then
 * eight channels from there on.
 * They lie side by side in a buffer from element `index` on, or are made one by one.
 */
export interface Panel {
  readonly row: string
  readonly first: string
  readonly channel: string
  readonly body: readonly Stmt[]
  readonly there: Code
  readonly from:
    /** `halves` of the storage's type, `brains` of two to a word. */
    | { readonly kind: 'halves' | 'brains' | 'floats'; readonly buffer: Buffer; readonly index: Code }
    /** Of the channel `at`. */
    | { readonly kind: 'values'; readonly at: string; readonly value: Code }
  /** How many numbers of eight bits a component is the sum of. */
  readonly parts: 1 | 2 | 3
}

/** A function within a kernel's text: of a value, or of a function that keeps what the statements made; null: it is called for what they do. */
export interface Lambda {
  readonly parameters: readonly Parameter[]
  readonly body: readonly Stmt[]
  readonly value: Code | Lambda | null
}

/**
 * Products whose rows are the sharers of one query, and whose columns all of them have in common. Queries and columns count from the
 * tile's first. Of a strip of columns only the queries are multiplied that `asked` says of some part of it; the others' cells are hidden.
 */
export interface SharerSums {
  /** Which of the target's makes them. */
  readonly by: string
  readonly memory: Memory
  readonly sharers: Code
  readonly channels: Code
  /** What the rows' panel calls the query; a row of it is a sharer. */
  readonly query: string
  readonly x: Panel
  readonly y: Panel
  /** How many parts of a strip are asked about. */
  readonly parts: number
  /** (query, first column of a part): whether some cell of the part is wanted. */
  readonly asked: Lambda
  /** (column): what each product is multiplied by, or the total. */
  readonly columnFactor: Lambda
  readonly scaled: 'products' | 'totals'
  /** (query, sharer), then (column, product): what goes into the total. */
  readonly made: Lambda
  /** (query, column, total) */
  readonly put: Lambda
  /** (query, column) */
  readonly hide: Lambda
}

/** Workgroup memory; no dims: one element. */
export interface Memory {
  readonly name: string
  readonly type: Type
  readonly dims: readonly number[]
  readonly atomic: boolean
}

export interface Parameter {
  readonly name: string
  readonly type: Type
}

export interface FunctionDecl {
  readonly name: string
  readonly parameters: readonly Parameter[]
  readonly result: Type
  readonly body: readonly Stmt[]
}

export interface Entry {
  readonly name: string
  readonly threads: number
  readonly body: readonly Stmt[]
  /** Workgroups that should have room on a multiprocessor; 1 unless given. */
  readonly blocks?: number
}

/** A buffer: `binding` is its number, `type` its element's. */
export interface Buffer {
  readonly name: string
  readonly binding: number
  readonly access: 'read' | 'read_write'
  readonly type: Type
  readonly atomic: boolean
}

export interface ConstantArray {
  readonly name: string
  readonly type: 'i32' | 'f32'
  readonly values: readonly number[]
}

/** One module: what a target prints as a file. */
export interface Kernel {
  readonly head: readonly string[]
  readonly uniforms: {
    readonly name: string
    readonly binding: number
    readonly fields: readonly Parameter[]
  }
  readonly buffers: readonly Buffer[]
  readonly memory: readonly Memory[]
  readonly constants: readonly ConstantArray[]
  readonly functions: readonly FunctionDecl[]
  readonly entries: readonly Entry[]
}

export const name = (type: Type, text: string): Code => ({ kind: 'name', type, name: text })
export const i32 = (value: number): Code => ({ kind: 'literal', type: 'i32', value: value + 0 })
export const u32 = (value: number): Code => ({ kind: 'literal', type: 'u32', value })
export const f32 = (value: number): Code => ({ kind: 'literal', type: 'f32', value })
export const bool = (value: boolean): Code => ({ kind: 'literal', type: 'bool', value })
export const op = (type: Type, kind: AnyOp, ...args: readonly Code[]): Code => ({
  kind: 'op',
  type,
  op: kind,
  args,
})
export const at = (memory: Memory | Buffer, ...indices: readonly Code[]): Code => ({
  kind: 'at',
  type: memory.type,
  memory: memory.name,
  indices,
})
export const lane = (of: Code, index: number): Code => ({
  kind: 'lane',
  type: of.type === 'f32x4' ? 'f32' : of.type === 'f16x4' ? 'f16' : 'u32',
  of,
  lane: index,
})

const isLiteral = (e: Code, value?: number): boolean =>
  e.kind === 'literal' && (value === undefined || e.value === value)

/** Bits of an i32 or u32. */
export const WORD = 32

/** Addresses are sums with many zeros and ones in them; these are folded so that the text stays readable. */
export function add(a: Code, b: Code): Code {
  if (isLiteral(a, 0)) return b
  if (isLiteral(b, 0)) return a
  if (a.kind === 'literal' && b.kind === 'literal') return { ...a, value: Number(a.value) + Number(b.value) }
  // (x + 8) + 32 is x + 40: integers only, floats round.
  const tail = a.kind === 'op' && a.op === 'add' && a.type !== 'f32' ? a.args[1]! : null
  if (tail?.kind === 'literal' && b.kind === 'literal' && a.kind === 'op')
    return add(a.args[0]!, add(tail, b))
  return op(a.type, 'add', a, b)
}
export function mul(a: Code, b: Code): Code {
  if (isLiteral(a, 1) || isLiteral(b, 0)) return b
  if (isLiteral(b, 1) || isLiteral(a, 0)) return a
  if (a.kind === 'literal' && b.kind === 'literal') return { ...a, value: Number(a.value) * Number(b.value) }
  return op(a.type, 'mul', a, b)
}
export const sub = (a: Code, b: Code): Code => (isLiteral(b, 0) ? a : op(a.type, 'sub', a, b))
export const quotient = (a: Code, b: Code): Code =>
  isLiteral(b, 1) || isLiteral(a, 0) ? a : op(a.type, 'quotient', a, b)
export const remainder = (a: Code, b: Code): Code => op(a.type, 'remainder', a, b)
export const min = (a: Code, b: Code): Code => op(a.type, 'min', a, b)
export const max = (a: Code, b: Code): Code => op(a.type, 'max', a, b)
export const lt = (a: Code, b: Code): Code => op('bool', 'lt', a, b)
export const le = (a: Code, b: Code): Code => op('bool', 'le', a, b)
export const eq = (a: Code, b: Code): Code => op('bool', 'eq', a, b)
export const not = (a: Code): Code => (a.kind === 'literal' ? bool(!a.value) : op('bool', 'not', a))
export const toU32 = (a: Code): Code => op('u32', 'toU32', a)
export const fromU32 = (a: Code): Code => op('i32', 'fromU32', a)
export const select = (condition: Code, yes: Code, no: Code): Code =>
  isLiteral(condition) && condition.kind === 'literal'
    ? condition.value
      ? yes
      : no
    : op(yes.type, yes.type === 'f32x4' ? 'select4' : 'select', condition, yes, no)

export function and(...conditions: readonly Code[]): Code {
  const open = conditions.filter((c) => !(c.kind === 'literal' && c.value === true))
  if (open.some((c) => c.kind === 'literal')) return bool(false)
  return open.length === 0 ? bool(true) : open.reduce((a, b) => op('bool', 'and', a, b))
}
export function or(...conditions: readonly Code[]): Code {
  const open = conditions.filter((c) => !(c.kind === 'literal' && c.value === false))
  if (open.some((c) => c.kind === 'literal')) return bool(true)
  return open.length === 0 ? bool(false) : open.reduce((a, b) => op('bool', 'or', a, b))
}
export const isTrue = (e: Code): boolean => e.kind === 'literal' && e.value === true
export const isFalse = (e: Code): boolean => e.kind === 'literal' && e.value === false

export const ZERO4: Code = op('f32x4', 'splat', f32(0))
