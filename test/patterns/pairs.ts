/** A pattern, sizes, params and tables in; a function that asks it for one pair out. */

import { elementTables, type PairIndex, type Pattern, type TableView } from '../../dsl/index.ts'
import { exampleParams, exampleTables } from '../../patterns/index.ts'

export interface Sizes {
  readonly qLen: number
  readonly kvLen: number
  readonly heads: number
  readonly kvHeads: number
  readonly batch: number
}

export interface Inputs {
  readonly params?: Readonly<Record<string, number | readonly number[]>>
  readonly tables?: Readonly<Record<string, Int32Array | Float32Array | readonly number[]>>
  readonly consts?: Readonly<Record<string, number>>
}

/** Square, one batch entry, as many kv heads as heads. */
export const square = (length: number, heads = 1): Sizes => ({
  qLen: length,
  kvLen: length,
  heads,
  kvHeads: heads,
  batch: 1,
})

export function recordOf(pattern: Pattern, sizes: Sizes, inputs: Inputs = {}) {
  const { qLen, kvLen, heads, kvHeads, batch: batches } = sizes
  const consts = { ...pattern.consts, ...inputs.consts }
  const axes = { batch: batches, head: heads, kvHead: kvHeads, qLen, kvLen, ...consts }
  const views: Record<string, TableView> = {}
  for (const [name, { dims }] of elementTables(pattern.tables)) {
    const shape = dims.map((d) => (typeof d === 'number' ? d : new Map(Object.entries(axes)).get(d)!))
    const values = inputs.tables?.[name]
    const size = shape.reduce((a, b) => a * b, 1)
    if (values?.length !== size) throw new Error(`table ${name} needs ${size} values, has ${values?.length}`)
    views[name] = {
      at: (...index) => {
        if (index.some((i, d) => !(i >= 0 && i < shape[d]!))) return 0
        return values[index.reduce((at, i, d) => at * shape[d]! + i, 0)]!
      },
    }
  }
  return (head: number, q: number, kv: number, batch = 0): PairIndex => {
    const own: Record<string, number | TableView> = { ...consts, ...views }
    for (const [name, spec] of Object.entries(pattern.params)) {
      const given = inputs.params?.[name] ?? spec.default
      own[name] = typeof given === 'number' ? given : given[head]!
    }
    const kvHead = Math.floor(head / (heads / kvHeads))
    return { ...own, batch, head, kvHead, q, kv, qLen, kvLen, qHeads: heads, kvHeads, headDim: 64 }
  }
}

/** Whether head h's query at absolute position q keeps the key at kv. */
export function keeps(pattern: Pattern, sizes: Sizes, inputs: Inputs = {}) {
  const record = recordOf(pattern, sizes, inputs)
  return (head: number, q: number, kv: number, batch = 0): boolean => pattern.mask(record(head, q, kv, batch))
}

/** The keys that a query keeps, in order. */
export function keysOf(pattern: Pattern, sizes: Sizes, inputs: Inputs = {}) {
  const kept = keeps(pattern, sizes, inputs)
  return (head: number, q: number): number[] => range(0, sizes.kvLen).filter((kv) => kept(head, q, kv))
}

/** The inputs of a library pattern's example at these sizes. */
export const exampleInputs = (name: string, sizes: Sizes, seed = 1): Inputs => ({
  params: exampleParams(name, sizes.heads),
  tables: exampleTables(name, { ...sizes, qHeads: sizes.heads }, seed),
})

/** lo, lo + 1, .. below hi. */
export const range = (lo: number, hi: number): number[] =>
  Array.from({ length: Math.max(0, hi - lo) }, (_, i) => lo + i)
