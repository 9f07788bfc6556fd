/** Random expressions drawn from the op table itself, and random values for their leaves: a new op row is drawn at once. */

import { Bounds } from '../compiler/interval.ts'
import type { Environment, Expr, IndexVar, Ir, VarName } from '../compiler/ir.ts'
import { INDEX_VARS } from '../compiler/ir.ts'
import { LONGEST } from '../compiler/vars.ts'
import { OPS, type Op, type Scalar } from '../compiler/ops.ts'
import type { PatternIr } from '../compiler/plan.ts'
import type { Draw } from '../runtime/testing/draw.ts'

/** The params and tables that random expressions read. */
export const LEAVES: Pick<PatternIr, 'params' | 'tables'> = {
  params: [
    { name: 'window', type: 'i32', default: 8, min: 1, max: 1 << 20, perHead: false },
    { name: 'offset', type: 'i32', default: 0, min: -(2 ** 30), max: 2 ** 30, perHead: true },
    { name: 'slope', type: 'f32', default: 0.5, min: -8, max: 8, perHead: false },
  ],
  tables: [
    { name: 'ids', type: 'i32', dims: ['kvLen'], min: 0, max: 40, monotone: false },
    { name: 'starts', type: 'i32', dims: ['kvLen'], min: -5, max: 4096, monotone: true },
    { name: 'bias', type: 'f32', dims: ['head', 8], min: -4, max: 4, monotone: false },
  ],
}

/** What an op asks of an argument beyond its type: the compiler proves it of authors' programs. */
const OPERANDS: Partial<Record<Op, (d: Draw, ir: Ir, at: number, draw: () => Expr) => Expr>> = {
  floorDiv: (d, ir, at, draw) => (at === 1 ? divisor(d, ir) : draw()),
  mod: (d, ir, at, draw) => (at === 1 ? divisor(d, ir) : draw()),
  alignDown: (d, ir, at, draw) => (at === 1 ? divisor(d, ir) : draw()),
  rem: (d, ir, at, draw) => (at === 1 ? divisor(d, ir) : draw()),
  shl: (d, ir, at, draw) => (at === 1 ? ir.int(d.int(0, 31)) : draw()),
  shr: (d, ir, at, draw) => (at === 1 ? ir.int(d.int(0, 31)) : draw()),
  // A count of 0 would leave int32: `-1 >>> 0` is 2^32 - 1.
  ushr: (d, ir, at, draw) => (at === 1 ? ir.int(d.int(1, 31)) : draw()),
  // A whole number and never a NaN: a product with a finite param, kept in reach.
  toI32: (d, ir) => {
    const product = ir.make('mul', [
      ir.param('slope', 'f32'),
      ir.make('toF32', [ir.var(d.pick(['kvLen', 'qLen', 'head']))]),
    ])
    return ir.make(d.pick(['floor', 'ceil']), [
      ir.make('max', [ir.make('min', [product, ir.float(1e6)]), ir.float(-1e6)]),
    ])
  },
}

const divisor = (d: Draw, ir: Ir): Expr =>
  d.oneIn(3) ? ir.param('window', 'i32') : ir.int(d.pick([2, 3, 8, 16, 1, 100]))

interface Overload {
  readonly op: Op
  readonly from: readonly Scalar[]
}

const OVERLOADS: Record<Scalar, Overload[]> = { i32: [], f32: [], bool: [] }
for (const op of Object.keys(OPS) as Op[]) {
  for (const type of OPS[op].types) {
    const [from, to] = type.split(' -> ') as [string, Scalar]
    OVERLOADS[to].push({ op, from: from.split(' ') as Scalar[] })
  }
}

function leaf(d: Draw, ir: Ir, type: Scalar, sub: () => Expr): Expr {
  switch (type) {
    case 'bool':
      return ir.make('le', [ir.var('kv'), ir.var('q')])
    case 'f32':
      return d.pick([
        () => ir.float(d.float(-4, 4)),
        () => ir.param('slope', 'f32'),
        () => ir.var('logit'),
        () => ir.load('bias', 'f32', [ir.var('head'), sub()]),
        () => ir.pick([0.5, -1, 2], 'f32', ir.make('mod', [sub(), ir.int(3)])),
      ])()
    case 'i32':
      return d.pick([
        () => ir.var('kv'),
        () => ir.var('q'),
        () => ir.int(d.smallInt(-70, 130)),
        () => ir.param(d.pick(['window', 'offset']), 'i32'),
        () => ir.var(d.pick(INDEX_VARS)),
        () => ir.load('ids', 'i32', [sub()]),
        () => ir.load('starts', 'i32', [sub()]),
        () => ir.derived('span', 'i32'),
        () => ir.pick([3, 0, 17, -5], 'i32', ir.make('mod', [sub(), ir.int(4)])),
      ])()
  }
}

export interface ExprOptions {
  /** False for what a mask may hold: floats stand in derived uniforms only. */
  readonly floats?: boolean
  readonly bounds?: Bounds
}

/** An expression of a type, every i32 of which provably stays inside int32. */
export function drawExpr(d: Draw, ir: Ir, type: Scalar, depth: number, options: ExprOptions = {}): Expr {
  const { floats = true, bounds = new Bounds(LEAVES) } = options
  const sub = (t: Scalar) => drawExpr(d, ir, t, depth - 1, { floats, bounds })
  if (depth > 0 && d.choose(4) > 0) {
    const { op, from } = d.pick(
      floats ? OVERLOADS[type] : OVERLOADS[type].filter((o) => !o.from.includes('f32')),
    )
    const src = from.map((t, at) => OPERANDS[op]?.(d, ir, at, () => sub(t)) ?? sub(t))
    const e = ir.make(op, src)
    if (bounds.fits(e)) return e
  }
  const e = leaf(d, ir, type, () => (depth > 0 ? sub('i32') : ir.var('kv')))
  return bounds.fits(e) ? e : ir.int(0)
}

const anyInt = (d: Draw, lo: number, hi: number): number =>
  d.oneIn(6) ? d.pick([lo, hi]) : d.smallInt(lo, hi)

/** Values of the leaves, inside what is declared; keys stand before kvLen. */
export function drawEnvironment(d: Draw): Environment & { readonly text: string } {
  const kv = anyInt(d, 0, LONGEST - 1)
  const vars: Record<IndexVar, number> = {
    kv,
    kvLen: anyInt(d, kv + 1, LONGEST),
    q: anyInt(d, -LONGEST, LONGEST - 1),
    qLen: anyInt(d, 1, LONGEST),
    batch: anyInt(d, 0, 9),
    head: anyInt(d, 0, 63),
    kvHead: anyInt(d, 0, 63),
    qHeads: anyInt(d, 1, 64),
    kvHeads: anyInt(d, 1, 64),
    headDim: anyInt(d, 1, 256),
  }
  const logit = d.float(-20, 20)
  const params: Record<string, number> = {
    window: anyInt(d, 1, 1 << 20),
    offset: anyInt(d, -(2 ** 30), 2 ** 30),
    slope: d.float(-8, 8),
  }
  const span = anyInt(d, -(2 ** 30), 2 ** 30)
  const salt = d.choose(1000)
  const cell = (indices: readonly number[]) =>
    Math.abs(indices.reduce((h, i) => Math.imul(h ^ i, 0x9e3779b1), salt)) % 1024
  return {
    var: (name: VarName) => (name === 'logit' ? logit : vars[name as IndexVar]),
    param: (name) => params[name]!,
    derived: () => span,
    load: (table, indices) => {
      const inside = indices.every((i) => i >= 0 && i < 4096)
      if (!inside) return 0
      if (table === 'starts') return Math.floor(indices[0]! / 16) * 16 - 5 + (salt % 5)
      return table === 'ids' ? cell(indices) % 41 : cell(indices) / 128 - 4
    },
    text: JSON.stringify({ ...vars, logit, ...params, span, salt }),
  }
}
