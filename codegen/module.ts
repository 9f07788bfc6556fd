/** Module: what a file of generated text holds besides its entry points: uniforms, buffers, tables, constants, functions. */

import type { Dim, ParamInfo, TableInfo } from '../compiler/plan.ts'
import type { UniformField } from './artifact.ts'
import { Block } from './block.ts'
import {
  add,
  and,
  at,
  i32,
  le,
  lt,
  mul,
  name,
  select,
  toU32,
  type Buffer,
  type Code,
  type ConstantArray,
  type FunctionDecl,
  type Memory,
  type Parameter,
  type Type,
} from './kernel.ts'
import { Names } from './names.ts'

/** What text may speak of by name. */
export interface Scope {
  /** The first fields of the uniform block; scalar params follow. */
  readonly fixed: readonly UniformField[]
  readonly params: readonly ParamInfo[]
  readonly tables: readonly TableInfo[]
  readonly headDim: number
  readonly reserved: ReadonlySet<string>
}

/** Which declared thing a buffer holds, where its role does not tell. */
export interface Of {
  readonly table?: string
  readonly part?: number
  /** A stored value of a stage plan. */
  readonly stored?: string
  /** Declared rows. */
  readonly rows?: string
}

/** `Role` names what buffers are for; a table's is 'table'. */
export class Module<Role extends string> {
  readonly names: Names
  readonly fields: { readonly field: UniformField; readonly text: string }[] = []
  readonly buffers: (Of & { readonly buffer: Buffer; readonly role: Role })[] = []
  readonly constants: ConstantArray[] = []
  readonly functions: FunctionDecl[] = []
  readonly uniforms: string
  readonly #scope: Scope
  readonly #tables = new Map<string, FunctionDecl>()

  constructor(scope: Scope) {
    this.#scope = scope
    this.names = new Names(scope.reserved)
    this.uniforms = this.names.fresh('u')
    const fieldNames = new Names(scope.reserved)
    const scalars = scope.params.filter((p) => !p.perHead).map(({ name: n, type }) => ({ name: n, type }))
    for (const field of [...scope.fixed, ...scalars])
      this.fields.push({ field, text: fieldNames.fresh(field.name) })
  }

  add(role: Role, wish: string, access: Buffer['access'], type: Type, of: Of = {}, atomic = false): Buffer {
    const buffer: Buffer = {
      name: this.names.fresh(wish),
      binding: this.buffers.length + 1,
      access,
      type,
      atomic,
    }
    this.buffers.push({ buffer, role, ...of })
    return buffer
  }

  buffer(role: Role): Buffer {
    return this.buffers.find((b) => b.role === role)!.buffer
  }

  /** A field of the uniform block; a param may be called like a fixed field and stands after those. */
  uniform(field: string, param = false): Code {
    const found = this.fields.find(
      (f, i) => f.field.name === field && i >= this.#scope.fixed.length === param,
    )!
    return name(found.field.type, `${this.uniforms}.${found.text}`)
  }

  workgroup(wish: string, type: Type, dims: readonly number[], atomic = false): Memory {
    return { name: this.names.fresh(wish), type, dims, atomic }
  }

  extent(dim: Dim): Code {
    if (typeof dim === 'number') return i32(dim)
    switch (dim) {
      case 'batch':
        return this.uniform('batches')
      case 'head':
        return this.uniform('qHeads')
      case 'kvHead':
        return this.uniform('kvHeads')
      case 'qLen':
        return this.uniform('qRows')
      case 'kvLen':
        return this.uniform('kvRows')
      case 'headDim':
        return i32(this.#scope.headDim)
      case 'indexHead':
        return this.uniform('indexHeads')
    }
  }

  /** A guarded, row-major read; its function is made on the first use. */
  load(table: string, indices: readonly Code[]): Code {
    const info = this.#scope.tables.find((t) => t.name === table)!
    let decl = this.#tables.get(table)
    if (!decl) {
      decl = this.#tableFunction(info)
      this.#tables.set(table, decl)
      this.functions.push(decl)
    }
    return { kind: 'call', type: info.type, callee: decl.name, args: indices }
  }

  #tableFunction(info: TableInfo): FunctionDecl {
    const buffer = this.add('table' as Role, `${info.name}Data`, 'read', info.type, { table: info.name })
    const callee = this.names.fresh(`${info.name}At`)
    const block = new Block(this.names.child())
    const parameters: Parameter[] = info.dims.map((_, i) => ({
      name: block.names.fresh(`i${i}`),
      type: 'i32',
    }))
    const indices = parameters.map((p) => name('i32', p.name))
    const extents = info.dims.map((d) => this.extent(d))
    const inside = block.let('inside', and(...indices.flatMap((x, i) => [le(i32(0), x), lt(x, extents[i]!)])))
    const flat = indices.reduce((sum, x, i) => add(mul(sum, extents[i]!), x), i32(0))
    const value = at(buffer, toU32(select(inside, flat, i32(0))))
    block.return(
      select(inside, value, info.type === 'i32' ? i32(0) : { kind: 'literal', type: 'f32', value: 0 }),
    )
    return { name: callee, parameters, result: info.type, body: block.stmts }
  }

  pick(values: readonly number[], type: 'i32' | 'f32', index: Code): Code {
    let array = this.constants.find(
      (c) =>
        c.type === type && c.values.length === values.length && c.values.every((v, i) => v === values[i]),
    )
    if (!array) {
      array = { name: this.names.fresh('values'), type, values }
      this.constants.push(array)
    }
    return { kind: 'at', type, memory: array.name, indices: [index] }
  }
}
