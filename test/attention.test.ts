/** The laws of attention on a device: what must not change the result, what must not leak into it, what it must be exactly. */

import { afterAll, describe, expect, test } from 'vitest'
import type { CompiledPattern } from '../compiler/index.ts'
import type { TileTerm } from '../compiler/plan.ts'
import type { Pattern } from '../dsl/index.ts'
import {
  alibi,
  aShape,
  causal,
  exampleParams,
  exampleTables,
  full,
  PATTERNS,
  sinkLogit,
  slidingWindow,
} from '../patterns/index.ts'
import { mergeHalves, reference } from '../runtime/reference.ts'
import { stridesOf, type Tensor } from '../runtime/tensor.ts'
import { randomTensor } from '../runtime/testing/cases.ts'
import {
  Bench,
  compiled,
  DSL,
  elements,
  maxDifference,
  openTestDevice,
  program,
  type AttentionCall,
} from './helpers.ts'

const opened = await openTestDevice()
const bench = opened && new Bench(opened)
afterAll(() => bench?.close())

const HEADS = { qHeads: 4, kvHeads: 2 } as const
const LIBRARY = PATTERNS.map(({ pattern }) => [pattern.name, pattern] as const)

/** The library's own example of a pattern, at another length. */
function exampleCall(name: string, length: number, valueDim = 8): AttentionCall {
  const { qHeads, kvHeads } = HEADS
  return {
    q: randomTensor([1, qHeads, length, 8], 'f32', 1),
    k: randomTensor([1, kvHeads, length, 8], 'f32', 2),
    v: randomTensor([1, kvHeads, length, valueDim], 'f32', 3),
    params: exampleParams(name, qHeads),
    tables: exampleTables(name, { batch: 1, qLen: length, kvLen: length, headDim: 8, ...HEADS }),
  }
}

/** Each of the library's kernels serves two laws: building one takes longer than running it. */
const ONE_HOT = 64
const LENGTH = 150
const kernels = new Map<Pattern, ReturnType<Bench['kernel']>>()
function libraryKernel(pattern: Pattern): ReturnType<Bench['kernel']> {
  const known = kernels.get(pattern) ?? bench!.kernel(compiled(pattern), { valueDim: ONE_HOT })
  kernels.set(pattern, known)
  return known
}

/** The same kernel with nothing skipped: every tile is visited, and its mask is asked for every pair. */
function everyTile({ plan, ir }: CompiledPattern): Pick<CompiledPattern, 'plan'> {
  const always: TileTerm = {
    when: ir.bool(true),
    lo: ir.int(0),
    hi: ir.make('sub', [ir.var('kvLen'), ir.int(1)]),
    test: null,
    pieces: { q: null, kv: null },
  }
  return { plan: { ...plan, tiles: { how: 'ranges', kept: [always], dropped: [always] } } }
}

describe.skipIf(!bench)('what must not change the result', () => {
  const lab = bench!

  test.each(LIBRARY)('%s: skipping tiles', async (_, pattern) => {
    const call = exampleCall(pattern.name, LENGTH, ONE_HOT)
    const skipping = await lab.run(libraryKernel(pattern), call)
    const visiting = await lab.run(lab.kernel(everyTile(compiled(pattern)), { valueDim: ONE_HOT }), call)
    expect(maxDifference(skipping.out, visiting.out)).toBeLessThan(1e-6)
    expect(maxDifference(skipping.lse, visiting.lse)).toBeLessThan(2e-6)
  })

  test('the order of keys where the mask reads no position', async () => {
    const { compiled: byId } = program(`import { pattern, table } from '${DSL}'
      export const program = pattern({
        name: 'program',
        tables: { ids: table('i32', ['kvLen'], { min: 0, max: 9 }) },
        mask: ({ kv, ids }) => ids.at(kv) !== 1,
        score: (s, { kv, ids }) => s + 0.25 * ids.at(kv),
      })`)
    const [length, dim] = [150, 8]
    const ids = Int32Array.from({ length }, (_, i) => (i * 7) % 5)
    const [q, k, v] = [1, 2, 3].map((seed) => randomTensor([1, 1, length, dim], 'f32', seed)) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const order = Array.from({ length }, (_, i) => (i * 77 + 31) % length)
    const moved = ({ data, shape }: Tensor): Tensor => {
      const rows = data as Float32Array
      return {
        data: Float32Array.from(order.flatMap((r) => [...rows.subarray(r * dim, (r + 1) * dim)])),
        shape,
      }
    }
    const kernel = lab.kernel(byId)
    const straight = await lab.run(kernel, { q, k, v, tables: { ids } })
    const other = await lab.run(kernel, {
      q,
      k: moved(k),
      v: moved(v),
      tables: { ids: Int32Array.from(order, (r) => ids[r]!) },
    })
    expect(maxDifference(straight.out, other.out)).toBeLessThan(1e-6)
    expect(maxDifference(straight.lse, other.lse)).toBeLessThan(2e-6)
  })

  test.each([
    ['full', full, {}],
    ['causal', causal, {}],
    ['sliding-window', slidingWindow, { window: 33 }],
    ['alibi', alibi, {}],
  ] as const)('%s: two halves of the keys, merged by LSE', async (_, pattern, params) => {
    const [rows, cut] = [130, 61]
    const { q, k, v } = exampleCall(pattern.name, rows)
    const tables =
      pattern === alibi ? exampleTables('alibi', { batch: 1, qLen: rows, kvLen: rows, ...HEADS }) : {}
    const kernel = lab.kernel(compiled(pattern))
    const part = (kvStart: number, kvLen: number) =>
      lab.run(kernel, {
        q,
        k,
        v,
        params,
        tables,
        lengths: [{ kvStart, kvLen, qLen: rows, qStart: -kvStart }],
      })
    const [whole, first, second] = [await part(0, rows), await part(0, cut), await part(cut, rows - cut)]
    const merged = mergeHalves(first, second)
    expect(maxDifference(merged.out, whole.out)).toBeLessThan(2e-6)
    expect(maxDifference(merged.lse, whole.lse)).toBeLessThan(2e-6)
  })

  test('a sink logit that one half holds', async () => {
    const [rows, cut] = [97, 40]
    const call = exampleCall('sink-logit', rows)
    const holds = lab.kernel(compiled(sinkLogit))
    // The library's pattern is causal but for its sink.
    const plain = lab.kernel(compiled(causal))
    const { q, k, v } = call
    const whole = await lab.run(holds, call)
    const first = await lab.run(holds, { ...call, lengths: [{ kvLen: cut, qLen: rows, qStart: 0 }] })
    const second = await lab.run(plain, {
      q,
      k,
      v,
      lengths: [{ kvStart: cut, kvLen: rows - cut, qLen: rows, qStart: -cut }],
    })
    const merged = mergeHalves(first, second)
    expect(maxDifference(merged.out, whole.out)).toBeLessThan(2e-6)
    expect(maxDifference(merged.lse, whole.lse)).toBeLessThan(2e-6)
  })

  test.each([
    ['causal', causal],
    ['a-shape', aShape],
    ['alibi', alibi],
  ] as const)('%s: grouped heads or repeated keys and values', async (_, pattern) => {
    const call = exampleCall(pattern.name, 90)
    const group = HEADS.qHeads / HEADS.kvHeads
    const repeated = ({ data, shape: [batch, heads, rows, dim] }: Tensor): Tensor => {
      const one = (h: number) => [...(data as Float32Array).subarray(h * rows * dim, (h + 1) * rows * dim)]
      const list = Array.from({ length: heads * group }, (_, h) => one(Math.floor(h / group)))
      return { data: Float32Array.from(list.flat()), shape: [batch, heads * group, rows, dim] }
    }
    const kernel = lab.kernel(compiled(pattern))
    const grouped = await lab.run(kernel, call)
    const same = await lab.run(kernel, { ...call, k: repeated(call.k), v: repeated(call.v) })
    expect(same).toEqual(grouped)
  })

  test('layouts, strides, padded rows and broadcast heads', async () => {
    const kernel = lab.kernel(compiled(causal))
    const shapes = [
      [2, 4, 50, 8],
      [2, 2, 50, 8],
      [2, 2, 50, 8],
    ] as const
    const [q, k, v] = shapes.map((shape, i) => randomTensor(shape, 'f32', i)) as [Tensor, Tensor, Tensor]
    const want = await lab.run(kernel, { q, k, v })
    const [q2, k2, v2] = shapes.map((shape, i) => randomTensor(shape, 'f32', i, 'blhd')) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    expect(await lab.run(kernel, { q: q2, k: k2, v: v2 })).toEqual(want)
    expect(await lab.run(kernel, { q: q2, k, v: v2, layout: 'blhd' })).toEqual(want)
    expect(await lab.run(kernel, { q, k: padded(k, 20), v: padded(v, 12) })).toEqual(want)

    const one = randomTensor([2, 1, 50, 8], 'f32', 7)
    const shared: Tensor = { data: one.data, shape: [2, 2, 50, 8], strides: [400, 0, 8] }
    const twice: Tensor = {
      data: new Float32Array(
        [0, 0, 1, 1].flatMap((b) => [...(one.data as Float32Array).subarray(b * 400, b * 400 + 400)]),
      ),
      shape: [2, 2, 50, 8],
    }
    expect(await lab.run(kernel, { q, k: shared, v: shared })).toEqual(
      await lab.run(kernel, { q, k: twice, v: twice }),
    )
  })

  test('batch entries of different lengths are computed as if alone', async () => {
    const kernel = lab.kernel(compiled(slidingWindow))
    const params = { window: 9 }
    const [q, k, v] = [4, 2, 2].map((heads, i) => randomTensor([3, heads, 70, 8], 'f32', i)) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const lengths = [{}, { qRow: 3, qLen: 20, kvStart: 5, kvLen: 41 }, { qLen: 0, kvLen: 0 }]
    const all = await lab.run(kernel, { q, k, v, params, lengths })
    for (const [b, own] of lengths.entries()) {
      const alone = (t: Tensor): Tensor => {
        const size = t.data.length / 3
        return {
          data: (t.data as Float32Array).slice(b * size, (b + 1) * size),
          shape: [1, t.shape[1], 70, 8],
        }
      }
      const one = await lab.run(kernel, { q: alone(q), k: alone(k), v: alone(v), params, lengths: [own] })
      expect(one.out).toEqual(all.out.slice(b * 4 * 70 * 8, (b + 1) * 4 * 70 * 8))
      expect(one.lse).toEqual(all.lse.slice(b * 4 * 70, (b + 1) * 4 * 70))
    }
  })
})

function padded({ data, shape: [batch, heads, rows, dim] }: Tensor, row: number): Tensor {
  const strides = stridesOf([batch, heads, rows, dim], 'bhld', row)
  const wide = new Float32Array(batch * heads * rows * row).fill(Number.NaN)
  for (let r = 0; r < batch * heads * rows; r++)
    wide.set((data as Float32Array).subarray(r * dim, (r + 1) * dim), r * row)
  return { data: wide, shape: [batch, heads, rows, dim], strides }
}

describe.skipIf(!bench)('what the result is exactly', () => {
  const lab = bench!

  test.each(LIBRARY)('%s: the attended keys, told by one-hot values', async (_, pattern) => {
    const [length, dims] = [LENGTH, ONE_HOT]
    const kernel = libraryKernel(pattern)
    const call = exampleCall(pattern.name, length, dims)
    const { keeps } = reference(pattern, call)
    for (let base = 0; base < length; base += dims) {
      const data = new Float32Array(HEADS.kvHeads * length * dims)
      for (let head = 0; head < HEADS.kvHeads; head++) {
        for (let i = 0; i < dims && base + i < length; i++) data[(head * length + base + i) * dims + i] = 1
      }
      const oneHot = { ...call, v: { data, shape: call.v.shape } }
      const { out } = await lab.run(kernel, oneHot)
      const wrong = out.findIndex((x, i) => {
        const row = Math.floor(i / dims)
        const kv = base + (i % dims)
        return x > 0 !== (kv < length && keeps(0, Math.floor(row / length), row % length, kv))
      })
      expect(wrong < 0 ? null : place(wrong, length, dims, base)).toBeNull()
    }
  })

  test('rows that attend nothing are 0 with LSE -Infinity', async () => {
    const kernel = lab.kernel(compiled(causal))
    const call = exampleCall('causal', 40)
    const { out, lse } = await lab.run(kernel, { ...call, lengths: [{ qLen: 40, kvLen: 40, qStart: -17 }] })
    for (let head = 0; head < HEADS.qHeads; head++) {
      const rows = [...lse.subarray(head * 40, head * 40 + 40)]
      expect(rows.map((x) => x === -Infinity)).toEqual(rows.map((_, r) => r < 17))
      expect(out.slice(head * 320, head * 320 + 17 * 8)).toEqual(new Float64Array(17 * 8))
      expect(rows.slice(17).every(Number.isFinite)).toBe(true)
    }
  })

  test('without keys a row is 0, and its LSE the sink logit where there is one', async () => {
    const call = exampleCall('sink-logit', 12)
    const none = { ...call, lengths: [{ kvLen: 0 }] }
    const sinks = call.tables!['sink']!
    const { out, lse } = await lab.run(lab.kernel(compiled(sinkLogit)), none)
    expect(out).toEqual(new Float64Array(out.length))
    expect(
      maxDifference(
        lse,
        Float32Array.from(lse, (_, i) => sinks[Math.floor(i / 12)]!),
      ),
    ).toBeLessThan(1e-6)
    const plain = await lab.run(lab.kernel(compiled(causal)), {
      q: call.q,
      k: call.k,
      v: call.v,
      lengths: [{ kvLen: 0 }],
    })
    expect([...plain.lse].every((x) => x === -Infinity)).toBe(true)
    expect(plain.out).toEqual(new Float64Array(plain.out.length))
  })

  test('no rows at all', async () => {
    const kernel = lab.kernel(compiled(causal))
    const t = (heads: number, rows: number) => randomTensor([1, heads, rows, 8], 'f32', 1)
    const noKeys = await lab.run(kernel, { q: t(2, 3), k: t(1, 0), v: t(1, 0) })
    expect([...noKeys.lse].every((x) => x === -Infinity)).toBe(true)
    const noQueries = await lab.run(kernel, { q: t(2, 0), k: t(1, 3), v: t(1, 3) })
    expect([noQueries.out.length, noQueries.lse.length]).toEqual([0, 0])
  })

  test('more workgroups than one dimension of a dispatch holds', { timeout: 240_000 }, async () => {
    const [batch, qHeads] = [16, 4112]
    expect(batch * qHeads).toBeGreaterThan(65_535)
    const q = randomTensor([batch, qHeads, 1, 8], 'f32', 1)
    const [k, v] = [2, 3].map((seed) => randomTensor([batch, 1, 1, 8], 'f32', seed)) as [Tensor, Tensor]
    // Every workgroup is started; those of the last entry, beyond the first row of the grid, have work to do.
    const last = batch - 1
    const lengths = Array.from({ length: batch }, (_, b) => (b === last ? {} : { qLen: 0 }))
    const { out, lse } = await lab.run(lab.kernel(compiled(causal)), { q, k, v, lengths })
    const [qs, ks, vs] = [q, k, v].map(elements) as [Float64Array, Float64Array, Float64Array]
    // One key: the output is its value, the LSE its score.
    const values = out.map((_, i) => (i < last * qHeads * 8 ? 0 : vs[last * 8 + (i % 8)]!))
    expect(maxDifference(out, values)).toBeLessThan(1e-6)
    const scores = lse.map((_, row) => {
      if (row < last * qHeads) return -Infinity
      let s = 0
      for (let i = 0; i < 8; i++) s += qs[row * 8 + i]! * ks[last * 8 + i]!
      return s * 8 ** -0.5
    })
    expect(maxDifference(lse, scores)).toBeLessThan(5e-6)
  })
})

const place = (at: number, length: number, dims: number, base: number): string => {
  const row = Math.floor(at / dims)
  return `head ${Math.floor(row / length)}, q ${row % length}, kv ${base + (at % dims)}`
}
