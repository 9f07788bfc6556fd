/** KvTiles in; struct Reach and the functions that tiles.cuh walks by, as C++ text, out. */

import { nodesOf, type Expr } from '../../compiler/ir.ts'
import type { KernelPlan, TileTerm } from '../../compiler/plan.ts'
import { Block } from '../block.ts'
import { rateOf, Values, write, writeNamed, type Rate } from '../expr.ts'
import type { Code } from '../kernel.ts'
import { Names } from '../names.ts'
import type { Printer } from '../print.ts'
import type { PlaceText } from './place.ts'
import { RESERVED } from './reserved.ts'
import { isDear } from './traits.ts'

/** One term with the names that it goes by in the text. */
interface Named {
  readonly term: TileTerm
  readonly field: string
  /** The function that asks its test; null without one. */
  readonly ask: string | null
}

const BASE = { workgroup: 'fixed', row: 'ofRow', column: 'ofColumn' } as const
const BOUNDS = ['qLo', 'qHi', 'kvLo', 'kvHi']
const LOCALS = new Set([...RESERVED, ...BOUNDS, 'r', 'p', 'call', 'some', 'tile', 'q', 'kv', 's'])

/** Statements of one function, and how its expressions become text. */
export class Body {
  readonly #block = new Block(new Names(LOCALS))
  readonly #values = new Values()
  readonly #place: PlaceText
  readonly #printer: Printer

  constructor(place: PlaceText, printer: Printer) {
    this.#place = place
    this.#printer = printer
  }

  code(e: Expr): Code {
    return write(this.#block, this.#place.leaves, this.#values, e)
  }
  text(e: Expr): string {
    return this.#printer.text(this.code(e))
  }
  /**
   * Names what is dear and reads one position alone, before any condition: unconditional, a compiler moves it out of a loop
   * over the other position, which it may not do with a read or a division behind a branch.
   */
  name(root: Expr): void {
    const rates = new Map<Expr, Rate>()
    const visit = (e: Expr): void => {
      const rate = rateOf(e, rates)
      if (rate === 'pair') e.src.forEach(visit)
      else if (nodesOf(e).some(isDear))
        writeNamed(this.#block, this.#place.leaves, this.#values, e, BASE[rate])
    }
    if (rateOf(root, rates) === 'pair') visit(root)
  }
  /** The names that shared values got so far. */
  statements(): string {
    return this.#printer.block(this.#block.stmts, '  ')
  }
}

const isTrue = (e: Expr): boolean => e.op === 'const' && e.arg === true

/** Keys in their own order. */
const TILES_OF = `DEVICE Tiles tilesOf(Place const& p, bool some, int kvLo, int kvHi) {
  kvLo = max(kvLo, 0);
  kvHi = min(kvHi, p.kvLen - 1);
  return {kvLo / TILE_KV, some && kvLo <= kvHi ? kvHi / TILE_KV : -1};
}`

/** Keys of one class: a tile holds the next TILE_KV of them. */
const TILES_OF_CLASS = `DEVICE Tiles tilesOf(Place const& p, bool some, int kvLo, int kvHi) {
  int first = keysBefore(p, min(max(kvLo, 0), p.kvLen)), last = keysBefore(p, min(max(kvHi, -1), p.kvLen - 1) + 1) - 1;
  return {first / TILE_KV, some && first <= last ? last / TILE_KV : -1};
}`

/** `ordered`: a pass over residues, whose terms have no tests. */
export function reachText(plan: KernelPlan, ordered: boolean, place: PlaceText, printer: Printer): string {
  const { kept, dropped } = plan.tiles
  const named = (terms: readonly TileTerm[], field: string, ask: string): Named[] =>
    terms.map((term, i) => ({ term, field: `${field}${i}`, ask: term.test && `${ask}${i}` }))
  const keep = named(kept, 'keep', 'mayKeep')
  const drop = named(dropped, 'drop', 'mayDrop')
  const terms = [...keep, ...drop]
  const tested = terms.some((t) => t.ask !== null)
  const fields = [
    ...(keep.length > 0 ? [`  Tiles ${keep.map((t) => t.field).join(', ')};  // of kept terms\n`] : []),
    ...(drop.length > 0 ? [`  Tiles ${drop.map((t) => t.field).join(', ')};  // of dropped terms\n`] : []),
    ...(tested ? ['  int qLo, qHi;\n'] : []),
  ]
  return [
    `// Tiles from first to last, both inside; none if last < first.
struct Tiles {
  int first, last;
};
${ordered ? TILES_OF_CLASS : TILES_OF}
DEVICE bool holds(Tiles const& t, int tile) { return t.first <= tile && tile <= t.last; }
DEVICE int nextOf(Tiles const& t, int from) {
  int begin = max(from, t.first);
  return begin <= t.last ? begin : NO_TILE;
}`,
    // What a test computes from the query tile alone is computed again for each 32 tiles: kept, it would fill registers all
    // through the main loop.
    `// What the terms of the mask reach from the query positions [qLo, qHi].\nstruct Reach {\n${fields.join('')}};`,
    reachOf(terms, tested, place, printer),
    ...terms.filter((t) => t.ask !== null).map((t) => testText(t, place, printer)),
    `// The least tile >= from that a kept term's interval holds, or NO_TILE.
DEVICE int nextCandidate(Reach const& r, int from) {
  return ${keep.reduceRight((rest, t) => (rest === '' ? `nextOf(r.${t.field}, from)` : `min(nextOf(r.${t.field}, from), ${rest})`), '') || 'NO_TILE'};
}`,
    candidatesEnd(keep),
    `// A kept term reaches the tile: its interval holds it and its test, if any, allows it.
DEVICE bool isReached(Call const& call, Place const& p, Reach const& r, int tile) {
${edges(keep)}  return ${keep.map((t, _, all) => reaches(t, all.length > 1)).join(' || ') || 'false'};
}`,
    `// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
${edges(drop)}  return (tile + 1) * TILE_KV <= ${ordered ? 'keysBefore(p, p.kvLen)' : 'p.kvLen'}${drop.map((t) => ` && !(${reaches(t, false)})`).join('')};
}`,
  ].join('\n')
}

function reachOf(terms: readonly Named[], tested: boolean, place: PlaceText, printer: Printer): string {
  const body = new Body(place, printer)
  const set = terms.map(({ term, field }) => {
    const some = isTrue(term.when) ? 'some' : `some && (${body.text(term.when)})`
    return `  r.${field} = tilesOf(p, ${some}, ${body.text(term.lo)}, ${body.text(term.hi)});\n`
  })
  const rows = tested ? '  r.qLo = qLo;\n  r.qHi = qHi;\n' : ''
  return `DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
${rows}${body.statements()}${set.join('')}  return r;
}`
}

/** The last tile ends with the keys, which tests may rely on. */
const edges = (terms: readonly Named[]): string =>
  terms.some((t) => t.ask !== null)
    ? '  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;\n'
    : ''

const reaches = ({ field, ask }: Named, apart: boolean): string => {
  if (ask === null) return `holds(r.${field}, tile)`
  const both = `holds(r.${field}, tile) && ${ask}(call, p, r.qLo, r.qHi, kvLo, kvHi)`
  return apart ? `(${both})` : both
}

function testText({ term, ask }: Named, place: PlaceText, printer: Printer): string {
  const { q, kv } = term.pieces
  const parameters = 'Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi'
  const body = new Body(place, printer)
  const test = body.text(term.test!)
  const whole = (callee: string) =>
    `DEVICE bool ${callee}(${parameters}) {\n${body.statements()}  return ${test};\n}`
  if (!q && !kv) return whole(ask!)
  const cuts = new Body(place, printer)
  const cut = (name: string, e: Expr | null) => (e ? `  int ${name} = ${cuts.text(e)};\n` : '')
  const made = `${cut('qCut', q)}${cut('kvCut', kv)}`
  // Bit 0 of a piece's number is its side of q, bit 1 (or 0, where q is whole) that of kv.
  const side = (axis: 'q' | 'kv', bit: number) =>
    `    int ${axis}First = piece & ${bit} ? max(${axis}Lo, ${axis}Cut) : ${axis}Lo;\n` +
    `    int ${axis}Last = piece & ${bit} ? ${axis}Hi : min(${axis}Hi, ${axis}Cut - 1);\n`
  const ends = (axis: 'q' | 'kv', isCut: boolean) =>
    isCut ? `${axis}First, ${axis}Last` : `${axis}Lo, ${axis}Hi`
  const open = [...(q ? ['qFirst <= qLast'] : []), ...(kv ? ['kvFirst <= kvLast'] : [])]
  return `${whole(`${ask}Piece`)}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool ${ask}(${parameters}) {
${cuts.statements()}${made}  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < ${q && kv ? 4 : 2} && !may; piece++) {
${q ? side('q', 1) : ''}${kv ? side('kv', q ? 2 : 1) : ''}    may = ${open.join(' && ')} && ${ask}Piece(call, p, ${ends('q', q !== null)}, ${ends('kv', kv !== null)});
  }
  return may;
}`
}

function candidatesEnd(keep: readonly Named[]): string {
  const head = `// \`begin\` is a candidate: the greatest tile such that all from begin to it are candidates, of any term.
DEVICE int candidatesEnd(Reach const& r, int begin) {
`
  const step = (t: Named, indent: string) =>
    `${indent}if (r.${t.field}.first <= end + 1) end = max(end, r.${t.field}.last);\n`
  if (keep.length <= 1)
    return `${head}  return ${keep.length === 0 ? 'begin' : `max(begin, r.${keep[0]!.field}.last)`};\n}`
  return `${head}  int end = begin;
  for (int again = 0; again < ${keep.length}; again++) {
${keep.map((t) => step(t, '    ')).join('')}  }
  return end;
}`
}
