/** Target: how a language spells types, ops and statements; and C_LIKE, the rows that C and its relatives share. */

import type { AnyOp, AtomicOp, Kernel, Panel, SharerSums, Type } from './kernel.ts'

/** Text of a value with the strength of its outermost operator: what it is put into parenthesises it when weaker. */
export interface Piece {
  readonly text: string
  readonly strength: number
  /** The number, of a literal. */
  readonly literal?: number
}

export const STRENGTH = { loose: 0, or: 1, and: 2, compare: 3, add: 4, mul: 5, unary: 6, atom: 7 } as const

/** A function of the target's own language that some op's spelling calls. */
export interface Helper {
  readonly name: string
  readonly text: string
  readonly needs?: readonly Helper[]
}

export type Spelled = Pick<Piece, 'text' | 'strength'>

export interface OpSpelling {
  readonly write: (...args: Piece[]) => Piece
  readonly helpers?: readonly Helper[]
}

export type Spelling = Readonly<Record<AnyOp, OpSpelling>>

/** A panel of a product as text: the statements of its function, and its values. */
export interface PrintedPanel extends Pick<Panel, 'row' | 'first' | 'channel' | 'parts'> {
  readonly body: string
  readonly there: string
  readonly from:
    | { readonly kind: 'halves' | 'brains' | 'floats'; readonly buffer: string; readonly index: string }
    | { readonly kind: 'values'; readonly at: string; readonly value: string }
}

export interface PrintedLoop {
  readonly head: string
  readonly first: string
}

/** Sums over sharers as text: its functions are text already. */
export interface PrintedSharerSums extends Pick<SharerSums, 'query' | 'parts' | 'scaled'> {
  readonly memory: string
  readonly sharers: string
  readonly channels: string
  readonly x: PrintedPanel
  readonly y: PrintedPanel
  readonly functions: readonly PrintedLambda[]
}

export interface PrintedLambda {
  /** With their types. */
  readonly parameters: readonly string[]
  readonly body: string
  readonly value: string | PrintedLambda | null
}

/** `sharerSums` of kernel.ts, of targets whose matrix units have a query's sharers for rows. */
export interface SharerProducts {
  /** Of the form that is made by it. */
  readonly name: string
  /** Of how many numbers of eight bits a column's channel may be the sum. */
  readonly columnParts: 1 | 3
  /** Queries and columns of a workgroup, and how many columns are multiplied at once. */
  readonly tile: { readonly q: number; readonly kv: number }
  readonly strip: number
  readonly threads: number
  /** Of workgroup memory. */
  readonly bytes: number
  readonly chunk: number
  /** How many sharers make it worth while, and are possible. */
  readonly sharers: { readonly least: number; readonly most: number }
  /** The greatest number of channels, and what it is a multiple of. */
  readonly channels: { readonly most: number; readonly multiple: number }
  readonly helper: Helper
  readonly sums: (text: PrintedSharerSums) => string
}

/** Products of two panels of vectors, on whatever units a target has for them: `sums`, `product` and `cells` of kernel.ts. */
export interface Products {
  /** Rows and columns of a tile, and the threads that have it together. */
  readonly tile: { readonly q: number; readonly kv: number }
  readonly threads: number
  /** For kernels that have a total beside each sum; these unless given. */
  readonly totals?: Products
  /** For products of no more channels than this; these unless given. */
  readonly short?: { readonly most: number; readonly products: Products }
  /** Workgroups that share a multiprocessor; 1 unless given. */
  readonly blocks?: number
  /** Best first; none: sums over sharers are made sharer by sharer. */
  readonly sharers?: readonly SharerProducts[]
  /** Of workgroup memory: for panels of so many parts, and what a kernel may take in all. */
  readonly bytes: (xParts: number, yParts: number, channels: number | null) => number
  readonly most: number
  /** Channels of a chunk divide this many, or are as many. */
  readonly chunk: number
  /** How many numbers of eight bits a half of the storage is the sum of. */
  readonly halfParts: 1 | 2
  readonly helper?: Helper
  readonly sums: (name: string) => string
  readonly product: (
    sums: string,
    memory: string,
    x: PrintedPanel,
    y: PrintedPanel,
    channels: string,
  ) => string
  /** The head of a loop over the thread's cells, and what stands first in it. */
  readonly cells: (cell: string, row: string, column: string, strip: string | null) => PrintedLoop
  /** Rows and columns that a thread's neighbours have with it, and the loop over those; absent: a thread has cells all over the tile. */
  readonly strips?: {
    readonly q: number
    readonly kv: number
    readonly text: (strip: string, row: string, column: string) => PrintedLoop
  }
  /** How many columns a block may have. */
  readonly widths: readonly number[]
  readonly lses: (text: {
    readonly sums: string
    readonly width: number
    readonly row: string
    readonly block: string
    readonly value: string
    readonly body: string
  }) => string
  /** Sets the bits of cells whose sums are not zero: `each` rows of the tile share a row of `words`. */
  readonly bits: (sums: string, words: string, each: number) => string
}

/** What statements and values are printed by. A language may spell fewer types and ops than there are. */
export interface Language {
  readonly types: Partial<Readonly<Record<Type, string>>>
  readonly ops: Partial<Spelling>
  /** Ops whose spelling hangs on the result's type: these rows come first. */
  readonly typed?: Partial<Readonly<Record<`${AnyOp} ${Type}`, OpSpelling>>>
  readonly literal: (type: Type, value: number | boolean) => Spelled
  readonly reserved: ReadonlySet<string>
  /** Absent: no kernel of this language makes products. */
  readonly products?: Products
  /** How workgroup memory is spoken of; by its name unless said. */
  readonly workgroup?: (name: string) => string
  readonly statements: {
    readonly let: (name: string, type: string, value: string) => string
    readonly var: (name: string, type: string, value: string) => string
    readonly for: (name: string, type: string, from: string, below: string, step: string) => string
    readonly loop: string
    readonly barrier: string
    readonly atomic: (op: AtomicOp, target: string, value: string) => string
  }
}

export interface Target extends Language {
  readonly name: string
  readonly extension: string
  /** Neighbouring threads that shuffles bring together on every device; absent: none for sure. */
  readonly lanes?: number
  /** Lists of each query are merged where that pays; absent: the target has kernels of its own for them. */
  readonly merges?: boolean
  /** The file: declarations in the target's order around functions and entries that are printed already. */
  readonly module: (kernel: Kernel, printed: PrintedKernel) => string
}

export interface PrintedKernel {
  readonly helpers: readonly Helper[]
  /** Each function's and entry's body, indented by one step. */
  readonly functions: readonly string[]
  readonly entries: readonly string[]
  /** Ops that occur: what a target must enable for them. */
  readonly ops: ReadonlySet<AnyOp>
  readonly types: ReadonlySet<Type>
}

export const wrap = (p: Piece, least: number): string => (p.strength < least ? `(${p.text})` : p.text)

/** A left-associative operator: the right operand of the same strength is parenthesised. */
export const infix = (sign: string, strength: number): OpSpelling => ({
  write: (a, b) => ({ text: `${wrap(a!, strength)} ${sign} ${wrap(b!, strength + 1)}`, strength }),
})

/** Comparisons do not chain. */
export const compare = (sign: string): OpSpelling => ({
  write: (a, b) => ({
    text: `${wrap(a!, STRENGTH.add)} ${sign} ${wrap(b!, STRENGTH.add)}`,
    strength: STRENGTH.compare,
  }),
})

/** An operator whose mixing with others WGSL refuses and C warns of: operands are always parenthesised. */
export const apart = (sign: string, strength: number = STRENGTH.loose): OpSpelling => ({
  write: (a, b) => ({ text: `${wrap(a!, STRENGTH.unary)} ${sign} ${wrap(b!, STRENGTH.unary)}`, strength }),
})

/** A chain of one operator needs no parentheses among its own kind. */
export const chain = (sign: string, strength: number): OpSpelling => ({
  write: (a, b) => ({
    text: `${a!.strength === strength ? a!.text : wrap(a!, STRENGTH.unary)} ${sign} ${wrap(b!, STRENGTH.unary)}`,
    strength,
  }),
})

export const prefix = (sign: string): OpSpelling => ({
  write: (a) => ({ text: `${sign}${wrap(a!, STRENGTH.atom)}`, strength: STRENGTH.unary }),
})

export const call = (callee: string, ...helpers: readonly Helper[]): OpSpelling => ({
  write: (...args) => ({ text: `${callee}(${args.map((a) => a.text).join(', ')})`, strength: STRENGTH.atom }),
  helpers,
})

/** A spelling given as text around its arguments, each of which stands between commas or parentheses. */
export const form = (write: (...args: string[]) => string): OpSpelling => ({
  write: (...args) => ({ text: write(...args.map((a) => a.text)), strength: STRENGTH.atom }),
})

/** `c + a * b`: compilers fuse it, and a sum on the left needs no parentheses in a chain. */
const MAD: OpSpelling = {
  write: (a, b, c) => ({
    text: `${wrap(c!, STRENGTH.add)} + ${wrap(a!, STRENGTH.mul)} * ${wrap(b!, STRENGTH.unary)}`,
    strength: STRENGTH.add,
  }),
}

export const C_LIKE = {
  add: infix('+', STRENGTH.add),
  sub: infix('-', STRENGTH.add),
  mul: infix('*', STRENGTH.mul),
  div: infix('/', STRENGTH.mul),
  quotient: infix('/', STRENGTH.mul),
  remainder: infix('%', STRENGTH.mul),
  rem: infix('%', STRENGTH.mul),
  imul: infix('*', STRENGTH.mul),
  neg: prefix('-'),
  bitNot: prefix('~'),
  not: prefix('!'),
  bitAnd: apart('&'),
  bitOr: apart('|'),
  bitXor: apart('^'),
  lt: compare('<'),
  le: compare('<='),
  eq: compare('=='),
  min: call('min'),
  max: call('max'),
  abs: call('abs'),
  floor: call('floor'),
  ceil: call('ceil'),
  sqrt: call('sqrt'),
  mad: MAD,
  mad4: MAD,
  exp2: call('exp2'),
} satisfies Partial<Record<AnyOp, OpSpelling>>
