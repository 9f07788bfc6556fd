/** Every selecting pattern against its specification in plain loops, and where it must be dense or nothing. */

import { describe, expect, it } from 'vitest'
import { SELECTIONS, selectionInputs, type SelectionInputs } from '../../patterns/index.ts'
import { reference, type ReferenceCall, type ReferenceResult } from '../../runtime/reference.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import * as spec from './specifications.ts'
import { attended, range, type Attended, type Kept, type Plain } from './specifications.ts'

interface Case {
  readonly qLen: number
  readonly kvLen: number
  readonly heads: number
  readonly kvHeads: number
  readonly batch?: number
}

const HEAD_DIM = 8
const nameOf = (c: Case) => `${c.qLen} queries, ${c.kvLen} keys, ${c.heads} heads on ${c.kvHeads}`

/** Square on and off every grid, chunks of a prefill, decode, single tokens; groups of one, two and three. */
const CASES: readonly Case[] = [
  { qLen: 64, kvLen: 64, heads: 2, kvHeads: 1 },
  { qLen: 61, kvLen: 61, heads: 3, kvHeads: 3 },
  { qLen: 35, kvLen: 35, heads: 4, kvHeads: 2 },
  { qLen: 23, kvLen: 77, heads: 2, kvHeads: 2 },
  { qLen: 16, kvLen: 48, heads: 3, kvHeads: 1 },
  { qLen: 1, kvLen: 50, heads: 4, kvHeads: 2 },
  { qLen: 1, kvLen: 1, heads: 1, kvHeads: 1 },
  { qLen: 5, kvLen: 7, heads: 2, kvHeads: 1, batch: 2 },
]

const patternOf = (name: string) => SELECTIONS.find(({ pattern }) => pattern.name === name)!.pattern
const sizesOf = ({ qLen, kvLen, heads, kvHeads, batch = 1 }: Case) => ({
  batch,
  qHeads: heads,
  kvHeads,
  qLen,
  kvLen,
  headDim: HEAD_DIM,
})

interface Drawn {
  readonly inputs: SelectionInputs
  readonly call: ReferenceCall
}

function draw(name: string, c: Case, seed = 1, spread = 2): Drawn {
  const { batch = 1, heads, kvHeads, qLen, kvLen } = c
  const random = seededRandom(seed)
  const tensor = (h: number, rows: number) => ({
    data: Float32Array.from({ length: batch * h * rows * HEAD_DIM }, () => (random() * 2 - 1) * spread),
    shape: [batch, h, rows, HEAD_DIM] as const,
  })
  const inputs = selectionInputs(name, sizesOf(c), seed)
  const { params, tables, rows } = inputs
  const call = {
    q: tensor(heads, qLen),
    k: tensor(kvHeads, kvLen),
    v: tensor(kvHeads, kvLen),
    params,
    tables,
    rows,
  }
  return { inputs, call }
}

/** The pattern with the example's consts and, if given, others. */
const run = (
  name: string,
  { inputs, call }: Drawn,
  params: Readonly<Record<string, number | number[]>> = {},
  consts: Readonly<Record<string, number>> = {},
): ReferenceResult => {
  const pattern = patternOf(name)
  return reference(
    { ...pattern, consts: { ...pattern.consts, ...inputs.consts, ...consts } },
    { ...call, params: { ...call.params, ...params } },
  )
}

type TensorLike = {
  readonly data: ArrayLike<number>
  readonly shape: readonly [number, number, number, number]
}
const rowsOf = ({ data, shape: [, heads, rows, width] }: TensorLike, b: number): number[][][] =>
  range(0, heads).map((h) =>
    range(0, rows).map((r) => range(0, width).map((c) => data[((b * heads + h) * rows + r) * width + c]!)),
  )

const plainOf = ({ call }: Drawn, c: Case, b: number): Plain => ({
  q: rowsOf(call.q, b),
  k: rowsOf(call.k, b),
  v: rowsOf(call.v, b),
  start: c.kvLen - c.qLen,
  scale: HEAD_DIM ** -0.5,
})

const table = (inputs: SelectionInputs, name: string): readonly number[] => Array.from(inputs.tables[name]!)
const list = (value: number | number[] | undefined): number[] => value as number[]
const num = (value: number | number[] | undefined): number => value as number

const indexerOf = ({ inputs }: Drawn, c: Case, b: number): spec.Indexer => {
  const queries = rowsOf(inputs.rows['qIndex']!, b)
  const weights = table(inputs, 'weight')
  const heads = queries.length
  return {
    queries,
    keys: rowsOf(inputs.rows['kIndex']!, b)[0]!,
    weights: range(0, c.qLen).map((r) => range(0, heads).map((h) => weights[(b * c.qLen + r) * heads + h]!)),
  }
}

type Const = 'block' | 'last' | 'firstKeys' | 'nearest'
type Budget = 'vertical' | 'slash' | 'k' | 'window' | 'sinkTokens'

/** What each pattern's specification keeps. */
const RULES: Readonly<Record<string, (d: Drawn, p: Plain, c: Case, b: number) => Kept>> = {
  'minference-block': ({ inputs: { consts, params } }, p) =>
    spec.minferenceBlock(p, consts['block']!, list(params['k'])),
  xattention: ({ inputs: { consts, params } }, p) =>
    spec.xattention(p, consts['block']!, consts['step']!, list(params['mass']).map(Math.fround)),
  'minference-vertical-slash': ({ inputs: { consts, params } }, p) =>
    spec.minferenceVerticalSlash(
      p,
      {
        block: consts['block']!,
        last: consts['last']!,
        firstKeys: consts['firstKeys']!,
        nearest: consts['nearest']!,
      },
      list(params['vertical']),
      list(params['slash']),
    ),
  minference: ({ inputs }, p) => {
    const { block, last, firstKeys, nearest } = inputs.consts as Record<Const, number>
    const { vertical, slash, k, window, sinkTokens } = inputs.params as Record<Budget, number[]>
    const lines = spec.minferenceVerticalSlash(p, { block, last, firstKeys, nearest }, vertical, slash)
    const near = spec.minferenceBlock(p, block, k)
    return (head, row, kv) => {
      if (vertical[head]! > 0) return lines(head, row, kv)
      if (k[head]! > 0) return near(head, row, kv)
      return p.start + row - kv < window[head]! || kv < sinkTokens[head]!
    }
  },
  anchor: ({ inputs: { consts, params } }, p) =>
    spec.anchor(p, consts['block']!, consts['group']!, num(params['theta'])),
  pbs: ({ inputs: { consts, params } }, p) =>
    spec.pbs(p, consts['block']!, consts['segment']!, Math.fround(num(params['mass']))),
  moba: ({ inputs: { consts, params } }, p) => spec.moba(p, consts['block']!, num(params['k'])),
  quest: ({ inputs: { consts, params } }, p) => spec.quest(p, consts['page']!, num(params['pages'])),
  dsa: (d, p, c, b) => spec.dsa(p, indexerOf(d, c, b), num(d.inputs.params['k'])),
  hisa: (d, p, c, b) => {
    const { consts, params } = d.inputs
    return spec.hisa(p, indexerOf(d, c, b), consts['block']!, num(params['coarse']), num(params['k']))
  },
}

function nsaOf({ inputs }: Drawn, c: Case, b: number) {
  const { size, step, block } = inputs.consts as { size: number; step: number; block: number }
  const nested = (name: string) => {
    const data = table(inputs, name)
    return range(0, c.kvHeads).map((g) =>
      range(0, size).map((m) =>
        range(0, HEAD_DIM).map((i) =>
          range(0, HEAD_DIM).map((o) => data[((g * size + m) * HEAD_DIM + i) * HEAD_DIM + o]!),
        ),
      ),
    )
  }
  const bias = (name: string) =>
    range(0, c.kvHeads).map((g) => table(inputs, name).slice(g * HEAD_DIM, (g + 1) * HEAD_DIM))
  const gate = table(inputs, 'gate')
  return {
    size,
    step,
    block,
    n: num(inputs.params['n']),
    window: num(inputs.params['window']),
    maps: [
      { weight: nested('wk'), bias: bias('bk') },
      { weight: nested('wv'), bias: bias('bv') },
    ],
    gates: range(0, c.heads).map((h) =>
      range(0, c.qLen).map((r) => range(0, 3).map((i) => gate[((b * c.heads + h) * c.qLen + r) * 3 + i]!)),
    ),
  }
}

const keysOf = (result: ReferenceResult, c: Case, b: number, head: number, row: number): number[] =>
  range(0, c.kvLen).filter((kv) => result.keeps(b, head, row, kv))

const outOf = (result: ReferenceResult, c: Case, b: number, head: number, row: number): number[] => {
  const at = ((b * c.heads + head) * c.qLen + row) * HEAD_DIM
  return [...result.out.subarray(at, at + HEAD_DIM)]
}

function expectClose(
  result: ReferenceResult,
  c: Case,
  due: (b: number, head: number, row: number) => Attended,
) {
  let worst = 0
  for (const b of range(0, c.batch ?? 1)) {
    for (const head of range(0, c.heads)) {
      for (const row of range(0, c.qLen)) {
        const { out, lse } = due(b, head, row)
        const at = (b * c.heads + head) * c.qLen + row
        outOf(result, c, b, head, row).forEach((x, i) => (worst = Math.max(worst, Math.abs(x - out[i]!))))
        if (!Number.isNaN(lse))
          worst = Math.max(worst, lse === result.lse[at] ? 0 : Math.abs(lse - result.lse[at]!))
      }
    }
  }
  expect(worst).toBeLessThan(1e-9)
}

const everyRow = (c: Case): { b: number; head: number; row: number }[] =>
  range(0, c.batch ?? 1).flatMap((b) =>
    range(0, c.heads).flatMap((head) => range(0, c.qLen).map((row) => ({ b, head, row }))),
  )

function expectSpecified(name: string, c: Case, drawn: Drawn): void {
  const result = run(name, drawn)
  const plains = range(0, c.batch ?? 1).map((b) => plainOf(drawn, c, b))
  const rules = plains.map((p, b) => RULES[name]!(drawn, p, c, b))
  for (const { b, head, row } of everyRow(c)) {
    const position = c.kvLen - c.qLen + row
    const due = range(0, position + 1).filter((kv) => rules[b]!(head, row, kv))
    expect({ b, head, row, keys: keysOf(result, c, b, head, row) }).toEqual({ b, head, row, keys: due })
  }
  expectClose(result, c, (b, head, row) => attended(plains[b]!, rules[b]!, head, row))
}

describe.each(Object.keys(RULES))('%s', (name) => {
  it.each(CASES.map((c) => [nameOf(c), c] as const))('keeps what its specification keeps: %s', (_, c) => {
    expectSpecified(name, c, draw(name, c, c.qLen + c.kvLen))
  })

  it.each([0.1, 1, 4, 16])('does so for vectors up to %d', (spread) => {
    const c = { qLen: 30, kvLen: 53, heads: 4, kvHeads: 2 }
    expectSpecified(name, c, draw(name, c, 100 + spread, spread))
  })

  it('drops some keys of its example and keeps some', () => {
    const c = { qLen: 64, kvLen: 64, heads: 2, kvHeads: 1 }
    const { kept } = run(name, draw(name, c))
    expect(kept).toBeGreaterThan(0)
    expect(kept).toBeLessThan(0.9 * 2 * ((64 * 65) / 2))
  })
})

describe('nsa', () => {
  it.each(CASES.map((c) => [nameOf(c), c] as const))('adds up what its specification does: %s', (_, c) => {
    const drawn = draw('nsa', c, 3)
    const result = run('nsa', drawn)
    const due = range(0, c.batch ?? 1).map((b) => spec.nsa(plainOf(drawn, c, b), nsaOf(drawn, c, b)))
    expectClose(result, c, (b, head, row) => ({ out: due[b]!.out(head, row), lse: Number.NaN }))
    expect(result.lse.every(Number.isNaN)).toBe(true)
    for (const b of range(0, c.batch ?? 1)) {
      const [, chosen] = result.steps[b]!.filter(({ word }) => word === 'topK' || word === 'attend')
      expect(chosen).toBeDefined()
    }
  })

  it('is dense attention with its second gate alone and every block chosen', () => {
    const c = { qLen: 23, kvLen: 50, heads: 2, kvHeads: 1 }
    const drawn = draw('nsa', c)
    const gate = Float32Array.from({ length: 2 * 23 * 3 }, (_, i) => Number(i % 3 === 1))
    const call = { ...drawn.call, tables: { ...drawn.call.tables, gate } }
    const result = run('nsa', { ...drawn, call }, { n: 50 })
    expectClose(result, c, (b, head, row) => {
      const { out } = attended(plainOf(drawn, c, b), () => true, head, row)
      return { out, lse: Number.NaN }
    })
  })
})

describe('blasst', () => {
  it.each(CASES.map((c) => [nameOf(c), c] as const))(
    'leaves out the tiles its specification does: %s',
    (_, c) => {
      const drawn = draw('blasst', c, 5, 3)
      const result = run('blasst', drawn)
      const { tileQ, tileKv } = drawn.inputs.consts as { tileQ: number; tileKv: number }
      const lambda = Math.fround(num(drawn.inputs.params['lambda']))
      const due = range(0, c.batch ?? 1).map((b) => spec.blasst(plainOf(drawn, c, b), tileQ, tileKv, lambda))
      expectClose(result, c, (b, head, row) => due[b]!.answers[head]![row]!)
      if (c.qLen === 64) expect(due[0]!.skipped).toBeGreaterThan(0)
    },
  )

  it('leaves nothing out where lambda is 0', () => {
    const c = { qLen: 33, kvLen: 33, heads: 1, kvHeads: 1 }
    const drawn = draw('blasst', c, 5, 6)
    expect(run('blasst', drawn, { lambda: 0 }).kept).toBe((33 * 34) / 2)
  })
})

const LARGE = 4096
const ALL: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  'minference-block': { k: LARGE },
  xattention: { mass: 1 },
  'minference-vertical-slash': { vertical: LARGE, slash: LARGE },
  minference: { vertical: LARGE, slash: LARGE },
  anchor: { theta: 1e6 },
  pbs: { mass: 1 },
  moba: { k: LARGE },
  quest: { pages: LARGE },
  dsa: { k: LARGE },
  hisa: { coarse: LARGE, k: LARGE },
  blasst: { lambda: 0 },
}

describe.each(Object.entries(ALL))('%s, its budget without bounds', (name, params) => {
  it.each([
    { qLen: 29, kvLen: 29, heads: 2, kvHeads: 1 },
    { qLen: 13, kvLen: 45, heads: 2, kvHeads: 2 },
    { qLen: 1, kvLen: 19, heads: 3, kvHeads: 1 },
  ])('is dense causal attention: $qLen queries, $kvLen keys', (c) => {
    const drawn = draw(name, c, 7)
    const result = run(name, drawn, params)
    const offset = c.kvLen - c.qLen
    expect(result.kept).toBe(c.heads * range(0, c.qLen).reduce((sum, row) => sum + offset + row + 1, 0))
    expectClose(result, c, (b, head, row) => attended(plainOf(drawn, c, b), () => true, head, row))
  })
})

describe('least budgets', () => {
  const c = { qLen: 40, kvLen: 40, heads: 2, kvHeads: 1 }

  it('moba keeps the own block alone', () => {
    const result = run('moba', draw('moba', c), { k: 1 })
    for (const { b, head, row } of everyRow(c)) {
      expect(keysOf(result, c, b, head, row)).toEqual(range(8 * Math.floor(row / 8), row + 1))
    }
  })

  it('quest keeps the own page alone', () => {
    const result = run('quest', draw('quest', c), { pages: 1 })
    for (const { b, head, row } of everyRow(c)) {
      expect(keysOf(result, c, b, head, row)).toEqual(range(4 * Math.floor(row / 4), row + 1))
    }
  })

  it('xattention keeps the first and the own block alone', () => {
    const result = run('xattention', draw('xattention', c), { mass: 0 })
    for (const { b, head, row } of everyRow(c)) {
      const due = range(0, row + 1).filter((kv) => kv < 8 || kv >= 8 * Math.floor(row / 8))
      expect(keysOf(result, c, b, head, row)).toEqual(due)
    }
  })

  it('minference-vertical-slash never drops what it forces, whatever the budget', () => {
    const result = run('minference-vertical-slash', draw('minference-vertical-slash', c), {
      vertical: 1,
      slash: 1,
    })
    for (const { b, head, row } of everyRow(c)) {
      const first = 8 * Math.floor(row / 8)
      // Distances 0 to 3 from any query of the block, and the first two keys.
      const due = range(0, row + 1).filter((kv) => kv < 2 || kv >= first - 3)
      expect(keysOf(result, c, b, head, row)).toEqual(due)
    }
  })
})

describe('queries that say nothing', () => {
  const c = { qLen: 32, kvLen: 32, heads: 1, kvHeads: 1 }
  const silent = (name: string) => {
    const drawn = draw(name, c)
    const zero = { ...drawn.call.q, data: new Float32Array(drawn.call.q.data.length) }
    return { ...drawn, call: { ...drawn.call, q: zero } }
  }

  it('choose the lower index among equals', () => {
    const result = run('minference-block', silent('minference-block'), { k: 2 })
    for (const { b, head, row } of everyRow(c)) {
      expect(keysOf(result, c, b, head, row)).toEqual(range(0, Math.min(16, row + 1)))
    }
    const routed = run('moba', silent('moba'), { k: 2 })
    expect(keysOf(routed, c, 0, 0, 31)).toEqual([...range(0, 8), ...range(24, 32)])
  })
})

describe.each(SELECTIONS.map(({ pattern }) => pattern.name))('%s', (name) => {
  it.each([
    { qLen: 0, kvLen: 9, heads: 2, kvHeads: 1 },
    { qLen: 0, kvLen: 0, heads: 2, kvHeads: 1 },
  ])('gives nothing for $qLen queries and $kvLen keys', (c) => {
    const result = run(name, draw(name, c))
    expect([result.out.length, result.lse.length, result.kept]).toEqual([0, 0, 0])
  })

  it('gives 0 for queries without keys', () => {
    const c = { qLen: 3, kvLen: 0, heads: 2, kvHeads: 1 }
    const drawn = draw(name, c)
    const result = run(name, { ...drawn, call: { ...drawn.call, lengths: [{ qStart: 0 }] } })
    expect(result.out.every((x) => x === 0)).toBe(true)
    expect(result.lse.every((x) => x === -Infinity || (name === 'nsa' && Number.isNaN(x)))).toBe(true)
  })

  it('attends within a padded batch what it attends alone', () => {
    const c = { qLen: 11, kvLen: 37, heads: 2, kvHeads: 1 }
    const alone = draw(name, c, 9)
    const padded = { ...c, qLen: 15, kvLen: 42 }
    const around = draw(name, padded, 10)
    const rowAt = { q: 3, kv: 4 }
    const put = (side: 'q' | 'kv', into: TensorLike, from: TensorLike) => {
      const data = Float32Array.from(into.data)
      const [, heads, rows, width] = from.shape
      for (const h of range(0, heads)) {
        const at = (h * into.shape[2] + rowAt[side]) * width
        for (const i of range(0, rows * width)) data[at + i] = from.data[h * rows * width + i]!
      }
      return { data, shape: into.shape }
    }
    const rows = Object.fromEntries(
      Object.entries(around.call.rows!).map(([key, tensor]) => {
        const side = key === 'qIndex' ? 'q' : 'kv'
        return [key, put(side, tensor as TensorLike, alone.call.rows![key] as TensorLike)]
      }),
    )
    // Tables over rows are indexed by a token's row from the first real one.
    const tables = Object.fromEntries(
      Object.entries(around.call.tables!).map(([key, data]) => {
        const given = alone.call.tables![key]!
        const heads = key === 'gate' ? 2 : 1
        if (key !== 'gate' && key !== 'weight') return [key, given]
        const made = data.slice()
        const per = given.length / heads
        for (const h of range(0, heads)) {
          for (const i of range(0, per)) made[(h * made.length) / heads + i] = given[h * per + i]!
        }
        return [key, made]
      }),
    )
    const lengths = [{ qRow: 3, qLen: 11, kvStart: 4, kvLen: 37 }]
    const call = {
      ...around.call,
      q: put('q', around.call.q as TensorLike, alone.call.q as TensorLike),
      k: put('kv', around.call.k as TensorLike, alone.call.k as TensorLike),
      v: put('kv', around.call.v as TensorLike, alone.call.v as TensorLike),
      rows,
      tables,
      lengths,
    }
    const due = run(name, alone)
    const got = run(name, { ...around, call })
    for (const head of range(0, 2)) {
      for (const row of range(0, 11)) {
        expect(outOf(got, padded, 0, head, row + 3)).toEqual(outOf(due, c, 0, head, row))
      }
    }
    expect(got.kept).toBe(due.kept)
  })
})
