/** cudaAttention() on the emulation: types in and out, memory layouts, pages, sets of keys, empty calls, NaN, refusals. */

import { afterAll, describe, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/cuda/emit.ts'
import type { CudaArtifact, CudaDtype, Skeleton } from '../../codegen/cuda/manifest.ts'
import type { Pattern } from '../../dsl/index.ts'
import { aShape, alibi, causal, document, full, sinkLogit } from '../../patterns/index.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { cudaAttention, loadCudaKernel, type CudaAttentionCall, type CudaKernel } from '../../runtime/cuda.ts'
import { bfloatArray, fromBfloat } from '../../runtime/bfloat.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { plain16, reference, type ReferenceCall } from '../../runtime/reference.ts'
import { readView, viewOf, type Tensor } from '../../runtime/tensor.ts'
import { randomTensor } from '../../runtime/testing/cases.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { padRows, toPages } from '../../runtime/testing/placement.ts'
import { setDifference } from '../../runtime/testing/sets.ts'
import { compiled, maxDifference } from '../helpers.ts'

const driver = await openEmulation({ multiprocessors: 4 })
const kernels = new Map<string, CudaKernel>()
afterAll(() => {
  for (const kernel of kernels.values()) kernel.release()
  driver.release()
})

/** All of this file runs in few texts: building one takes seconds. */
const artifactOf = (pattern: Pattern, dtype: CudaDtype, skeletons?: readonly Skeleton[]): CudaArtifact =>
  emitCuda(compiled(pattern), { headDims: [64], dtypes: [dtype], ...(skeletons ? { skeletons } : {}) })

function kernelOf(pattern: Pattern, dtype: CudaDtype = 'bf16'): CudaKernel {
  const key = `${pattern.name} ${dtype}`
  const kept = kernels.get(key)
  if (kept) return kept
  const kernel = loadCudaKernel(artifactOf(pattern, dtype), driver)
  kernels.set(key, kernel)
  return kernel
}

interface Choice {
  readonly dtype?: CudaDtype
  readonly dim?: number
  readonly kvRows?: number
}

function tensors(rows: number, { dtype = 'bf16', dim = 64, kvRows = rows }: Choice = {}) {
  const q = randomTensor([2, 4, rows, dim], dtype, 1)
  const [k, v] = [2, 3].map((seed) => randomTensor([2, 2, kvRows, dim], dtype, seed)) as [Tensor, Tensor]
  return { q, k, v }
}

const numbers = (t: Tensor): Float64Array => readView(viewOf('t', t))

async function expectRight(pattern: Pattern, call: ReferenceCall, more: Partial<CudaAttentionCall> = {}) {
  const dtype = viewOf('q', call.q).dtype as CudaDtype
  const got = await cudaAttention(kernelOf(pattern, dtype), { ...call, ...more })
  const { difference } = compareWithOracle(
    pattern,
    call,
    got,
    reference(pattern, call),
    plain16(pattern, call),
  )
  expect(difference).toBeNull()
  return got
}

describe('types', () => {
  test('bits of brain floats give bits of brain floats, the shape and the layout', async () => {
    const got = await expectRight(causal, tensors(40))
    expect(got.out.data).toBeInstanceOf(Uint16Array)
    expect(got.out).toMatchObject({ dtype: 'bf16', shape: [2, 4, 40, 64], layout: 'bhld' })
    expect(got.lse).toMatchObject({ shape: [2, 4, 40] })
    expect(got).toMatchObject({ kernelMs: null, variant: 'd64-bf16-ampere' })
  })

  test('bits of half floats give bits of half floats', async () => {
    const got = await expectRight(causal, tensors(40, { dtype: 'f16' }))
    expect(got.out.dtype).toBeUndefined()
    expect(got.variant).toBe('d64-f16-ampere')
  })

  test('numbers are rounded to the type that is wanted, and numbers come back', async () => {
    const { q, k, v } = tensors(20)
    const wide = (t: Tensor): Tensor => ({ data: Float32Array.from(t.data, fromBfloat), shape: t.shape })
    const [bits, floats] = [
      await cudaAttention(kernelOf(causal), { q, k, v }),
      await cudaAttention(kernelOf(causal), { q: wide(q), k: wide(k), v: wide(v) }),
    ]
    expect(floats.out.data).toBeInstanceOf(Float32Array)
    expect(numbers(floats.out)).toEqual(numbers(bits.out))
    const half = await cudaAttention(kernelOf(causal, 'f16'), {
      q: wide(q),
      k: wide(k),
      v: wide(v),
      dtype: 'f16',
    })
    expect(half.variant).toBe('d64-f16-ampere')
    expect(maxDifference(numbers(half.out), numbers(bits.out))).toBeLessThan(0.02)
  })

  test('types that differ, and tags that do not fit their data, are refused', async () => {
    const { q, k, v } = tensors(20)
    const floats = { data: new Float32Array(2 * 4 * 20 * 64), shape: q.shape, dtype: 'bf16' } as const
    for (const call of [
      { q, k, v: { ...v, dtype: 'f16' as const } },
      { q: { ...q, dtype: 'f32' as never }, k, v },
      { q: floats, k, v },
    ])
      await expect(cudaAttention(kernelOf(causal), call)).rejects.toMatchObject({ code: 'dtype' })
  })

  test('a variant that is not there is named with those that are', async () => {
    const call = tensors(20, { dim: 80 })
    await expect(cudaAttention(kernelOf(causal), call)).rejects.toThrow(
      'd64-bf16-ampere: its headDim is at most 64',
    )
  })
})

describe('memory', () => {
  test('rows may have something between them, whatever its size', async () => {
    const call = tensors(70)
    const params = { window: 20, sinkTokens: 4 }
    for (const pad of [1, 3, 8]) {
      const [q, k, v] = [padRows(call.q, pad), padRows(call.k, pad, 'blhd'), padRows(call.v, pad)]
      await expectRight(aShape, { ...call, params }, { q, k, v })
    }
  })

  test('heads may be one head again and again', async () => {
    const { q, k, v } = tensors(40)
    const shared = (t: Tensor): Tensor => ({ ...t, strides: [2 * 40 * 64, 0, 64] })
    await expectRight(causal, { q, k: shared(k), v: shared(v) })
  })

  test('dims that are no multiple of a vector run padded', async () => {
    for (const dim of [1, 8, 33, 59]) await expectRight(causal, tensors(40, { dim }))
  })

  test('blhd tensors give a blhd output', async () => {
    const [q, k, v] = [4, 2, 2].map((heads, i) => randomTensor([2, heads, 70, 64], 'bf16', i, 'blhd')) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const got = await expectRight(causal, { q, k, v, layout: 'blhd' })
    expect(got.out.layout).toBe('blhd')
  })
})

describe('pages', () => {
  const lengths = [
    { kvLen: 200, qLen: 3 },
    { kvLen: 77, qLen: 2, qRow: 1, kvStart: 5 },
  ]
  test.each([
    [1, 'bhld'],
    [16, 'blhd'],
    [24, 'bhld'],
    [64, 'blhd'],
    [300, 'bhld'],
  ] as const)('of %i tokens, %s', async (pageSize, layout) => {
    const call = { ...tensors(3, { kvRows: 200 }), lengths, params: { window: 50, sinkTokens: 4 } }
    const { k, v, table } = toPages(call.k, call.v, { pageSize, layout, spare: 3, seed: pageSize })
    const got = await expectRight(aShape, call, { k, v, pages: { table } })
    expect(got.variant).toBe('d64-bf16-decode')
  })

  test('that no sequence has a key of are not looked at', async () => {
    const call = { ...tensors(1, { kvRows: 64 }), lengths: [{ kvLen: 16 }, { kvLen: 0, qLen: 1 }] }
    const { k, v, table } = toPages(call.k, call.v, { pageSize: 16, layout: 'blhd', spare: 1, seed: 1 })
    table.fill(-1, 1)
    await expectRight(causal, call, { k, v, pages: { table } })
    table[0] = k.shape[0]
    await expect(cudaAttention(kernelOf(causal), { ...call, k, v, pages: { table } })).rejects.toMatchObject({
      code: 'page-entry',
    })
  })

  test('in a table on the device: a debug build tells which entry is out of range, and goes on', async () => {
    const artifact = emitCuda(compiled(causal), {
      headDims: [64],
      dtypes: ['bf16'],
      skeletons: ['decode'],
      debug: true,
    })
    const kernel = loadCudaKernel(artifact, driver)
    const call = tensors(1, { kvRows: 64 })
    const { k, v, table } = toPages(call.k, call.v, { pageSize: 16, layout: 'blhd', spare: 1, seed: 1 })
    const batch = call.q.shape[0]
    const address = driver.alloc(table.byteLength)
    const attend = (entries: Int32Array) => {
      driver.copyIn(address, new Uint8Array(entries.buffer))
      const pages = { table: address, perSequence: entries.length / batch }
      return cudaAttention(kernel, { ...call, k, v, pages })
    }
    const right = await attend(table)
    const got = k.shape[0] + 5
    await expect(attend(table.with(table.length - 1, got))).rejects.toMatchObject({
      code: 'page-entry',
      args: { batch: batch - 1, at: table.length / batch - 1, pages: k.shape[0], got },
    })
    expect((await attend(table)).lse.data).toEqual(right.lse.data)
    driver.free(address)
    kernel.release()
  })
})

describe('the keys that a query attends are exactly those of the pattern', () => {
  const ids = Int32Array.from({ length: 2 * 150 }, (_, i) => [0, 0, 1, 2][Math.floor((i % 150) / 40)]!)
  test.each([
    ['causal', causal, {}],
    ['a-shape', aShape, { params: { window: 20, sinkTokens: 4 } }],
    ['document', document, { tables: { docId: ids } }],
    ['alibi', alibi, { tables: { slope: Float32Array.of(0.1, 0.01, 0.5, 0) } }],
  ] as const)('%s', async (_, pattern, options) => {
    for (const [rows, ids] of [
      [150, 'ampere'],
      [9, 'decode'],
    ] as const) {
      const { q, k, v } = tensors(rows, { kvRows: 150 })
      const variant = `d64-bf16-${ids}`
      const answer = (call: ReferenceCall) => cudaAttention(kernelOf(pattern), { ...call, variant })
      expect(await setDifference(pattern, { q, k, v, ...options }, answer)).toBeNull()
    }
  })

  test('a kernel of another pattern is noticed', async () => {
    const { q, k, v } = tensors(30)
    const answer = (call: ReferenceCall) => cudaAttention(kernelOf(full), call)
    expect(await setDifference(causal, { q, k, v }, answer)).toContain(
      'row 0 of all batch entries and heads, key row 1',
    )
  })
})

describe('nothing', () => {
  test('no keys: zeros, and an LSE of -Infinity', async () => {
    for (const rows of [1, 40]) {
      const got = await cudaAttention(kernelOf(causal), {
        ...tensors(rows, { kvRows: 0 }),
        lengths: [{}, {}],
      })
      expect(numbers(got.out).every((x) => x === 0)).toBe(true)
      expect(got.lse.data.every((x) => x === -Infinity)).toBe(true)
    }
  })

  test('no keys beside a sink: zeros, and the sink', async () => {
    const sink = Float32Array.of(1.5, -2, 0, 30)
    const call = { ...tensors(40, { kvRows: 0 }), lengths: [{}, {}], tables: { sink } }
    const got = await cudaAttention(kernelOf(sinkLogit), call)
    expect(numbers(got.out).every((x) => x === 0)).toBe(true)
    expect(got.lse.data).toEqual(Float32Array.from({ length: 320 }, (_, i) => sink[Math.floor(i / 40) % 4]!))
  })

  test('no query rows: an empty output', async () => {
    const got = await cudaAttention(kernelOf(causal), tensors(0, { kvRows: 40 }))
    expect([got.out.data.length, got.lse.data.length]).toEqual([0, 0])
    expect(got.out.shape).toEqual([2, 4, 0, 64])
  })
})

describe('NaN and infinity do not leak', () => {
  const POISON = { NaN: 0x7fc0, Infinity: 0x7f80, '-Infinity': 0xff80 } as const
  const lengths = [
    { kvStart: 11, kvLen: 70, qLen: 60 },
    { kvStart: 0, kvLen: 90, qLen: 60 },
  ]
  const poisoned = (t: Tensor, bits: number): Tensor => {
    const data = (t.data as Uint16Array).slice()
    const [batch, heads, rows, dim] = t.shape
    for (let b = 0; b < batch; b++) {
      const { kvStart, kvLen } = lengths[b]!
      for (let h = 0; h < heads; h++) {
        for (let r = 0; r < rows; r++) {
          if (r >= kvStart && r < kvStart + kvLen) continue
          const at = ((b * heads + h) * rows + r) * dim
          data.fill(bits, at, at + dim)
        }
      }
    }
    return { ...t, data }
  }

  test.each(Object.keys(POISON) as (keyof typeof POISON)[])('%s in rows that are no keys', async (name) => {
    for (const rows of [60, 9]) {
      const ours = lengths.map((l) => ({ ...l, qLen: Math.min(l.qLen, rows) }))
      const call = { ...tensors(rows, { kvRows: 150 }), lengths: ours }
      const clean = await expectRight(full, call)
      const [k, v] = [poisoned(call.k, POISON[name]), poisoned(call.v, POISON[name])]
      for (const more of [{ k }, { v }, { k, v }]) {
        const got = await cudaAttention(kernelOf(full), { ...call, ...more })
        expect(got.out.data).toEqual(clean.out.data)
        expect(got.lse.data).toEqual(clean.lse.data)
      }
    }
  })
})

test('the kernel is timed where that is asked for', async () => {
  const got = await cudaAttention(kernelOf(causal), { ...tensors(20), timestamps: true })
  expect(got.kernelMs).toBeGreaterThan(0)
})

test('on pointers of the caller, on a stream, again and again', async () => {
  const kernel = kernelOf(causal)
  const { q, k, v } = tensors(40)
  const bytes = (t: Tensor) => new Uint8Array(t.data.buffer, t.data.byteOffset, t.data.byteLength)
  const place = (t: Tensor) => {
    const address = driver.alloc(t.data.byteLength)
    driver.copyIn(address, bytes(t))
    return { address, shape: t.shape, dtype: 'bf16' as const }
  }
  const placed = { q: place(q), k: place(k), v: place(v), out: place(q) }
  const lse = driver.alloc(4 * 2 * 4 * 40)
  const stream = driver.createStream()
  const prepared = await kernel.prepare({ ...placed, lse })
  expect(prepared.variant).toBe('d64-bf16-ampere')
  const want = (await cudaAttention(kernel, { q, k, v })).out.data
  for (let run = 0; run < 2; run++) {
    driver.memset(placed.out.address, 0xff, q.data.byteLength, stream)
    prepared.run(stream)
    const got = new Uint16Array(q.data.length)
    driver.copyOut(new Uint8Array(got.buffer), placed.out.address, stream)
    expect(got).toEqual(want)
  }
  for (const { address } of Object.values(placed)) driver.free(address)
  driver.free(lse)
  driver.destroyStream(stream)
})

test('a text that is wrong is refused with its lines, and tried again the next time', async () => {
  const built = artifactOf(causal, 'bf16', ['ampere'])
  const [variant] = built.variants
  let attempts = 0
  const broken = {
    ...driver,
    ...{ kind: 'gpu', capability: driver.capability, multiprocessors: 1, maxSharedBytes: 1e6 },
    loadModule: () => {
      attempts++
      const args = { pattern: 'causal', variant: variant!.id, compiler: 'x', log: 'y' }
      return Promise.reject(new HeddleError('cuda-compile', args))
    },
  } as unknown as typeof driver
  const kernel = loadCudaKernel(built, broken)
  for (const attempt of [1, 2]) {
    await expect(kernel.load(variant!.id)).rejects.toMatchObject({ code: 'cuda-compile' })
    expect(attempts).toBe(attempt)
  }
})

test('brain floats are what the oracle reads', () => {
  const t = { data: bfloatArray([1.5, -2]), dtype: 'bf16', shape: [1, 1, 1, 2] } as const
  expect([...numbers(t)]).toEqual([1.5, -2])
})
