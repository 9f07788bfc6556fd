/** Block: statements are put into it one after another, under names that are fresh in the module. */

import { name, type AtomicOp, type Code, type Stmt } from './kernel.ts'
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

  barrier(): void {
    this.stmts.push({ kind: 'barrier' })
  }
}
