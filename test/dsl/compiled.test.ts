/** The combinators run and the combinators compiled: one name, one set of declarations, one value for each pair. */

import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { createCompiler } from '../../compiler/index.ts'
import { evaluate, type Environment } from '../../compiler/ir.ts'
import { elementTables, type Pattern } from '../../dsl/index.ts'
import { range, recordOf, type Sizes } from '../patterns/pairs.ts'
import * as combinations from './combinations.ts'

const PATTERNS: readonly (readonly [exportName: string, pattern: Pattern])[] = Object.entries(combinations)
const SIZES: Sizes = { qLen: 23, kvLen: 40, heads: 4, kvHeads: 2, batch: 1 }

const FILE = fileURLToPath(new URL('combinations.ts', import.meta.url))
const { patterns: compiled, diagnostics } = createCompiler().compile(FILE)

it('compiles', () => {
  expect(diagnostics.filter((d) => d.severity !== 'note').map((d) => d.text)).toEqual([])
})

/** Specs without their kind, under their names; dims that are consts as numbers. */
function specsOf({ consts, params, tables }: Pattern) {
  const sizeOf = (d: string | number) => (typeof d === 'string' ? (consts[d] ?? d) : d)
  const plain = Object.entries(params).map(([name, spec]) => {
    const { type, default: value, min, max, perHead } = spec
    return { name, type, default: value, min, max, perHead }
  })
  const read = elementTables(tables).map(([name, { type, dims, min, max, monotone }]) => {
    return { name, type, dims: dims.map(sizeOf), min, max, monotone }
  })
  return { consts, params: plain, tables: read }
}

/** Contents for any table: small numbers that differ from place to place. */
function inputsFor({ tables, consts }: Pattern) {
  const sizes = new Map(Object.entries({ ...consts, batch: 1, head: 4, kvLen: 40 }))
  const fill = (dims: readonly (string | number)[]) =>
    range(
      0,
      dims.reduce<number>((n, d) => n * (typeof d === 'number' ? d : sizes.get(d)!), 1),
    ).map((i) => (i * 7) % 23)
  return { tables: Object.fromEntries(elementTables(tables).map(([name, t]) => [name, fill(t.dims)])) }
}

describe.each(PATTERNS)('%s', (exportName, pattern) => {
  it('has the compiled name, citation and declarations', () => {
    const { plan } = compiled.find((c) => c.exportName === exportName)!
    const { name, cite, consts, params, tables } = plan
    expect({ name, cite, consts, params, tables }).toEqual({
      name: pattern.name,
      cite: pattern.cite,
      ...specsOf(pattern),
    })
  })

  it('has the compiled mask, score and sink logit at every pair', () => {
    const { plan } = compiled.find((c) => c.exportName === exportName)!
    const record = recordOf(pattern, SIZES, inputsFor(pattern))
    const [run, made] = [[] as unknown[], [] as unknown[]]
    for (const q of range(17, 40)) {
      for (const kv of range(0, 40)) {
        const ix = record(kv % 4, q, kv)
        const number = (name: string) => ix[name as 'q']
        const env: Environment = {
          var: (name) => (name === 'logit' ? 0.75 : number(name)),
          param: number,
          derived: (name) => evaluate(plan.derived.find((d) => d.name === name)!.value, env) as number,
          load: (name, at) => (ix[name] as unknown as { at: (...i: readonly number[]) => number }).at(...at),
        }
        run.push(pattern.mask(ix), pattern.score?.(0.75, ix) ?? null, pattern.sinkLogit?.(ix) ?? null)
        for (const e of [plan.mask, plan.score, plan.sinkLogit]) made.push(e && evaluate(e, env))
      }
    }
    expect(made).toEqual(run)
    expect(new Set(run.filter((v) => typeof v === 'boolean')).size).toBe(2)
  })
})
