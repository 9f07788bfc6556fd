/** What the steps of planning share: buffers and kernels made so far, and what each of them costs. */

import type { Session } from '../diagnostics.ts'
import { substitute, type Expr } from '../ir.ts'
import type { Code, MessageArgs } from '../messages.ts'
import type { PatternIr } from '../plan.ts'
import { tokensOf } from './axes.ts'
import type { FilterRange } from './filter-range.ts'
import type { Patches } from './patches.ts'
import { type Axis, type Share, type StageGraph, type StageNode, type Word } from './graph.ts'
import { guardsOf, keptNodes, type Guard } from './guards.ts'
import {
  CHUNK_BYTES,
  type Finer,
  type Holds,
  type StageBuffer,
  type StageKernel,
  type StagePlan,
  type Step,
} from './plan.ts'
import { operandsOf } from './reads.ts'
import { growth, type Sizes } from './sizes.ts'
import type { Typing } from './typing.ts'
import { workOf } from './work.ts'

type Filled = 'name' | 'flops' | 'bytes' | 'when' | 'keep' | 'reads'
/** What is said of a kernel; the planner fills in the rest. */
export type KernelWish = (StageKernel extends infer K
  ? K extends StageKernel
    ? Omit<K, Filled>
    : never
  : never) & {
  readonly reads: Iterable<StageBuffer>
  /** The nodes that are computed in it. */
  readonly computes: readonly StageNode[]
}

/** What few buffers have. */
export interface BufferWish {
  readonly finer?: Finer | null
  readonly axis?: Axis | null
  /** Of the name, where a node has several buffers of a kind. */
  readonly suffix?: string
}

export class Planner {
  readonly typing: Typing
  readonly graph: StageGraph
  readonly pattern: PatternIr
  readonly session: Session
  readonly stored = new Map<StageNode, readonly StageBuffer[]>()
  readonly filters = new Map<StageNode, FilterRange>()
  readonly patches = new Map<StageNode, Patches>()
  /** What the chunk that is being planned has stored for its own kernels, and what it will. */
  readonly ofChunk = new Map<StageNode, readonly StageBuffer[]>()
  readonly #buffers: StageBuffer[] = []
  readonly #steps: Step[] = []
  readonly #prepare: (p: Planner, node: StageNode) => ReadonlySet<StageBuffer>
  readonly #guard: (node: StageNode) => Guard
  readonly #numbers: ReadonlyMap<StageNode, number>
  /** Nodes whose buffers a later call may read. */
  readonly #kept: ReadonlySet<StageNode>
  readonly #users = new Map<StageNode, Set<StageNode>>()
  /** The kernels of the chunks that are being planned, and all their units; null outside of chunks. */
  #chunk: { readonly kernels: StageKernel[]; readonly units: Expr } | null = null

  constructor(
    typing: Typing,
    graph: StageGraph,
    pattern: PatternIr,
    session: Session,
    prepare: (p: Planner, node: StageNode) => ReadonlySet<StageBuffer>,
  ) {
    this.#prepare = prepare
    this.typing = typing
    this.graph = graph
    this.pattern = pattern
    this.session = session
    this.#guard = guardsOf(typing.sizes.ir, graph)
    this.#kept = keptNodes(graph)
    this.#numbers = new Map(graph.nodes.map((node, i) => [node, i]))
    for (const node of graph.nodes)
      for (const operand of operandsOf(node))
        this.#users.set(operand, (this.#users.get(operand) ?? new Set()).add(node))
  }

  get sizes(): Sizes {
    return this.typing.sizes
  }

  /** Sees to it that a kernel can read the values, kernels before it; the buffers that this reads. */
  prepare(...nodes: readonly StageNode[]): Set<StageBuffer> {
    return new Set(nodes.flatMap((node) => [...this.#prepare(this, node)]))
  }

  /** The nodes of scores that are evaluated wherever `node` is: down to what is stored. */
  virtualUnder(node: StageNode): StageNode[] {
    const seen = new Set<StageNode>()
    // Statistics of a softmax are stored, and its cells are not.
    const isStored = (n: StageNode) =>
      [...(this.stored.get(n) ?? []), ...(this.ofChunk.get(n) ?? [])].some((b) => b.holds === 'scores')
    const go = (n: StageNode): void => {
      if (seen.has(n) || n.type.kind !== 'scores' || isStored(n)) return
      seen.add(n)
      n.src.forEach(go)
    }
    go(node)
    return [...seen]
  }

  /** True if nobody but `user` reads the node. */
  isOnlyFor(node: StageNode, user: StageNode): boolean {
    const users = this.#users.get(node)
    return users !== undefined && users.size === 1 && users.has(user)
  }

  /** The words that read a node. */
  readersOf(node: StageNode): readonly Word[] {
    return [...(this.#users.get(node) ?? [])].map((user) => user.word)
  }

  /** True if calls need the one node whenever they need the other. */
  isNeededAs(a: StageNode, b: StageNode): boolean {
    const [one, other] = [this.#guard(a), this.#guard(b)]
    return one.when === other.when && one.keep === null && other.keep === null
  }

  report<C extends Code>(code: C, node: StageNode, args: MessageArgs<C>): void {
    this.session.report(code, node.span, args)
  }

  /** A new buffer of a node: `dims` after batch and sharers. */
  buffer(
    node: StageNode,
    holds: Holds,
    share: Share,
    dims: readonly Expr[],
    life: StageBuffer['life'] = this.#kept.has(node) ? 'kept' : 'call',
    { finer = null, axis = null, suffix = '' }: BufferWish = {},
  ): StageBuffer {
    const { sizes } = this
    const shape = [sizes.var('batches'), sizes.sharers(share), ...dims]
    const made: StageBuffer = {
      name: `${holds}${this.#numbers.get(node) ?? ''}${suffix}`,
      holds,
      node,
      dtype: DTYPES[holds],
      share,
      shape,
      bytes: sizes.product(...shape, sizes.num(4)),
      life,
      finer,
      axis,
    }
    this.#buffers.push(made)
    // A chunk's rows are there for its own kernels alone.
    if (life !== 'chunk') this.stored.set(node, [...(this.stored.get(node) ?? []), made])
    return made
  }

  kernel({ computes, reads, ...wish }: KernelWish): void {
    const { sizes } = this
    const { when, keep } = this.#guard(wish.node)
    const work = computes.map((node) => workOf(this, node, computes))
    const inputs = computes.flatMap((node) => node.src.filter((s) => s.word === 'input'))
    const moved = [
      ...[...reads, ...wish.writes].map((b) => this.#inAll(b.bytes)),
      ...[...new Set(inputs)].map((n) =>
        sizes.product(sizes.var('batches'), sizes.cells(n.type), sizes.num(4)),
      ),
    ]
    const made = {
      ...wish,
      name: `${wish.kind}${this.#numbers.get(wish.node) ?? ''}`,
      reads: [...reads],
      flops: sizes.product(sizes.var('batches'), sizes.sum(...work)),
      bytes: sizes.sum(...moved),
      when,
      keep,
    } as StageKernel
    if (this.#chunk) this.#chunk.kernels.push(made)
    else this.#steps.push({ kind: 'once', kernel: made })
  }

  /**
   * Plans kernels that run for one chunk of q units after another; `row` is the bytes of a unit's row, of one sharer. Chunks of more
   * than `tile` units are of whole tiles.
   */
  chunked(axis: Axis, share: Share, row: Expr, tile: number, plan: (rows: Expr) => void): void {
    const { sizes } = this
    const { ir } = sizes
    const one = sizes.product(sizes.var('batches'), sizes.sharers(share), row)
    const units = sizes.units(axis)
    const most = ir.make('floorDiv', [sizes.num(CHUNK_BYTES), sizes.max(sizes.num(1), one)])
    const whole = sizes.product(sizes.floorDiv(most, tile), sizes.num(tile))
    const fit = tile === 1 ? most : sizes.max(whole, sizes.min(most, sizes.num(tile)))
    const rows = sizes.max(sizes.num(1), sizes.min(fit, units))
    const count = ir.make('floorDiv', [sizes.sum(units, rows, sizes.num(-1)), rows])
    this.#chunk = { kernels: [], units }
    plan(sizes.var('chunk'))
    this.#steps.push({ kind: 'chunks', axis, rows, count, kernels: this.#chunk.kernels })
    this.#chunk = null
  }

  /** Refuses a buffer with a place for each pair of tokens. */
  checkSize(buffer: StageBuffer, q: Axis, kv: Axis): void {
    if (growth(buffer.bytes) < 2 || tokensOf(q.units) > 1 || tokensOf(kv.units) > 1) return
    const { word } = buffer.node
    this.report('quadratic-buffer', buffer.node, { word: SPELLED[word] ?? word })
  }

  /** A size of a chunk's kernel as it is for all chunks together. */
  #inAll(size: Expr): Expr {
    return this.#chunk ? ofChunk(this.sizes, size, this.#chunk.units) : size
  }

  finish(): StagePlan {
    const { sizes } = this
    const total = (life: StageBuffer['life']) =>
      sizes.sum(...this.#buffers.filter((b) => b.life === life).map((b) => b.bytes))
    // One chunk's buffers are given back before the next step: the space of the largest serves all.
    const chunks = this.#steps.flatMap((step) => {
      if (step.kind !== 'chunks') return []
      const own = step.kernels.flatMap((k) => k.writes).filter((b) => b.life === 'chunk')
      return [sizes.sum(...own.map((b) => ofChunk(sizes, b.bytes, step.rows)))]
    })
    const most = chunks.length === 0 ? sizes.num(0) : chunks.reduce((a, b) => sizes.max(a, b))
    return {
      graph: this.graph,
      typing: this.typing,
      pattern: this.pattern,
      stored: this.stored,
      filters: this.filters,
      patches: this.patches,
      steps: this.#steps,
      buffers: this.#buffers,
      workspace: sizes.sum(total('call'), most),
      keptBytes: total('kept'),
    }
  }
}

const ofChunk = ({ ir }: Sizes, size: Expr, rows: Expr): Expr =>
  substitute(ir, size, (e) => (e.op === 'var' && e.arg === 'chunk' ? rows : undefined))

const DTYPES: Readonly<Record<Holds, StageBuffer['dtype']>> = {
  rows: 'f32',
  codes: 'u32',
  scales: 'f32',
  scores: 'f32',
  max: 'f32',
  sum: 'f32',
  counts: 'i32',
  ids: 'i32',
  spans: 'i32',
  bits: 'u32',
  order: 'i32',
  extents: 'i32',
  state: 'f32',
}

const SPELLED: Partial<Readonly<Record<Word, string>>> = {
  poolScores: 'pool',
  poolSet: 'pool',
  poolRows: 'pool',
}
