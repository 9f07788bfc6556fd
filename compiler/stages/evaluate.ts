/**
 * What a stage graph gives on small tensors: its nodes in, run by the words of the language themselves with functions read
 * from expressions; the state or output of its result out. The law that lowering keeps a program's meaning is tested by it.
 */

import {
  argmax,
  argsort,
  attend,
  blocks,
  channels,
  chunks,
  clusters,
  concat,
  count,
  difference,
  dot,
  gated,
  intersect,
  linear,
  map,
  merge,
  permute,
  pool,
  quantize,
  range,
  residues,
  reuse,
  rope,
  skew,
  slice,
  softmax,
  split,
  tokens,
  topK,
  topP,
  union,
  unskew,
  values,
  where,
  whole,
  windows,
  within,
  type ForwardTable,
  type IndexRecord,
  type Output,
  type Rows,
  type State,
  type Unit,
  type UnitPair,
} from '../../dsl/index.ts'
import { headIndex, qTokens, kvTokens, type Call } from '../../dsl/stages/call.ts'
import { wholeOf } from '../../dsl/stages/score-words.ts'
import { scoresOf, VISIBLE } from '../../dsl/stages/scores.ts'
import { evaluate, type Environment, type Expr } from '../ir.ts'
import { UNIT_FIELDS, unitVar, type UnitSlot, type VarName } from '../vars.ts'
import {
  isEverything,
  type Args,
  type Grouping,
  type StageGraph,
  type StageNode,
  type Word,
} from './graph.ts'

type Vars = Partial<Record<VarName, number>>

export interface GraphInputs {
  readonly call: Call
  readonly rows: (name: string) => Rows
  readonly table: (name: string) => ForwardTable
  /** The leaves of expressions for a head, beside the variables given. */
  readonly environment: (head: number, vars: Vars) => Environment
}

export const evaluateGraph = (graph: StageGraph, inputs: GraphInputs): State | Output =>
  evaluateNodes(graph, inputs).get(graph.result) as State | Output

/** The value of every node. */
export function evaluateNodes(graph: StageGraph, inputs: GraphInputs): ReadonlyMap<StageNode, unknown> {
  const made = new Map<StageNode, unknown>()
  const run = new Runner(inputs, (node) => made.get(node))
  for (const node of graph.nodes) made.set(node, run.node(node))
  return made
}

type Runs = { readonly [W in Word]: (r: Runner, node: StageNode<W>, src: readonly never[]) => unknown }

class Runner {
  readonly inputs: GraphInputs
  readonly valueOf: (node: StageNode) => unknown

  constructor(inputs: GraphInputs, valueOf: Runner['valueOf']) {
    this.inputs = inputs
    this.valueOf = valueOf
  }

  node(node: StageNode): unknown {
    const run = RUNS[node.word] as (r: Runner, node: StageNode, src: readonly unknown[]) => unknown
    return run(this, node, node.src.map(this.valueOf))
  }

  number(e: Expr, vars: Vars): number {
    return Number(evaluate(e, this.inputs.environment(vars.head ?? 0, vars)))
  }

  /** A number of params and lengths. */
  amount(e: Expr): number {
    return this.number(e, {})
  }

  condition(e: Expr, vars: Vars): boolean {
    return evaluate(e, this.inputs.environment(vars.head ?? 0, vars)) === true
  }

  grouping(g: Grouping): never {
    return this.#grouping(g) as never
  }

  #grouping(g: Grouping): unknown {
    switch (g.kind) {
      case 'token':
        return tokens
      case 'whole':
        return whole
      case 'block':
        return blocks(g.size)
      case 'window':
        return windows(g.size, g.step)
      case 'residue':
        return residues(g.step)
      case 'chunk':
        return chunks(this.inputs.table(g.ends))
      case 'cluster':
        return clusters(this.inputs.table(g.labels!))
      case 'units':
        return this.valueOf(g.of)
      default:
        throw new Error(`${g.kind} is no way to cut tokens`)
    }
  }
}

const unitVars = (slot: UnitSlot, unit: Unit): Vars =>
  Object.fromEntries(UNIT_FIELDS.map((field) => [unitVar(slot, field), unit[field]]))

const cellVars = ({ batch, head, kvHead, q, kv }: UnitPair): Vars => ({
  batch,
  head,
  kvHead,
  ...unitVars('q', q),
  ...unitVars('kv', kv),
})

const OPERANDS = ['s', 't', 'u'] as const
/** Operands, then what a function sees of the cell. */
const withOperands = (args: readonly unknown[]): Vars => ({
  ...Object.fromEntries(args.slice(0, -1).map((x, i) => [OPERANDS[i]!, x as number])),
  ...cellVars(args.at(-1) as UnitPair),
})

/** What of the options is given. */
const given = <T extends object>(options: T): never =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null)) as never

const perOf = (r: Runner, per: Args['topK']['per']): unknown =>
  per === 'row' ? null : per === 'head' ? 'head' : r.grouping(per)

const choiceOf = (r: Runner, { force, forced, per }: Args['topK'] | Args['topP']) => ({
  force: force && ((ix: UnitPair) => r.condition(force, cellVars(ix))),
  forced,
  per: perOf(r, per),
})

const targetOf = (r: Runner, { q, kv, share }: Args['poolScores'] | Args['poolSet']) =>
  given({ q: q && r.grouping(q), kv: kv && r.grouping(kv), share })

const RUNS: Runs = {
  input: (r, n) => r.inputs.rows(n.arg.name),
  fill: (r, { arg: { value, share, rows } }) => {
    const { call } = r.inputs
    const q = rows ? qTokens(call) : wholeOf(qTokens(call))
    return scoresOf(call, share, q, wholeOf(kvTokens(call)), ({ sharer, q: unit }) => ({
      value: r.number(value, { batch: call.batch, ...headIndex(sharer), q: unit.first }),
      visible: VISIBLE,
    }))
  },
  pairs: (r, n) => where((ix: IndexRecord) => r.condition(n.arg.keep, ix)),
  range: (r, { arg: { by, start, end } }) => {
    const at = (e: Expr, unit: Unit) => r.number(e, unitVars('unit', unit))
    return range(r.grouping(by), (unit) => [at(start, unit), at(end, unit)])
  },

  slice: (r, { arg: { start, end, step } }, [x]) =>
    slice(x!, r.amount(start), end === null ? undefined : r.amount(end), step),
  concat: (_r, _n, src) => concat(...(src as unknown as readonly [never])),
  channels: (r, n, [x]) => channels(x!, r.inputs.table(n.arg.table)),
  linear: (r, { arg: { weight, bias } }, [x]) =>
    linear(x!, r.inputs.table(weight), bias === null ? undefined : r.inputs.table(bias)),
  rope: (r, { arg: { position, base, pairs, width } }, [x]) =>
    rope(x!, (unit) => r.number(position, unitVars('unit', unit)), given({ base, pairs, width })),
  quantize: (_, n, [x]) => quantize(x!, n.arg.precision),
  poolRows: (r, { arg: { by, how, of } }, [x]) =>
    pool(x!, r.grouping(by), how, of ? (unit) => r.condition(of, unitVars('unit', unit)) : undefined),
  mapRows: (r, { arg: { value } }, [x, y]) =>
    y === undefined
      ? map(x!, (s: number, channel: number) => r.number(value, { s, channel }))
      : map(x! as Rows, y as Rows, (s, t) => r.number(value, { s, t })),
  permute: (_r, _n, [x, order]) => permute(x!, order!),

  dot: (r, { arg: { scale, visible } }, [a, b]) => dot(a!, b!, { scale: r.amount(scale), visible }),
  values: (r, n, [x]) =>
    values(x!, (unit, ix) => r.number(n.arg.value, { ...ix, ...unitVars('unit', unit) })),
  map: (r, n, src) =>
    map(
      ...([...src, (...args: readonly unknown[]) => r.number(n.arg.value, withOperands(args))] as never as [
        never,
        never,
      ]),
    ),
  softmax: (_r, _n, [s]) => softmax(s!),
  argmax: (_r, _n, [s]) => argmax(s!),
  skew: (_r, _n, [s]) => skew(s!),
  unskew: (_r, _n, [s]) => unskew(s!),
  within: (_r, _n, [s, set]) => within(s!, set!),
  poolScores: (r, { arg }, [s]) => {
    const { of, how } = arg
    const keeps =
      of &&
      (({ into, ...cell }: UnitPair & { readonly into: { readonly q: Unit; readonly kv: Unit } }) =>
        r.condition(of, {
          ...cellVars(cell),
          ...unitVars('into.q', into.q),
          ...unitVars('into.kv', into.kv),
        }))
    return pool(s!, targetOf(r, arg), how as never, (keeps ?? undefined) as never)
  },
  count: (_r, _n, [set]) => count(set!),
  stateMax: (_r, _n, [state]) => (state as unknown as State).max,
  stateLse: (_r, _n, [state]) => (state as unknown as State).lse,

  topK: (r, { arg }, [s, k]) => topK(s!, k!, given({ ...choiceOf(r, arg), sorted: arg.sorted })),
  topP: (r, { arg }, [s, p]) => topP(s!, p!, given({ ...choiceOf(r, arg), cross: arg.cross })),
  where: (r, n, src) =>
    where(
      ...([...src, (...args: readonly unknown[]) => r.condition(n.arg.keep, withOperands(args))] as never as [
        never,
        never,
      ]),
    ),
  poolSet: (r, { arg }, [set]) => pool(set!, targetOf(r, arg), arg.how as never),
  union: (_r, _n, src) => union(...(src as unknown as readonly [never])),
  intersect: (_r, _n, [set, ...others]) => intersect(set!, ...others),
  difference: (_r, _n, [set, ...others]) => difference(set!, ...others),
  split: (_, { arg: { by, amount } }, [set]) =>
    split(set!, by === 'parts' ? { parts: amount } : { size: amount }),

  argsort: (r, { arg: { descending, per } }, [s]) =>
    argsort(s!, given({ descending, per: per && r.grouping(per) })),

  attend: (r, node, [q, k, v, set, after]) => {
    const { arg } = node
    const { bias, position, skip, stop } = arg
    const options = {
      after: after ?? null,
      visible: arg.visible,
      bias: bias && ((ix: UnitPair) => r.number(bias, cellVars(ix))),
      position:
        position &&
        ((ix: { readonly q: Unit; readonly kv: Unit; readonly rank: number; readonly kept: number }) => {
          const vars = { ...unitVars('q', ix.q), ...unitVars('kv', ix.kv), rank: ix.rank, kept: ix.kept }
          return [r.number(position.q, vars), r.number(position.kv, vars)]
        }),
      tile: arg.tile,
      skip: skip && ((tile: Vars) => r.condition(skip, tile)),
      stop: stop && ((tile: Vars) => r.condition(stop, tile)),
    }
    const [, , , kept] = node.src
    return attend(q!, k!, v!, kept && isEverything(kept) ? undefined : set!, given(options))
  },
  merge: (_r, _n, src) => merge(...(src as unknown as readonly [never])),
  gated: (_r, _n, src) => gated(...src.flatMap((x, i) => (i % 2 === 0 ? [[x, src[i + 1]!] as const] : []))),
  choose: (r, n, [a, b]) => (r.condition(n.arg.when, {}) ? a : b),
  reuse: (r, { arg: { name, until } }, [made, rows]) => {
    const rule =
      until.kind === 'steps'
        ? { steps: r.amount(until.steps) }
        : until.kind === 'layers'
          ? { layers: true as const }
          : { similar: rows!, above: r.amount(until.above) }
    return reuse(name, () => made, rule)
  },
}
