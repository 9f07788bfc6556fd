/** Block: statements are put into it one after another, under names that are fresh in the module. */

import {
  name,
  type AtomicOp,
  type Code,
  type Lambda,
  type Memory,
  type Panel,
  type SharerSums,
  type Stmt,
  type Type,
} from './kernel.ts'
import type { Names } from './names.ts'

export class Block {
  readonly stmts: Stmt[] = []
  readonly names: Names

  constructor(names: Names) {
    this.names = names
  }

  comment(text: string): void {
    this.stmts.push({ kind: 'comment', text })
  }

  /** A value under a name; a name or a literal needs none of its own. */
  let(base: string, value: Code): Code {
    if (value.kind === 'name' || value.kind === 'literal') return value
    const fresh = this.names.fresh(base)
    this.stmts.push({ kind: 'let', name: fresh, value })
    return name(value.type, fresh)
  }

  var(base: string, value: Code): Code {
    const fresh = this.names.fresh(base)
    this.stmts.push({ kind: 'var', name: fresh, value })
    return name(value.type, fresh)
  }

  set(target: Code, value: Code): void {
    this.stmts.push({ kind: 'set', target, value })
  }

  atomic(op: AtomicOp, target: Code, value: Code): void {
    this.stmts.push({ kind: 'atomic', op, target, value })
  }

  /** Statements of their own scope. */
  inner(build: (b: Block) => void): readonly Stmt[] {
    const block = new Block(this.names.child())
    build(block)
    return block.stmts
  }

  if(condition: Code, then: (b: Block) => void, otherwise?: (b: Block) => void): void {
    this.stmts.push({
      kind: 'if',
      condition,
      then: this.inner(then),
      else: otherwise ? this.inner(otherwise) : [],
    })
  }

  for(base: string, from: Code, below: Code, step: number, body: (b: Block, index: Code) => void): void {
    const block = new Block(this.names.child())
    const index = block.names.fresh(base)
    body(block, name(from.type, index))
    this.stmts.push({ kind: 'for', name: index, from, below, step, body: block.stmts })
  }

  loop(body: (b: Block) => void): void {
    this.stmts.push({ kind: 'loop', body: this.inner(body) })
  }

  break(): void {
    this.stmts.push({ kind: 'break' })
  }

  continue(): void {
    this.stmts.push({ kind: 'continue' })
  }

  return(value: Code | null = null): void {
    this.stmts.push({ kind: 'return', value })
  }

  /** Registers for a product's sums; a cell's is by its number among the thread's. */
  sums(base: string): string {
    const fresh = this.names.fresh(base)
    this.stmts.push({ kind: 'sums', name: fresh })
    return fresh
  }

  product(sums: string, memory: Memory, x: Panel, y: Panel, channels: Code): void {
    this.stmts.push({ kind: 'product', sums, memory, x, y, channels })
  }

  /** Rows and blocks of columns of a product's tile, and the log-sum-exp of the sums there. */
  lses(sums: string, width: number, body: (b: Block, row: Code, block: Code, value: Code) => void): void {
    const block = new Block(this.names.child())
    const [row, column, value] = [
      block.names.fresh('row'),
      block.names.fresh('block'),
      block.names.fresh('lse'),
    ]
    body(block, name('i32', row), name('i32', column), name('f32', value))
    this.stmts.push({ kind: 'lses', sums, width, row, block: column, value, body: block.stmts })
  }

  /** A function of parameters that are called so, as far as the names are free. */
  lambda(
    parameters: readonly (readonly [base: string, type: Type])[],
    build: (b: Block, ...args: readonly Code[]) => Code | Lambda | void,
  ): Lambda {
    const block = new Block(this.names.child())
    const own = parameters.map(([base, type]) => ({ name: block.names.fresh(base), type }))
    const value = build(block, ...own.map((p) => name(p.type, p.name)))
    return { parameters: own, body: block.stmts, value: value ?? null }
  }

  sharerSums(sums: SharerSums): void {
    this.stmts.push({ kind: 'sharerSums', ...sums })
  }

  bits(sums: string, words: Memory, each: number): void {
    this.stmts.push({ kind: 'bits', sums, words, each })
  }

  /** Each strip of a product's tile that the thread has cells of: its number, its first row and its first column. */
  strips(body: (b: Block, strip: string, row: Code, column: Code) => void): void {
    const block = new Block(this.names.child())
    const [strip, row, column] = [
      block.names.fresh('strip'),
      block.names.fresh('top'),
      block.names.fresh('left'),
    ]
    body(block, strip, name('i32', row), name('i32', column))
    this.stmts.push({ kind: 'strips', strip, row, column, body: block.stmts })
  }

  /** Each of the thread's cells of a product's tile, or of a strip: its number, its row and its column within the tile. */
  cells(body: (b: Block, cell: Code, row: Code, column: Code) => void, strip: string | null = null): void {
    const block = new Block(this.names.child())
    const [cell, row, column] = [
      block.names.fresh('cell'),
      block.names.fresh('row'),
      block.names.fresh('column'),
    ]
    body(block, name('i32', cell), name('i32', row), name('i32', column))
    this.stmts.push({ kind: 'cells', strip, cell, row, column, body: block.stmts })
  }

  barrier(): void {
    this.stmts.push({ kind: 'barrier' })
  }
}
