/** The published methods that stages are tested with: each at sizes at which its program can be run, and a call of it. */

import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createCompiler, type CompiledPattern } from '../../../compiler/index.ts'
import { evaluate } from '../../../compiler/ir.ts'
import { environmentOf, sizeOfDim, type Setting } from '../../../compiler/mask-map.ts'
import type { GraphInputs } from '../../../compiler/stages/evaluate.ts'
import {
  isPattern,
  type ForwardInputs,
  type ForwardTable,
  type Pattern,
  type Rows,
  type Share,
  type Side,
} from '../../../dsl/index.ts'
import type { Call } from '../../../dsl/stages/call.ts'
import { callOf, inputRows, perHeadScores } from '../../../dsl/stages/evaluate.ts'
import { isRowsSpec } from '../../../dsl/stages/inputs.ts'
import { seededRandom } from '../../../runtime/testing/draw.ts'
import { tableFrom } from '../../dsl/stage-values.ts'

const FOLDER = fileURLToPath(new URL('../../fixtures/methods/', import.meta.url))
export const METHODS: readonly string[] = readdirSync(FOLDER).map((file) => file.replace('.ts', ''))
export const fileOf = (method: string): string => `${FOLDER}${method}.ts`

/** Consts and params small enough for a few dozen tokens; what is not named keeps its own value. */
interface Sizes {
  readonly consts?: Readonly<Record<string, number>>
  readonly params?: Readonly<Record<string, number>>
  /** Channels of declared rows that must fit a table's. */
  readonly channels?: Readonly<Record<string, number>>
  readonly kvHeads?: number
}

const SMALL: Readonly<Record<string, Sizes>> = {
  anchor: { consts: { block: 4, group: 8 }, params: { theta: 0.2 } },
  blasst: { consts: { bm: 4, bn: 4 }, params: { lambda: 0.5 } },
  delta: { consts: { page: 4 }, params: { k: 3, recent: 1 } },
  'double-sparsity': { consts: { r: 2 }, params: { k: 5 } },
  flexprefill: { consts: { block: 4 }, params: { gamma: 0.7, tau: 0.3, least: 1 } },
  hip: { consts: { bq: 4, beam: 3, rounds: 3 }, params: { window: 4 } },
  hisa: { consts: { block: 4 }, params: { coarse: 2, k: 5 } },
  hyper: { consts: { block: 2, least: 4, levels: 3 }, channels: { powers: 7 } },
  'infinite-hip': {
    consts: { bq: 4, c0: 8, c1: 4, c2: 2 },
    params: { sink: 2, window: 4, k0: 2, k1: 3, k2: 3 },
  },
  'lserve-pages': { consts: { page: 4, sub: 2 }, params: { pages: 3 } },
  'minference-block': { consts: { block: 4 }, params: { k: 2 } },
  'minference-vertical-slash': { consts: { block: 4, last: 4 }, params: { vertical: 30, slash: 100 } },
  // An order of kv heads stands beside a set of query heads, which the words compare head by head.
  'mminference-2d': { consts: { last: 3 }, params: { vertical: 2, window: 3 }, kvHeads: 4 },
  'mminference-grid': { consts: { last: 4 }, params: { local: 3 } },
  moba: { consts: { block: 4 } },
  nsa: { consts: { size: 4, step: 2, block: 8, wide: 16 }, params: { n: 2, window: 4 } },
  pbs: { consts: { block: 2, segment: 4 }, params: { mass: 0.6 } },
  quest: { consts: { page: 4 }, params: { pages: 2 } },
  razor: { params: { sink: 2, window: 6 } },
  s2o: { consts: { group: 8, tile: 4 }, params: { tau: 0.3, most: 5 } },
  sale: { consts: { bm: 4, bn: 2, local: 3 }, params: { threshold: 0.02 } },
  seer: { consts: { block: 4, width: 6, wide: 12 }, params: { threshold: 0.1 } },
  'squeezed-hierarchical': { params: { coarseAt: 0.02, fineAt: 0.01, prefix: 24, seen: 4 } },
  'token-select': { params: { k: 4, first: 2, local: 4 } },
  xattention: { consts: { block: 8, step: 2 }, params: { mass: 0.6 } },
}

const compiler = createCompiler()

const known = new Map<string, CompiledPattern>()

export function compileMethod(
  method: string,
  consts: Readonly<Record<string, number>> = {},
): CompiledPattern {
  const key = `${method} ${JSON.stringify(consts)}`
  const found = known.get(key)
  if (found) return found
  const { patterns, diagnostics } = compiler.compile(fileOf(method), { consts })
  const [compiled] = patterns
  if (!compiled) throw new Error(diagnostics.map((d) => d.text).join('\n'))
  known.set(key, compiled)
  return compiled
}

/** A method with a call of it: run as JavaScript with `inputs`, or from its graph with `graph`. */
export interface Run {
  readonly pattern: Pattern
  readonly compiled: CompiledPattern
  readonly inputs: ForwardInputs
  readonly graph: GraphInputs
}

export async function runOf(method: string, seed: number): Promise<Run> {
  const module = (await import(fileOf(method))) as Readonly<Record<string, unknown>>
  const pattern = Object.values(module).find(isPattern)
  if (!pattern) throw new Error(`${method} exports no pattern`)
  const sizes = SMALL[method] ?? {}
  return runIn(pattern, compileMethod(method, sizes.consts), sizes, seed)
}

/** A call of a pattern with contents drawn from the seed. */
export function runIn(pattern: Pattern, compiled: CompiledPattern, sizes: Sizes, seed: number): Run {
  const { consts = {}, params = {}, channels = {}, kvHeads = 2 } = sizes
  const uniform = seededRandom(seed)
  const random = () => uniform() * 2 - 1
  const qLen = [24, 24, 9, 1][seed % 4]!
  const at: Setting = {
    batch: 0,
    batches: 1,
    head: 0,
    qHeads: 4,
    kvHeads,
    qLen,
    kvLen: 24,
    headDim: 4,
    params,
    tables: {},
  }
  const plan = compiled.plan
  const tables = new Map(plan.tables.map((t) => [t.name, drawTable(t, at, uniform)]))
  const filled: Setting = {
    ...at,
    tables: Object.fromEntries([...tables].map(([name, { data }]) => [name, data])),
  }
  const call = callFor(plan, filled)
  const rowsOf = (side: Side, share: Share, grain: 'token' | 'whole', width: number): Rows =>
    inputRows(call, side, share, grain, width, () => Float64Array.from({ length: width }, random))
  const Q = rowsOf('q', 'head', 'token', 4)
  const K = rowsOf('kv', 'kvHead', 'token', 4)
  const V = rowsOf('kv', 'kvHead', 'token', 4)
  const rows = new Map<string, Rows>([
    ['Q', Q],
    ['K', K],
    ['V', V],
  ])
  const own: Record<string, ForwardInputs[string]> = {}
  for (const [name, value] of Object.entries(pattern.consts)) own[name] = consts[name] ?? value
  for (const [name, spec] of Object.entries(pattern.params)) {
    const value = params[name] ?? spec.default
    const stored = spec.type === 'f32' ? Math.fround(value) : value
    own[name] = spec.perHead
      ? perHeadScores(
          call,
          Array.from({ length: 4 }, () => stored),
        )
      : stored
  }
  for (const [name, spec] of Object.entries(pattern.tables)) {
    if (isRowsSpec(spec)) {
      const made = rowsOf(spec.side, spec.share, spec.grain as 'token' | 'whole', channels[name] ?? 4)
      rows.set(name, made)
      own[name] = made
    } else own[name] = tables.get(name)!.view
  }
  const { qHeads, kvLen, headDim } = at
  const inputs = {
    ...own,
    Q,
    K,
    V,
    scale: call.scale,
    headDim,
    qLen,
    kvLen,
    qHeads,
    kvHeads,
  } as ForwardInputs
  const graph: GraphInputs = {
    call,
    rows: (name) => rows.get(name)!,
    table: (name) => tables.get(name)!.view,
    environment: (head, vars) => ({
      ...environmentOf(plan, { ...filled, head }, { scale: call.scale, valueDim: 4, ...vars }),
      load: (name, indices) => tables.get(name)!.view.at(...indices),
    }),
  }
  return { pattern, compiled, inputs, graph }
}

const INDEX_HEADS = 3

function callFor(plan: CompiledPattern['plan'], at: Setting): Call {
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim } = at
  const [qStart, scale] = [kvLen - qLen, headDim ** -0.5]
  return callOf({
    batch,
    qHeads,
    kvHeads,
    indexHeads: INDEX_HEADS,
    qStart,
    qLen,
    kvLen,
    headDim,
    scale,
    keeps: (head, q, kv) => evaluate(plan.mask, environmentOf(plan, { ...at, head }, { q, kv })) === true,
    logit: (s) => s,
    single: false,
    weigh: (x) => x,
    trace: null,
  })
}

interface Table {
  readonly view: ForwardTable
  readonly data: Int32Array | Float32Array
}

/** A table's numbers: ends of chunks rise, channels and labels stay inside, weights are small. */
function drawTable(
  info: CompiledPattern['plan']['tables'][number],
  at: Setting,
  uniform: () => number,
): Table {
  const sizes = info.dims.map((d) => (d === 'indexHead' ? INDEX_HEADS : sizeOfDim(d, at)))
  const length = sizes.reduce((a, b) => a * b, 1)
  const whole = (i: number) => (info.name.endsWith('Ends') ? [8, 16, 24][i]! : Math.floor(uniform() * 4))
  const data =
    info.type === 'i32'
      ? Int32Array.from({ length }, (_, i) => whole(i))
      : Float32Array.from({ length }, () => uniform() - 0.5)
  const first = info.dims[0]
  const share = first === 'head' || first === 'kvHead' || first === 'indexHead' ? first : 'request'
  return { view: tableFrom(info.dims, sizes, [...data], share) as ForwardTable, data }
}
