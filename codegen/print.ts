/** print(): a Kernel and a Target in, the text of the module out. Printer: the same for loose statements and values. */

import { evaluateConstant } from './constant.ts'
import type { AnyOp, Code, Kernel, Lambda, Panel, Stmt, Type } from './kernel.ts'
import {
  STRENGTH,
  wrap,
  type Helper,
  type Language,
  type Piece,
  type PrintedLambda,
  type PrintedPanel,
  type Products,
  type PrintedKernel,
  type Target,
} from './target.ts'

/** Prints into one language, and remembers what the text needs. */
export interface Printer {
  readonly text: (e: Code) => string
  readonly block: (stmts: readonly Stmt[], indent: string) => string
  /** Those that printed ops call, in an order in which they may stand. */
  readonly helpers: ReadonlyMap<string, Helper>
  readonly ops: ReadonlySet<AnyOp>
  readonly types: ReadonlySet<Type>
}

export function print(kernel: Kernel, target: Target): string {
  const memory = new Set(kernel.memory.map((m) => m.name))
  const { block, helpers, ops, types } = printer(target, memory)
  const printed: PrintedKernel = {
    functions: kernel.functions.map((f) => block(f.body, '  ')),
    entries: kernel.entries.map((e) => block(e.body, '  ')),
    helpers: [...helpers.values()],
    ops,
    types: new Set([...[...kernel.buffers, ...kernel.memory].map((m) => m.type), ...types]),
  }
  return target.module(kernel, printed)
}

/** @param memory names of workgroup memory */
export function printer(language: Language, memory: ReadonlySet<string> = new Set()): Printer {
  const helpers = new Map<string, Helper>()
  const ops = new Set<AnyOp>()
  const types = new Set<Type>()
  const need = (h: Helper): void => {
    if (helpers.has(h.name)) return
    h.needs?.forEach(need)
    helpers.set(h.name, h)
  }
  const literals = new Map<string, Piece>()
  const literal = (type: Type, value: number | boolean): Piece => {
    const key = `${type}${Object.is(value, -0) ? '-0' : String(value)}`
    const known = literals.get(key)
    if (known) return known
    const { text, strength } = language.literal(type, value)
    const made: Piece = typeof value === 'number' ? { text, strength, literal: value } : { text, strength }
    literals.set(key, made)
    return made
  }

  const { workgroup } = language
  const placed = (name: string) => (workgroup && memory.has(name) ? workgroup(name) : name)

  const piece = (e: Code): Piece => {
    types.add(e.type)
    switch (e.kind) {
      case 'name':
        return { text: e.name, strength: STRENGTH.atom }
      case 'literal':
        return literal(e.type, e.value)
      case 'at':
        return {
          text: placed(e.memory) + e.indices.map((i) => `[${text(i)}]`).join(''),
          strength: STRENGTH.atom,
        }
      case 'lane':
        return { text: `${piece(e.of).text}.${'xyzw'[e.lane]}`, strength: STRENGTH.atom }
      case 'call':
        return { text: `${e.callee}(${e.args.map(argument).join(', ')})`, strength: STRENGTH.atom }
      case 'op': {
        const folded = evaluateConstant(e)
        if (folded !== undefined) return literal(e.type, folded)
        ops.add(e.op)
        const row = language.typed?.[`${e.op} ${e.type}`] ?? language.ops[e.op]
        if (!row) throw new Error(`the language has no spelling of ${e.op}`)
        if (row.helpers) for (const h of row.helpers) need(h)
        return row.write(...e.args.map(piece))
      }
    }
  }
  const text = (e: Code): string => piece(e).text
  // To WGSL `f(kv < a, b >> 1u)` is a template `kv<a, b>`.
  const argument = (e: Code): string => {
    const made = piece(e)
    return made.strength === STRENGTH.compare ? `(${made.text})` : made.text
  }

  const { statements } = language
  const typeOf = (type: Type): string => {
    const spelled = language.types[type]
    if (spelled === undefined) throw new Error(`the language has no type ${type}`)
    return spelled
  }
  const block = (stmts: readonly Stmt[], indent: string): string =>
    stmts.map((s) => statement(s, indent)).join('')
  const braces = (head: string, stmts: readonly Stmt[], indent: string) =>
    `${indent}${head} {\n${block(stmts, `${indent}  `)}${indent}}`
  const statement = (s: Stmt, indent: string): string => {
    const line = (t: string) => `${indent}${t}\n`
    const lines = (t: string) => line(t.replaceAll('\n', `\n${indent}`))
    switch (s.kind) {
      case 'comment':
        return line(`// ${s.text}`)
      case 'let':
        return line(statements.let(s.name, typeOf(s.value.type), text(s.value)))
      case 'var':
        return line(statements.var(s.name, typeOf(s.value.type), text(s.value)))
      case 'set':
        return line(`${text(s.target)} = ${text(s.value)};`)
      case 'if': {
        const then = braces(`if (${text(s.condition)})`, s.then, indent)
        return s.else.length === 0
          ? `${then}\n`
          : `${then} else {\n${block(s.else, `${indent}  `)}${indent}}\n`
      }
      case 'for': {
        const type = typeOf(s.from.type)
        const head = statements.for(
          s.name,
          type,
          text(s.from),
          // To WGSL `n < a >> 1u` opens a template.
          wrap(piece(s.below), STRENGTH.add),
          text({ kind: 'literal', type: s.from.type, value: s.step }),
        )
        return `${braces(head, s.body, indent)}\n`
      }
      case 'loop':
        return `${braces(statements.loop, s.body, indent)}\n`
      case 'break':
        return line('break;')
      case 'continue':
        return line('continue;')
      case 'return':
        return line(s.value ? `return ${text(s.value)};` : 'return;')
      case 'barrier':
        return line(statements.barrier)
      case 'atomic':
        return line(statements.atomic(s.op, text(s.target), text(s.value)))
      case 'sums':
        return line(products().sums(s.name))
      case 'product': {
        const [x, y] = [panel(s.x), panel(s.y)]
        return lines(products().product(s.sums, placed(s.memory.name), x, y, text(s.channels)))
      }
      case 'lses': {
        const { sums, width, row, block: column, value } = s
        return lines(products().lses({ sums, width, row, block: column, value, body: block(s.body, '  ') }))
      }
      case 'bits':
        return line(products().bits(s.sums, placed(s.words.name), s.each))
      case 'sharerSums': {
        const sharers = language.products?.sharers?.find(({ name }) => name === s.by)
        if (!sharers) throw new Error(`the language has no products of sharers called ${s.by}`)
        need(sharers.helper)
        const functions = [s.asked, s.columnFactor, s.made, s.put, s.hide].map(lambda)
        return lines(
          sharers.sums({
            query: s.query,
            parts: s.parts,
            scaled: s.scaled,
            memory: placed(s.memory.name),
            sharers: text(s.sharers),
            channels: text(s.channels),
            x: panel(s.x),
            y: panel(s.y),
            functions,
          }),
        )
      }
      case 'strips':
      case 'cells': {
        const { head, first } =
          s.kind === 'cells'
            ? products().cells(s.cell, s.row, s.column, s.strip)
            : products().strips!.text(s.strip, s.row, s.column)
        return `${lines(`${head} {`)}${lines(first.replace(/^/gm, '  '))}${block(s.body, `${indent}  `)}${line('}')}`
      }
    }
  }
  const products = (): Products => {
    if (!language.products) throw new Error('the language has no products')
    if (language.products.helper) need(language.products.helper)
    return language.products
  }
  const lambda = ({ parameters, body, value }: Lambda): PrintedLambda => ({
    parameters: parameters.map((p) => `${typeOf(p.type)} ${p.name}`),
    body: block(body, '  '),
    value: value && ('body' in value ? lambda(value) : text(value)),
  })
  const panel = ({ body, there, from, ...rest }: Panel): PrintedPanel => ({
    ...rest,
    body: block(body, '  '),
    there: text(there),
    from:
      from.kind === 'values'
        ? { ...from, value: text(from.value) }
        : { ...from, buffer: from.buffer.name, index: text(from.index) },
  })

  return { text, block, helpers, ops, types }
}
