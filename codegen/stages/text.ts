/** StageText: the file of one stage kernel: uniforms, inputs, stored values, and the pattern's expressions as code. */

import type { Expr } from '../../compiler/ir.ts'
import type { ParamInfo, PatternIr } from '../../compiler/plan.ts'
import type { Axis, RowsInput, Share, StageNode } from '../../compiler/stages/graph.ts'
import type { Patches } from '../../compiler/stages/patches.ts'
import type { Holds, StageBuffer } from '../../compiler/stages/plan.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import type { VarName } from '../../compiler/vars.ts'
import { META_PER_BATCH, STAGE_FIELDS, type Dtype, type StageBinding } from '../artifact.ts'
import { Block } from '../block.ts'
import { Values, write, type Leaves } from '../expr.ts'
import { add, at, i32, mul, name, op, quotient, type Buffer, type Code, type Type } from '../kernel.ts'
import { Module } from '../module.ts'
import type { RowSchedules } from '../schedule.ts'

export type StageRole = 'meta' | 'q' | 'k' | 'v' | 'out' | 'lse' | 'rows' | 'stored' | 'table'

/** What all kernels of a pattern share. */
export interface StageProblem {
  readonly pattern: PatternIr
  readonly sizes: Sizes
  readonly buffers: readonly StageBuffer[]
  readonly patches: ReadonlyMap<StageNode, Patches>
  /** Of a chunk's kernel: its rows are finer than the units that the chunk counts. */
  readonly isFiner: boolean
  readonly inputs: readonly RowsInput[]
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: Dtype
  /** How workgroups go over rows of cells. */
  readonly rows: RowSchedules
  /** Threads of a workgroup that shuffles bring together; 1: none. */
  readonly lanes: number
}

const ofCall = (wish: string, type: 'i32' | 'f32'): ParamInfo => ({
  name: wish,
  type,
  default: 0,
  min: 0,
  max: 2 ** 20,
  perHead: false,
})

/** Sharer `sharer` of a level, of a batch entry. */
export interface Sharer {
  readonly batch: Code
  readonly share: Share
  readonly at: Code
}

export type Vars = Partial<Record<VarName, Code>>
export type Scope = Sharer & { readonly vars?: Vars }

const INPUT_ROLES = { Q: 'q', K: 'k', V: 'v' } as const
const TYPES = { f32: 'f32', i32: 'i32', u32: 'u32' } as const satisfies Record<string, Type>

export class StageText extends Module<StageRole> {
  readonly problem: StageProblem
  readonly #stored = new Map<StageBuffer, Buffer>()
  readonly #writes: ReadonlySet<StageBuffer>

  constructor(problem: StageProblem, writes: readonly StageBuffer[], reserved: ReadonlySet<string>) {
    const { pattern, headDim } = problem
    // Known when the call is: widths of declared rows, and the greatest value of a param per head, which sizes mean.
    const widths = problem.inputs.map(({ name: n }) => ofCall(`${n}.channels`, 'i32'))
    const greatest = pattern.params.flatMap((p) => (p.perHead ? [ofCall(`${p.name}.most`, p.type)] : []))
    const params = [...pattern.params, ...widths, ...greatest]
    super({ fixed: STAGE_FIELDS, params, tables: pattern.tables, headDim, reserved })
    this.problem = problem
    this.#writes = new Set(writes)
  }

  /** A buffer of the plan, bound when it is first spoken of. Written ones may be read back by the kernel that writes. */
  stored(buffer: StageBuffer): Buffer {
    const known = this.#stored.get(buffer)
    if (known) return known
    const access = this.#writes.has(buffer) ? 'read_write' : 'read'
    const made = this.add('stored', buffer.name, access, TYPES[buffer.dtype], { stored: buffer.name })
    this.#stored.set(buffer, made)
    return made
  }

  /** Binds what another text of the kernel does, in its order. */
  bind(bindings: readonly StageBinding[]): void {
    for (const { role, stored, rows, table } of bindings) {
      switch (role) {
        case 'uniforms':
          break
        case 'meta':
          this.#meta()
          break
        case 'out':
        case 'lse':
          this.output(role)
          break
        case 'stored':
          this.stored(this.problem.buffers.find((b) => b.name === stored)!)
          break
        case 'table': {
          const { dims } = this.problem.pattern.tables.find((t) => t.name === table)!
          this.load(
            table!,
            dims.map(() => i32(0)),
          )
          break
        }
        default:
          this.input(rows ?? role.toUpperCase())
      }
    }
  }

  /** The buffer that holds something of a node; null if its value is evaluated wherever it is needed. */
  find(node: StageNode, ...holds: readonly Holds[]): StageBuffer | null {
    return this.problem.buffers.find((b) => b.node === node && holds.includes(b.holds)) ?? null
  }

  /** Where the units of an axis in an order lie in their own; null: each token is asked. */
  extents(axis: Axis): StageBuffer | null {
    return this.problem.buffers.find((b) => b.axis === axis) ?? null
  }

  writes(buffer: StageBuffer): boolean {
    return this.#writes.has(buffer)
  }

  /** A tensor of the call. */
  input(which: string): { readonly buffer: Buffer; readonly role: 'q' | 'k' | 'v' | 'rows' } {
    const role = Object.hasOwn(INPUT_ROLES, which) ? INPUT_ROLES[which as keyof typeof INPUT_ROLES] : 'rows'
    const halves = role !== 'rows' && this.problem.dtype === 'f16'
    const found = this.buffers.find((b) => b.role === role && (role !== 'rows' || b.rows === which))?.buffer
    const buffer =
      found ??
      this.add(role, `${which}Data`, 'read', halves ? 'u32' : 'f32', role === 'rows' ? { rows: which } : {})
    return { buffer, role }
  }

  /** What the call wants: the output in its own type, and the log-sum-exp by its bits. */
  output(role: 'out' | 'lse'): Buffer {
    const known = this.buffers.find((b) => b.role === role)?.buffer
    const words = role === 'lse' || this.problem.dtype === 'f16'
    return known ?? this.add(role, `${role}Data`, 'read_write', words ? 'u32' : 'f32')
  }

  #meta(): Buffer {
    return this.buffers.find((b) => b.role === 'meta')?.buffer ?? this.add('meta', 'metaData', 'read', 'i32')
  }

  get qLen(): Code {
    return this.uniform('qRows')
  }
  get kvLen(): Code {
    return this.uniform('kvRows')
  }
  /** The position of the first query. */
  get qStart(): Code {
    return op('i32', 'sub', this.kvLen, this.qLen)
  }

  sharers(share: Share): Code {
    switch (share) {
      case 'request':
        return i32(1)
      case 'kvHead':
        return this.uniform('kvHeads')
      case 'head':
        return this.uniform('qHeads')
      case 'indexHead':
        return this.uniform('indexHeads')
    }
  }

  /** Query heads of a kv head. */
  get group(): Code {
    return quotient(this.uniform('qHeads'), this.uniform('kvHeads'))
  }

  /** The sharer of a coarser level that one of a finer level belongs to. */
  coarser({ share, at }: Sharer, to: Share): Code {
    if (share === to) return at
    return to === 'kvHead' ? quotient(at, this.group) : i32(0)
  }

  /** The heads that a function sees: a sharer's own, or the first of those it stands for. */
  #heads({ share, at }: Sharer): { head: Code; kvHead: Code } {
    switch (share) {
      case 'head':
        return { head: at, kvHead: quotient(at, this.group) }
      case 'kvHead':
        return { head: mul(at, this.group), kvHead: at }
      case 'request':
        return { head: i32(0), kvHead: i32(0) }
      case 'indexHead':
        return { head: at, kvHead: i32(0) }
    }
  }

  /** An expression's value; `vars` are what the word gives its function, `values` what is known already. */
  write(block: Block, e: Expr, scope: Scope, values = new Values()): Code {
    return write(block, this.#leaves(scope), values, e)
  }

  /** A size, which hangs on lengths and params alone. */
  size(e: Expr): Code {
    // Sizes are small sums; one that uses a part of itself twice becomes a function.
    const block = new Block(this.names.child())
    const made = write(block, this.#sizeLeaves(), new Values(), e)
    if (block.stmts.length === 0) return made
    return this.#sized(e)
  }

  readonly #sizes = new Map<Expr, string>()
  #sized(e: Expr): Code {
    let callee = this.#sizes.get(e)
    if (callee === undefined) {
      callee = this.names.fresh('size')
      this.#sizes.set(e, callee)
      const block = new Block(this.names.child())
      block.return(write(block, this.#sizeLeaves(), new Values(), e))
      this.functions.push({ name: callee, parameters: [], result: 'i32', body: block.stmts })
    }
    return { kind: 'call', type: 'i32', callee, args: [] }
  }

  #sizeLeaves(): Leaves {
    const leaves = this.#leaves({ batch: i32(0), share: 'request', at: i32(0) })
    const isPerHead = (p: string) => this.problem.pattern.params.some((i) => i.name === p && i.perHead)
    return { ...leaves, param: (p) => (isPerHead(p) ? this.uniform(`${p}.most`, true) : leaves.param(p)) }
  }

  #leaves(scope: Scope): Leaves {
    const { pattern, headDim, valueDim } = this.problem
    const heads = this.#heads(scope)
    const typed = (type: 'i32' | 'f32', e: Code): Code => (type === 'f32' ? op('f32', 'bitsFloat', e) : e)
    const perHead = pattern.params.filter((p) => p.perHead)
    const past = mul(this.uniform('batches'), i32(META_PER_BATCH))
    const qHeads = this.uniform('qHeads')
    return {
      var: (v) => {
        const given = scope.vars?.[v]
        if (given) return given
        switch (v) {
          case 'batch':
            return scope.batch
          case 'head':
          case 'kvHead':
            return heads[v]
          case 'qLen':
            return this.qLen
          case 'kvLen':
            return this.kvLen
          case 'scale':
            return this.uniform('scale')
          case 'headDim':
            return i32(headDim)
          case 'valueDim':
            return i32(valueDim)
          case 'qHeads':
          case 'kvHeads':
          case 'batches':
          case 'indexHeads':
            return this.uniform(v)
          default:
            throw new Error(`no kernel knows ${v} here`)
        }
      },
      param: (p) => {
        const i = perHead.findIndex((info) => info.name === p)
        if (i < 0) return this.uniform(p, true)
        const word = at(this.#meta(), add(add(past, mul(i32(i), qHeads)), heads.head))
        return typed(perHead[i]!.type, word)
      },
      derived: (d) => {
        const i = pattern.derived.findIndex((info) => info.name === d)
        const start = add(past, mul(i32(perHead.length), qHeads))
        const mine = add(mul(add(mul(i32(i), this.uniform('batches')), scope.batch), qHeads), heads.head)
        return typed(pattern.derived[i]!.type, at(this.#meta(), add(start, mine)))
      },
      load: (table, indices) => this.load(table, indices),
      pick: (values, type, index) => this.pick(values, type, index),
    }
  }

  /** A function, made once under a key; its parameters are of the arguments' types. */
  readonly #functions = new Map<string, string>()
  call(
    key: string,
    type: Type,
    parameters: readonly string[],
    args: readonly Code[],
    build: (block: Block, args: readonly Code[]) => void,
  ): Code {
    let callee = this.#functions.get(key)
    if (callee === undefined) {
      callee = this.names.fresh(key)
      this.#functions.set(key, callee)
      const block = new Block(this.names.child())
      const made = parameters.map((p, i) => ({ name: block.names.fresh(p), type: args[i]!.type }))
      build(
        block,
        made.map((p) => name(p.type, p.name)),
      )
      this.functions.push({ name: callee, parameters: made, result: type, body: block.stmts })
    }
    return { kind: 'call', type, callee, args }
  }
}
