/** Vectors of a forward that fit each other at some head dims: at the others the program is refused, with its place. */

import { describe, expect, test } from 'vitest'
import { emit } from '../../codegen/index.ts'
import { createCompiler, type CompiledPattern } from '../../compiler/index.ts'
import { misfitAt } from '../../compiler/head-dim.ts'
import { HeadDimError } from '../../codegen/head-dim.ts'
import { SELECTIONS } from '../../patterns/index.ts'

const compiler = createCompiler()
const at = (headDim: number, valueDim = headDim) => ({ headDim, valueDim })

/** A program that scores `scored`, with a table of maps whose dims are given. */
function compiled(dims: string, scored: string): CompiledPattern {
  const text = `import { attend, dot, linear, pattern, table, topK } from 'heddle'
export const maps = pattern({
  name: 'maps',
  consts: { rank: 8 },
  tables: { w: table('f32', [${dims}]) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, w }) => attend(Q, K, V, topK(${scored}, 4)),
})
`
  const { patterns, diagnostics } = compiler.compile('test/fixtures/maps.ts', { text })
  expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([])
  return patterns[0]!
}

describe('a map', () => {
  const narrow = compiled("'head', 'rank', 'headDim'", 'dot(linear(Q, w), linear(K, w))')
  const half = compiled("'head', 'headDim', 'rank'", 'dot(linear(Q, w), K)')
  const both = compiled("'head', 'headDim', 'rank'", 'dot(linear(Q, w), linear(K, w))')

  test.each([
    ['takes other vectors than it is given', narrow, 'vectors of 64 channels meet 8', 'linear(Q, w)'],
    ['makes vectors that meet longer ones', half, 'vectors of 8 channels meet 64', 'dot(linear(Q, w), K)'],
  ])('%s', (_, { stages }, text, place) => {
    expect(misfitAt(stages!, at(8))).toBeNull()
    const { text: said, span } = misfitAt(stages!, at(64))!
    expect([said, span.source.text.slice(span.start, span.end)]).toEqual([text, place])
  })

  test('fits at every head dim', () => {
    for (const dim of [1, 8, 64, 256]) expect(misfitAt(both.stages!, at(dim))).toBeNull()
  })

  test('has kernels at those head dims alone at which it fits', () => {
    const options = { target: 'wgsl', dtypes: ['f32'], capabilities: ['portable'] } as const
    expect(emit(narrow, { ...options, headDims: [8] }).stages!.variants).toHaveLength(1)
    expect(() => emit(narrow, { ...options, headDims: [8, 64] })).toThrow(
      new HeadDimError(64, misfitAt(narrow.stages!, at(64))!),
    )
  })
})

test.each(SELECTIONS.map(({ pattern }) => pattern.name))(
  '%s of the library fits at every head dim',
  (name) => {
    const [made] = compiler.compile(`patterns/${name}.ts`).patterns
    for (const dim of [16, 64, 128]) expect(misfitAt(made!.stages!, at(dim))).toBeNull()
  },
)
