/** Patterns built by hand from IR, one for each thing that generated kernels do; planned by the compiler's own analysis. */

import { Ir, type Expr } from '../../compiler/ir.ts'
import type { DerivedInfo, KernelPlan, ParamInfo, PatternIr, TableInfo } from '../../compiler/plan.ts'
import { findTiles } from '../../compiler/tiles.ts'

type Fields = Partial<Omit<PatternIr, 'name'>> & { readonly mask: Expr }

export function planOf(ir: Ir, name: string, fields: Fields): KernelPlan {
  const pattern: PatternIr = {
    name,
    cite: '',
    consts: {},
    params: [],
    tables: [],
    derived: [],
    score: null,
    sinkLogit: null,
    ...fields,
  }
  return { ...pattern, tiles: findTiles(ir, pattern).tiles, residues: null }
}

const param = (name: string, type: 'i32' | 'f32', value: number, perHead = false): ParamInfo => ({
  name,
  type,
  default: value,
  min: type === 'i32' ? 0 : -100,
  max: type === 'i32' ? 2 ** 20 : 100,
  perHead,
})
const table = (name: string, type: 'i32' | 'f32', dims: TableInfo['dims']): TableInfo => ({
  name,
  type,
  dims,
  min: type === 'i32' ? 0 : -Infinity,
  max: type === 'i32' ? 2 ** 20 : Infinity,
  monotone: false,
})

/** Words for writing expressions. */
export function words(ir: Ir) {
  const make =
    (op: Parameters<Ir['make']>[0]) =>
    (...src: Expr[]) =>
      ir.make(op, src)
  return {
    q: ir.var('q'),
    kv: ir.var('kv'),
    head: ir.var('head'),
    s: ir.var('logit'),
    qLen: ir.var('qLen'),
    kvLen: ir.var('kvLen'),
    int: (n: number) => ir.int(n),
    float: (n: number) => ir.float(n),
    and: make('and'),
    or: make('or'),
    not: make('not'),
    le: make('le'),
    lt: make('lt'),
    eq: make('eq'),
    sub: make('sub'),
    add: make('add'),
    mul: make('mul'),
    mod: make('mod'),
    floorDiv: make('floorDiv'),
    toF32: make('toF32'),
    tanh: make('tanh'),
    div: make('div'),
    isPow2: make('isPow2'),
    log2Floor: make('log2Floor'),
  }
}

const causalOf = (w: ReturnType<typeof words>) => w.le(w.kv, w.q)

type Build = (ir: Ir, w: ReturnType<typeof words>) => Fields

const BUILDS = {
  full: (ir) => ({ mask: ir.bool(true) }),
  causal: (_, w) => ({ mask: causalOf(w) }),
  // A union of two intervals with a run-time param and a per-head one.
  'a-shape': (ir, w) => {
    const near = w.lt(w.sub(w.q, w.kv), ir.param('window', 'i32'))
    return {
      params: [param('window', 'i32', 40), param('sinkTokens', 'i32', 5, true)],
      mask: w.and(causalOf(w), w.or(near, w.lt(w.kv, ir.param('sinkTokens', 'i32')))),
    }
  },
  // Tiles by test: a stride.
  strided: (ir, w) => ({
    params: [{ ...param('stride', 'i32', 48), min: 1 }],
    mask: w.and(causalOf(w), w.eq(w.mod(w.sub(w.q, w.kv), ir.param('stride', 'i32')), w.int(0))),
  }),
  power: (_, w) => ({
    mask: w.and(causalOf(w), w.or(w.lt(w.sub(w.q, w.kv), w.int(8)), w.isPow2(w.sub(w.q, w.kv)))),
  }),
  // Tiles by list: ids that no closed form covers.
  document: (ir, w) => {
    const id = (e: Expr) => ir.load('docId', 'i32', [e])
    return {
      tables: [table('docId', 'i32', ['batch', 'kvLen'])].map((t) => ({ ...t, dims: ['kvLen'] as const })),
      mask: w.and(causalOf(w), w.eq(id(w.q), id(w.kv))),
    }
  },
  alibi: (ir, w) => ({
    tables: [table('slope', 'f32', ['head'])],
    mask: causalOf(w),
    score: w.sub(w.s, w.mul(ir.load('slope', 'f32', [w.head]), w.toF32(w.sub(w.q, w.kv)))),
  }),
  softcap: (ir, w) => {
    const cap = ir.param('cap', 'f32')
    return { params: [param('cap', 'f32', 2)], mask: causalOf(w), score: w.mul(cap, w.tanh(w.div(w.s, cap))) }
  },
  'sink-logit': (ir, w) => ({
    tables: [table('sink', 'f32', ['head'])],
    mask: w.and(causalOf(w), w.lt(w.int(2), w.q)),
    sinkLogit: ir.load('sink', 'f32', [w.head]),
  }),
  // A derived uniform, a constant array, names that WGSL reserves.
  'reserved-words': (ir, w) => ({
    params: [
      param('target', 'i32', 3),
      param('fn', 'f32', 0.5),
      param('$odd', 'i32', 70),
      param('scale', 'f32', 1.5),
    ],
    derived: [
      {
        name: 'reach',
        type: 'i32',
        value: w.add(ir.param('$odd', 'i32'), w.mul(w.int(2), w.head)),
      } satisfies DerivedInfo,
    ],
    mask: w.and(
      w.lt(
        w.sub(w.q, w.kv),
        w.add(ir.derived('reach', 'i32'), ir.pick([1, -2, 3, 5], 'i32', w.mod(w.q, w.int(4)))),
      ),
      w.le(w.sub(w.kv, w.q), ir.param('target', 'i32')),
    ),
    score: w.add(w.mul(w.s, ir.param('scale', 'f32')), ir.param('fn', 'f32')),
  }),
} satisfies Record<string, Build>

export type PlanName = keyof typeof BUILDS
export const PLAN_NAMES = Object.keys(BUILDS) as PlanName[]

export function plan(name: PlanName): KernelPlan {
  const ir = new Ir()
  return planOf(ir, name, (BUILDS[name] as Build)(ir, words(ir)))
}
