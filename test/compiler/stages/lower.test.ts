/** Forward programs as the compiler reads them: which code makes which nodes, and that every graph is well-formed. */

import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { createCompiler, type CompiledPattern } from '../../../compiler/index.ts'
import { isEverything, type StageNode, type Word } from '../../../compiler/stages/graph.ts'
import { printGraph } from '../../../compiler/stages/print-graph.ts'
import { STAGES } from '../../../compiler/stages/table.ts'
import { verifyGraph } from '../../../compiler/stages/verify.ts'
import { SELECTIONS } from '../../../patterns/index.ts'
import { compileMethod, METHODS } from './methods.ts'

const compiler = createCompiler()
const HERE = fileURLToPath(new URL('generated.ts', import.meta.url))

/** The pattern of a file with this forward, or what is said of it. */
function compiled(forward: string, more = '', head = ''): CompiledPattern {
  const text = `import * as h from 'heddle'
${head}
export const mine = h.pattern({
  name: 'mine',
  consts: { block: 8, rounds: 2 },
  params: { k: h.i32(4, { min: 1, max: 64 }), dense: h.i32(0), window: h.perHead(h.i32(8, { min: 0, max: 64 })) },
  mask: ({ q, kv }) => kv <= q,
  forward: ${forward},
})
${more}`
  const { patterns, diagnostics } = compiler.compile(HERE, { text })
  const errors = diagnostics.filter((d) => d.severity !== 'note')
  if (errors.length > 0) throw new Error(errors.map((d) => `${d.code}: ${d.text}`).join('\n'))
  return patterns.at(-1)!
}

const nodes = (p: CompiledPattern): readonly StageNode[] => p.stages!.graph.nodes
const words = (p: CompiledPattern): string[] => nodes(p).map((n) => n.word)
const graph = (p: CompiledPattern): string => printGraph(p.stages!.graph)

describe.each(METHODS)('%s', (method) => {
  test('has a well-formed graph', () => {
    const { stages } = compileMethod(method)
    expect(verifyGraph(stages!.graph, stages!.typing)).toEqual([])
  })
})

describe.each(SELECTIONS.map(({ file }) => file))('%s', (file) => {
  test('has a well-formed graph', () => {
    const { patterns } = compiler.compile(fileURLToPath(new URL(`../../../${file}`, import.meta.url)))
    const { stages } = patterns[0]!
    expect(verifyGraph(stages!.graph, stages!.typing)).toEqual([])
  })
})

test('the methods use every word', () => {
  const used = new Set(METHODS.flatMap((m) => words(compileMethod(m))))
  expect(Object.keys(STAGES).filter((word) => !used.has(word as Word))).toEqual(['difference'])
})

test('a graph that was tampered with is not well-formed', () => {
  const { stages } = compiled('({ Q, K, V }) => h.attend(Q, K, V)')
  const { graph, typing } = stages!
  expect(verifyGraph({ ...graph, nodes: graph.nodes.toReversed() }, typing)).not.toEqual([])
  const [q] = graph.nodes
  const bare = { ...graph.result, src: [q!, q!] } as StageNode
  expect(verifyGraph({ ...graph, nodes: [q!, bare], result: bare }, typing)).toContain(
    `attend #${bare.id}: operands of kinds rows, rows`,
  )
})

describe('code', () => {
  test('of constants, destructuring and helpers, in the file or within the program', () => {
    const p = compiled(
      `({ Q, K, V, block, k }) => {
        const means = (x: typeof K) => h.pool(x, h.blocks(block), 'mean')
        const [a, b] = [h.dot(Q, means(K)), { k }]
        return finish(Q, K, V, h.topK(a, b.k))
      }`,
      `function finish(Q: h.Rows<'head'>, K: h.Rows<'kvHead'>, V: h.Rows<'kvHead'>, set: unknown) {
        return h.attend(Q as never, K as never, V as never, set as never)
      }`,
    )
    expect(words(p)).toEqual(['input', 'input', 'input', 'poolRows', 'dot', 'fill', 'topK', 'attend'])
    expect(graph(p)).toContain('poolRows(#1) by=blocks(8) how=mean')
    expect(graph(p)).toContain('fill() value=$k')
  })

  test('makes one node of what is written twice', () => {
    const twice = compiled(
      `({ Q, K, V, block }) => h.attend(Q, K, V, h.union(
        h.topK(h.dot(Q, h.pool(K, h.blocks(block), 'mean')), 2),
        h.topK(h.dot(Q, h.pool(K, h.blocks(block), 'mean')), 4)))`,
    )
    expect(words(twice).filter((w) => w === 'poolRows' || w === 'dot')).toEqual(['poolRows', 'dot'])
    expect(words(twice).filter((w) => w === 'topK')).toHaveLength(2)
  })

  test('of loops over constants is unrolled, and a closure sees a variable as it stands', () => {
    const p = compiled(
      `({ Q, K, V, rounds }) => {
        let size = 4
        let best = h.dot(Q, h.pool(K, h.blocks(size), 'mean'))
        const coarser = () => h.pool(best, { kv: h.blocks(size) }, 'max')
        for (let r = 0; r < rounds; r++) {
          size = size * 2
          best = coarser()
        }
        for (const n of [64, 128]) best = h.pool(best, { kv: h.blocks(n) }, 'sum')
        return h.attend(Q, K, V, h.topK(best, 4))
      }`,
    )
    const pools = nodes(p).flatMap((n) => (n.word === 'poolScores' ? [n.arg] : []))
    expect(pools.map(({ kv, how }) => [kv, how])).toMatchObject([
      [{ size: 8 }, 'max'],
      [{ size: 16 }, 'max'],
      [{ size: 64 }, 'sum'],
      [{ size: 128 }, 'sum'],
    ])
  })

  test('chooses by params at run time, by constants at once', () => {
    const p = compiled(
      `({ Q, K, V, block, dense }) => {
        const near = h.attend(Q, K, V, h.where(({ q, kv }) => q - kv < 8))
        return block > 4 ? (dense > 0 ? h.attend(Q, K, V) : near) : h.attend(K as never, K, V)
      }`,
    )
    expect(graph(p)).toMatch(/choose\(#\d+, #\d+\) when=lt\(0, \$dense\) -> state/)
    expect(nodes(p).filter((n) => n.word === 'attend')).toHaveLength(2)
    const kernels = p.stages!.steps.map((s) => (s.kind === 'once' ? s.kernel : null))
    expect(kernels.map((k) => k?.when?.op)).toEqual(['lt', 'not'])
  })

  test('reads a param of the head at hand in the functions of words, and as scores outside', () => {
    const p = compiled(
      `({ Q, K, V, window }) => {
        const near = h.where(({ q, kv, head }) => q - kv < window.at(head))
        const scores = h.dot(Q, h.pool(K, h.blocks(8), 'mean'))
        const chosen = h.topK(scores, window, { force: ({ kv, head }) => kv.index < window.at(head) })
        return h.attend(Q, K, V, h.union(near, chosen))
      }`,
    )
    expect(graph(p)).toContain('pairs() keep=lt(sub(q, kv), $window)')
    expect(graph(p)).toContain('force=lt(kv.index, $window)')
    expect(graph(p)).toContain('fill() value=$window share=head')
  })

  test('without a set meets all that the mask keeps', () => {
    const [, , , set] = compiled('({ Q, K, V }) => h.attend(Q, K, V)').stages!.graph.result.src
    expect(isEverything(set!)).toBe(true)
  })

  test('under new names means the same', () => {
    const p = compiled(
      '({ Q, K, V, k }) => h.attend(Q, K, V, h.topK(h.dot(Q, h.pool(K, h.blocks(8), "mean")), k))',
      `export const other = h.rename(mine, { k: 'kept' }, 'other')`,
    )
    expect(p.name).toBe('other')
    expect(graph(p)).toContain('fill() value=$kept')
  })

  test('with a const overridden is cut by it', () => {
    const text = `import { attend, blocks, dot, pattern, pool, topK } from 'heddle'
export const mine = pattern({
  name: 'mine', consts: { block: 8 }, mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, block }) => attend(Q, K, V, topK(dot(Q, pool(K, blocks(block), 'mean')), 4)),
})`
    const { patterns } = compiler.compile(HERE, { text, consts: { block: 32 } })
    expect(graph(patterns[0]!)).toContain('by=blocks(32)')
  })
})
