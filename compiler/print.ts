/** Every stage of a compiled pattern as text: the expressions, the tiles, the plan, and the picture of the mask. */

import { printExpr, type Expr } from './ir.ts'
import type { MaskMap } from './mask-map.ts'
import type { Op } from './ops.ts'
import type { KernelPlan, KvTiles, ParamInfo, PatternIr, TableInfo, TileTerm } from './plan.ts'
import type { TileClass } from './tiles.ts'

const CELLS: Record<TileClass, string> = { empty: '··', partial: '░░', full: '██' }

/** How tiles are found, in words. */
export const HOW: Record<KvTiles['how'], string> = {
  ranges: 'closed-form ranges',
  test: 'a test per tile',
  list: 'a list that a kernel builds',
}

/** One row a query tile, one cell a kv tile; the counts stand beside the middle. */
export function printMask(map: MaskMap): string {
  const { empty, partial, full } = map.counts
  const of = map.bidirectional ? ' of all pairs' : ''
  const shares = `density ${printShare(map.density)}${of}   tileDensity ${printShare(map.tileDensity)}`
  const beside = new Map([
    [Math.max(0, Math.floor(map.rows / 2) - 1), `empty ${empty}   partial ${partial}   full ${full}`],
    [Math.max(1, Math.floor(map.rows / 2)), shares],
  ])
  const lines: string[] = []
  for (let i = 0; i < Math.max(2, map.rows); i++) {
    const cells = Array.from({ length: map.columns }, (_, j) =>
      i < map.rows ? CELLS[map.classOf(i, j)] : '  ',
    ).join('')
    const label = (i < map.rows ? String(i) : '').padStart(3)
    const text = beside.get(i)
    lines.push(`${label} ${cells}${text === undefined ? '' : `      ${text}`}`.trimEnd())
  }
  return lines.join('\n')
}

/** Two digits, more where two would say 0. */
export const printShare = (share: number): string =>
  share > 0 && share < 0.01 ? share.toPrecision(2) : share.toFixed(2)

const end = (n: number): string => (n === Infinity ? 'inf' : n === -Infinity ? '-inf' : String(n))

const printParam = (p: ParamInfo): string =>
  `param  ${p.perHead ? 'perHead ' : ''}${p.type} ${p.name} = ${p.default}   ${end(p.min)} .. ${end(p.max)}`

const printTable = (t: TableInfo): string =>
  `table  ${t.type} ${t.name}[${t.dims.join(', ')}]${t.monotone ? ' monotone' : ''}`

/** The pattern's expressions, one line each. */
export function printIr(p: PatternIr): string {
  const lines = p.derived.map((d) => `derived ${d.type} %${d.name} = ${printExpr(d.value)}`)
  lines.push(`mask   ${printExpr(p.mask)}`)
  if (p.score) lines.push(`score  ${printExpr(p.score)}`)
  if (p.sinkLogit) lines.push(`sinkLogit  ${printExpr(p.sinkLogit)}`)
  return lines.join('\n')
}

/** How tiles are found, and each term as the kernel evaluates it. */
export function printTiles(tiles: KvTiles): string {
  const lines = [`tiles by ${HOW[tiles.how]}`]
  if (tiles.kept.length === 0) lines.push('no tile is visited')
  for (const [i, term] of tiles.kept.entries()) lines.push(`visit ${i + 1}`, ...termLines(term))
  if (tiles.dropped.length === 0) lines.push('every visited tile is full')
  for (const [i, term] of tiles.dropped.entries()) lines.push(`not full ${i + 1}`, ...termLines(term))
  return lines.join('\n')
}

function termLines(term: TileTerm): string[] {
  const lines: string[] = []
  const add = (name: string, e: Expr | null) => {
    if (e !== null) lines.push(`  ${name.padEnd(7)} ${printExpr(e)}`)
  }
  if (!isTrue(term.when)) add('when', term.when)
  add('lo', term.lo)
  add('hi', term.hi)
  add('test', term.test)
  add('cut q', term.pieces.q)
  add('cut kv', term.pieces.kv)
  return lines
}

/** What a target gets: the signature, the expressions, and how many terms its tiles have. */
export function printPlan(plan: KernelPlan): string {
  const lines = [`pattern ${plan.name}`]
  for (const [name, value] of Object.entries(plan.consts)) lines.push(`const  ${name} = ${value}`)
  lines.push(...plan.params.map(printParam), ...plan.tables.map(printTable))
  const { how, kept, dropped } = plan.tiles
  lines.push(printIr(plan), `tiles by ${HOW[how]}: ${kept.length} to visit, ${dropped.length} not full`)
  return lines.join('\n')
}

export const isTrue = (e: Expr): boolean => e.op === 'const' && e.arg === true

/** A term as a sentence of ranges: `kv from qLo - window + 1 to qHi, if ..`; the conditions of a test start lines of their own. */
export function readTerm(term: TileTerm, indent = '  '): string {
  const parts = [`kv from ${readable(term.lo)} to ${readable(term.hi)}`]
  if (!isTrue(term.when)) parts.push(`if ${readable(term.when)}`)
  if (term.test)
    parts.push(
      ['where the tile passes', ...chainOf(term.test, 'and').map((c) => inside(c, 2))].join(`\n${indent}  `),
    )
  const cuts = [
    term.pieces.q && `q at ${readable(term.pieces.q)}`,
    term.pieces.kv && `kv at ${readable(term.pieces.kv)}`,
  ]
  const cut = cuts.filter((c) => c !== null).join(' and ')
  if (cut) parts.push(`asked apart on both sides of ${cut}`)
  return parts.join(', ')
}

/** Spelling and binding strength; what is not here is written as a call. */
const INFIX: Partial<Record<Op, readonly [sign: string, strength: number]>> = {
  or: ['||', 1],
  and: ['&&', 2],
  bitOr: ['|', 3],
  bitXor: ['^', 4],
  bitAnd: ['&', 5],
  eq: ['===', 6],
  lt: ['<', 7],
  le: ['<=', 7],
  shl: ['<<', 8],
  shr: ['>>', 8],
  ushr: ['>>>', 8],
  add: ['+', 9],
  sub: ['-', 9],
  mul: ['*', 10],
  div: ['/', 10],
  rem: ['%', 10],
}
const TOP = 12

/** An expression as an author would write it. */
export function readable(e: Expr): string {
  return spell(e)[0]
}

const inside = (e: Expr, strength: number): string => {
  const [text, own] = spell(e)
  return own < strength ? `(${text})` : text
}

function spell(e: Expr): readonly [text: string, strength: number] {
  const infix = INFIX[e.op]
  const [a, b, c] = e.src
  if (infix && a && b) {
    const [sign, strength] = infix
    // `a + -3` reads as `a - 3`.
    if (e.op === 'add' && b.op === 'const' && Number(b.arg) < 0)
      return [`${inside(a, strength)} - ${-Number(b.arg)}`, strength]
    return [`${inside(a, strength)} ${sign} ${inside(b, strength + 1)}`, strength]
  }
  switch (e.op) {
    case 'const':
      return [String(e.arg), typeof e.arg === 'number' && e.arg < 0 ? 11 : TOP]
    case 'var':
    case 'param':
    case 'derived':
      return [e.arg, TOP]
    case 'load':
      return [`${e.arg}.at(${e.src.map(readable).join(', ')})`, TOP]
    case 'pick':
      return [`[${e.arg.join(', ')}][${readable(a!)}]`, TOP]
    case 'neg':
      return [`-${inside(a!, 11)}`, 11]
    case 'not':
      return [`!${inside(a!, 11)}`, 11]
    case 'bitNot':
      return [`~${inside(a!, 11)}`, 11]
    case 'toF32':
      return spell(a!)
    case 'select':
      return [`${inside(a!, 1)} ? ${readable(b!)} : ${readable(c!)}`, 0]
    // min(min(a, b), c) reads as min(a, b, c).
    case 'min':
    case 'max':
      return [`${e.op}(${chainOf(e, e.op).map(readable).join(', ')})`, TOP]
    default:
      return [`${e.op}(${e.src.map(readable).join(', ')})`, TOP]
  }
}

/** The sources of nested nodes of one op, as one list. */
const chainOf = (e: Expr, op: Op): Expr[] => (e.op === op ? e.src.flatMap((s) => chainOf(s, op)) : [e])
