/** A pattern's declarations and lengths in; values for its tables and params to look at it with out. */

import { hash } from '../../dsl/math.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { Dim, PatternIr, TableInfo } from '../../compiler/plan.ts'
import { EXAMPLES, exampleParams, exampleTables, type Example } from '../../patterns/examples.ts'
import { rowsShape } from '../stage-sizes.ts'
import type { Tensor } from '../tensor.ts'
import type { Sizes } from './setting.ts'

export interface Inputs {
  readonly params: Readonly<Record<string, number | readonly number[]>>
  readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
}

/** What the help says of tables whose contents nobody gave. */
export const GENERATED = `A pattern of the library is looked at with its example's lengths, params and tables, unless a flag says otherwise. Of other
patterns the params take their defaults, and tables get generated contents, the same for the same --seed: an i32 table along
qLen or kvLen is cut into runs and holds the position where the element's run starts (or the run's number, where the
declared bounds are narrower than the length); another i32 table holds small whole numbers, an f32 table numbers from -1 to
1, all within the declared bounds.`

/** The example of a library pattern; a pattern of the same name with other params or tables is not one. */
export function exampleOf(p: PatternIr): Example | null {
  const example = Object.hasOwn(EXAMPLES, p.name) ? EXAMPLES[p.name] : undefined
  if (!example) return null
  const fits = (name: string, value: number | readonly number[]) => {
    const info = p.params.find((i) => i.name === name)
    return (
      info !== undefined &&
      [value].flat().every((v) => v >= info.min && v <= info.max) &&
      (info.perHead || typeof value === 'number')
    )
  }
  const sameTables =
    p.tables
      .map((t) => t.name)
      .sort()
      .join() === Object.keys(example.tables).sort().join()
  return sameTables && Object.entries(example.params).every(([name, value]) => fits(name, value))
    ? example
    : null
}

/** Params and the contents of every table: the example's, or the defaults and generated contents. */
export function inputsOf(pattern: PatternIr, sizes: Sizes, batch = 1): Inputs {
  if (exampleOf(pattern)) {
    return {
      params: exampleParams(pattern.name, sizes.qHeads),
      tables: exampleTables(pattern.name, { ...sizes, batch }, sizes.seed),
    }
  }
  return {
    params: {},
    tables: Object.fromEntries(
      pattern.tables.map((t, i) => [t.name, tableFor(t, { ...sizes, batch }, hash(sizes.seed, i))]),
    ),
  }
}

type Batched = Sizes & { readonly batch: number }

/** The vectors that a program reads besides q, k and v, as wide as queries; of an indexer one head, as its tables have. */
export function vectorsOf({ stages }: CompiledPattern, sizes: Sizes, batch = 1): Record<string, Tensor> {
  const declared = stages?.graph.inputs ?? []
  return Object.fromEntries(
    declared.map((info, i) => {
      const shape = rowsShape(
        info,
        { ...sizes, batch, qRows: sizes.qLen, kvRows: sizes.kvLen },
        1,
        sizes.headDim,
      )
      const data = Float32Array.from(
        { length: shape.reduce((a, b) => a * b, 1) },
        (_, n) => 2 * unit(hash(sizes.seed, i + 1000), n) - 1,
      )
      return [info.name, { data, shape }]
    }),
  )
}

function sizeOf(dim: Dim, s: Batched): number {
  if (typeof dim === 'number') return dim
  return {
    batch: s.batch,
    head: s.qHeads,
    kvHead: s.kvHeads,
    indexHead: 1,
    qLen: s.qLen,
    kvLen: s.kvLen,
    headDim: s.headDim,
  }[dim]
}

function tableFor(table: TableInfo, sizes: Batched, seed: number): Int32Array | Float32Array {
  const dims = table.dims.map((d) => sizeOf(d, sizes))
  const width = dims.at(-1) ?? 1
  const rows = dims.slice(0, -1).reduce((a, b) => a * b, 1)
  const axis = table.dims.at(-1)
  const rowOf = table.type === 'f32' ? floats : axis === 'qLen' || axis === 'kvLen' ? runs : smallWholes
  // A row of a table over qLen stands at the end of the keys.
  const first = axis === 'qLen' ? sizes.kvLen - sizes.qLen : 0
  const values = Array.from({ length: rows }, (_, r) => rowOf(table, width, hash(seed, r), first)).flat()
  return table.type === 'f32' ? Float32Array.from(values) : Int32Array.from(values)
}

/** From 0 to 1, of the seed and a place. */
const unit = (seed: number, i: number): number => hash(seed, i) / 2 ** 31

const clamp = (x: number, t: TableInfo): number => Math.min(t.max, Math.max(t.min, x))

function runs(table: TableInfo, width: number, seed: number, first: number): number[] {
  const narrow = table.max - table.min < first + width
  const out: number[] = []
  for (let number = 0; out.length < width; number++) {
    const start = out.length
    const length = Math.max(1, Math.round(width * (1 / 8 + unit(seed, number) / 4)))
    const range = table.max - table.min + 1
    const value = !narrow
      ? clamp(first + start, table)
      : table.min + (table.monotone ? Math.min(number, range - 1) : number % range)
    for (let i = 0; i < length && out.length < width; i++) out.push(value)
  }
  return out
}

function smallWholes(table: TableInfo, width: number, seed: number): number[] {
  const least = clamp(0, table)
  const most = Math.min(table.max, least + 7)
  const values = Array.from(
    { length: width },
    (_, i) => least + Math.floor(unit(seed, i) * (most - least + 1)),
  )
  return table.monotone ? values.sort((a, b) => a - b) : values
}

function floats(table: TableInfo, width: number, seed: number): number[] {
  const [least, most] = [clamp(-1, table), clamp(1, table)]
  const values = Array.from({ length: width }, (_, i) => Math.fround(least + unit(seed, i) * (most - least)))
  return table.monotone ? values.sort((a, b) => a - b) : values
}
