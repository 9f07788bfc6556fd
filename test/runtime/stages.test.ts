/** Patterns that choose by the data, end to end on a device, against the oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import type { Artifact } from '../../codegen/artifact.ts'
import { emit } from '../../codegen/index.ts'
import { halfArray } from '../../runtime/half.ts'
import { attention, Kernel, reference } from '../../runtime/index.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { setDifference } from '../../runtime/testing/sets.ts'
import { Bench, DSL, elements, maxDifference, openTestDevice, program } from '../helpers.ts'
import { LONG_HEAD_DIM, longCase } from './long-rows.ts'
import { FIXTURE_NAMES, METHOD_NAMES, stageCase, type StageCase, type StageSizes } from './stage-cases.ts'

const opened = await openTestDevice()
const bench = opened ? new Bench(opened) : null
afterAll(() => bench?.close())

const BASE: StageSizes = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 75, kvLen: 75, headDim: 8 }
/** A decode step, and a chunk that begins in the middle of a block. */
const STEP: StageSizes = { ...BASE, qLen: 1, kvLen: 66 }
const CHUNK: StageSizes = { ...BASE, qLen: 21, kvLen: 70 }

function kernelOf({ compiled }: StageCase, dtype: 'f32' | 'f16' = 'f32', headDim = 8): Kernel {
  return bench!.kernel(compiled, { headDim, dtype, capabilities: ['portable'] })
}

async function difference(name: string, sizes: StageSizes, seed: number): Promise<string | null> {
  const c = stageCase(name, sizes, seed)
  return compared(c, await attention(kernelOf(c, 'f32', sizes.headDim), c.call), c.call)
}

/** A gated sum has no log-sum-exp, by which the comparison tells rows that kernels promise nothing of. */
function compared(
  { pattern }: StageCase,
  got: Awaited<ReturnType<typeof attention>>,
  call: StageCase['call'],
): string | null {
  const oracle = reference(pattern, call)
  if (!oracle.lse.some(Number.isNaN)) return compareWithOracle(pattern, call, got, oracle).difference
  const worst = maxDifference(elements(got.out), oracle.out)
  return worst < 1e-5 && got.lse.data.every(Number.isNaN) ? null : `an error of ${worst}`
}

describe.skipIf(!opened)('the output and its log-sum-exp', () => {
  test.each([...METHOD_NAMES, ...FIXTURE_NAMES])('of %s', { timeout: 120_000 }, async (name) => {
    // The gates of the test's branches are for one batch entry.
    const batch = name === 'nsa' ? 1 : 2
    expect(await difference(name, BASE, 1)).toBeNull()
    expect(await difference(name, STEP, 2)).toBeNull()
    expect(await difference(name, { ...CHUNK, batch }, 3)).toBeNull()
  })

  test('of a step of one row, in tiles of one row', { timeout: 120_000 }, async () => {
    for (const name of ['minference-vertical-slash', 'quest', 'anchor', 'nsa']) {
      const c = stageCase(name, STEP, 9)
      const kernel = bench!.kernel(c.compiled, { capabilities: ['decode-portable'] })
      expect(compared(c, await attention(kernel, c.call), c.call), name).toBeNull()
    }
  })

  test('of vectors in fours and not, of one head for all', { timeout: 120_000 }, async () => {
    for (const headDim of [3, 20]) {
      expect(await difference('moba', { ...CHUNK, headDim }, 4)).toBeNull()
      expect(await difference('anchor', { ...CHUNK, headDim }, 5)).toBeNull()
    }
    expect(await difference('minference-block', { ...BASE, kvHeads: 4 }, 6)).toBeNull()
    expect(await difference('quest', { ...BASE, kvHeads: 1 }, 7)).toBeNull()
  })

  test('of halves', { timeout: 120_000 }, async () => {
    for (const name of ['minference-block', 'anchor', 'pbs']) {
      const c = stageCase(name, BASE, 8)
      const half = ({ data, shape }: Tensor): Tensor => ({ data: halfArray(data as Float32Array), shape })
      const call = { ...c.call, q: half(c.call.q), k: half(c.call.k), v: half(c.call.v) }
      expect(compared(c, await attention(kernelOf(c, 'f16'), call), call), name).toBeNull()
    }
  })
})

describe.skipIf(!opened)('the pairs that are attended', () => {
  // Branches that meet other keys, and tiles that are left out, have no one set.
  const chosen = METHOD_NAMES.filter((name) => name !== 'nsa' && name !== 'blasst')

  test.each(chosen)("of %s are the oracle's", { timeout: 120_000 }, async (name) => {
    const c = stageCase(name, { ...CHUNK, kvLen: 61 }, 11)
    const kernel = kernelOf(c)
    const answer = (call: object) => attention(kernel, { ...c.call, ...call })
    expect(await setDifference(c.pattern, c.call, answer)).toBeNull()
  })

  test.each(['minference-block', 'moba', 'quest', 'dsa'])(
    'of %s are the first where all scores are one',
    { timeout: 120_000 },
    async (name) => {
      const c = stageCase(name, CHUNK, 12)
      const same = (t: Tensor): Tensor => ({ ...t, data: new Float32Array(t.data.length).fill(0.5) })
      const rows = Object.fromEntries(Object.entries(c.call.rows).map(([n, t]) => [n, same(t)]))
      const call = { ...c.call, q: same(c.call.q), k: same(c.call.k), rows }
      const kernel = kernelOf(c)
      expect(
        await setDifference(c.pattern, call, (asked) => attention(kernel, { ...call, ...asked })),
      ).toBeNull()
    },
  )

  test('of blasst are fewer than the mask keeps', async () => {
    const c = stageCase('blasst', BASE, 13)
    const sharp = { ...c.call, q: { ...c.call.q, data: (c.call.q.data as Float32Array).map((x) => 4 * x) } }
    const kept = await attention(kernelOf(c), { ...sharp, params: { lambda: 0 } })
    const left = await attention(kernelOf(c), { ...sharp, params: { lambda: 1 } })
    expect(maxDifference(elements(kept.out), elements(left.out))).toBeGreaterThan(1e-3)
    expect(compared(c, left, { ...sharp, params: { lambda: 1 } })).toBeNull()
  })
})

describe.skipIf(!opened)('a pool of stored cells', () => {
  test.each(['sum', 'mean', 'max', 'min'])('by %s', { timeout: 120_000 }, async (how) => {
    const { pattern, compiled } = program(`
      import { attend, blocks, dot, pattern, pool, skew, slice, topK, union, whole } from '${DSL}'
      export const program = pattern({
        name: 'pool-of-pools',
        mask: ({ q, kv }) => kv <= q,
        forward: ({ Q, K, V, scale }) => {
          const keys = pool(dot(slice(Q, -3), K, { scale }), { q: whole }, '${how}')
          const near = topK(pool(skew(keys), { q: whole }, '${how}'), 4)
          const chosen = topK(pool(keys, { kv: blocks(8) }, '${how}'), 3)
          return attend(Q, K, V, union(chosen, pool(near, { q: blocks(8) }, 'any')))
        },
      })`)
    const { call } = stageCase('moba', CHUNK, 18)
    const asked = { q: call.q, k: call.k, v: call.v }
    const kernel = bench!.kernel(compiled, { capabilities: ['portable'] })
    expect(compareWithOracle(pattern, asked, await attention(kernel, asked)).difference).toBeNull()
  })
})

describe.skipIf(!opened)('a choice of a param', () => {
  test('runs one side alone', async () => {
    const { pattern, compiled } = program(`
      import { attend, i32, pattern, where } from '${DSL}'
      export const program = pattern({
        name: 'sides',
        params: { dense: i32(0, { min: 0, max: 1 }) },
        mask: ({ q, kv }) => kv <= q,
        forward: ({ Q, K, V, dense }) =>
          dense === 1 ? attend(Q, K, V) : attend(Q, K, V, where(({ q, kv }) => q - kv < 4)),
      })`)
    const { call } = stageCase('moba', CHUNK, 17)
    const kernel = bench!.kernel(compiled, { capabilities: ['portable'] })
    for (const dense of [0, 1]) {
      const asked = { q: call.q, k: call.k, v: call.v, params: { dense } }
      expect(compareWithOracle(pattern, asked, await attention(kernel, asked)).difference).toBeNull()
    }
  })
})

describe.skipIf(!opened)('a plane of scores', () => {
  test('gives the same chunk by chunk', { timeout: 120_000 }, async () => {
    for (const name of ['minference-block', 'moba', 'xattention']) {
      const c = stageCase(name, CHUNK, 14)
      const artifact = bench!.artifact(c.compiled, { capabilities: ['portable'] })
      const kernel = new Kernel(inChunks(artifact, 2), opened!.device)
      expect(compared(c, await attention(kernel, c.call), c.call), name).toBeNull()
      kernel.release()
    }
  })
})

describe.skipIf(!opened)("the caller's own pass and buffers", () => {
  test.each(['moba', 'anchor'])('take %s, with keys in a cache that has room for more', async (name) => {
    const c = stageCase(name, CHUNK, 18)
    const { device } = opened!
    const { q, k, v } = c.call
    const [, heads, qLen, dim] = q.shape
    const [, kvHeads, kvLen] = k.shape
    const room = kvLen + 30
    const made: GPUBuffer[] = []
    const space = (words: number) => {
      const buffer = device.createBuffer({ size: 4 * words, usage: 0x80 | 0x08 | 0x04 })
      made.push(buffer)
      return buffer
    }
    const cached = ({ data }: Tensor) => {
      const buffer = space(kvHeads * room * dim)
      const rows = kvLen * dim
      for (let head = 0; head < kvHeads; head++) {
        const own = (data as Float32Array<ArrayBuffer>).subarray(head * rows, (head + 1) * rows)
        device.queue.writeBuffer(buffer, 4 * head * room * dim, own)
      }
      return buffer
    }
    const [queries, out, lse] = [space(q.data.length), space(q.data.length), space(heads * qLen)]
    device.queue.writeBuffer(queries, 0, q.data as Float32Array<ArrayBuffer>)
    const kernel = kernelOf(c)
    await kernel.prepare({ headDim: dim, valueDim: dim, dtype: 'f32' })
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    const strides = [kvHeads * room * dim, room * dim, dim] as const
    const encoded = kernel.encode(pass, {
      q: queries,
      k: cached(k),
      v: cached(v),
      out,
      lse,
      dtype: 'f32',
      shapes: { q: q.shape, k: k.shape, v: v.shape },
      strides: { k: strides, v: strides },
      ...(c.call.params ? { params: c.call.params } : {}),
      ...(c.call.tables ? { tables: c.call.tables } : {}),
    })
    pass.end()
    const staging = device.createBuffer({ size: out.size, usage: 0x09 })
    encoder.copyBufferToBuffer(out, 0, staging, 0, out.size)
    device.queue.submit([encoder.finish()])
    encoded.release()
    await staging.mapAsync(1)
    const got = new Float32Array(staging.getMappedRange())
    expect(maxDifference(got, reference(c.pattern, c.call).out)).toBeLessThan(1e-5)
    for (const buffer of [...made, staging]) buffer.destroy()
  })
})

/** The artefact with chunks of few rows, as calls of great length have them. */
function inChunks(artifact: Artifact, rows: number): Artifact {
  const { stages } = artifact
  const variants = stages!.variants.map((v) => {
    const steps = v.steps.map((s) => (s.kind === 'once' ? s : { ...s, rows }))
    expect(steps.some((s) => s.kind === 'chunks')).toBe(true)
    return { ...v, steps }
  })
  return { ...artifact, stages: { ...stages!, variants } }
}

describe.skipIf(!opened)('rows of more cells than a workgroup holds at once', () => {
  test.each(['count', 'mass'] as const)('keys by %s', { timeout: 120_000 }, async (keysBy) => {
    const { pattern, compiled, call } = longCase(10_000, keysBy)
    const kernel = bench!.kernel(compiled, { headDim: LONG_HEAD_DIM, capabilities: ['portable'] })
    expect(compareWithOracle(pattern, call, await attention(kernel, call)).difference).toBeNull()
  })
})

describe.skipIf(!opened)('what a call may not ask', () => {
  const c = stageCase('moba', CHUNK, 15)
  const coded = (code: string) => expect.objectContaining({ name: 'HeddleError', code })

  test('lengths of its batch entries', async () => {
    await expect(attention(kernelOf(c), { ...c.call, lengths: [{}] })).rejects.toThrow(
      coded('stages-lengths'),
    )
  })

  test('rows that are missing, unknown, or of another shape', async () => {
    const d = stageCase('dsa', CHUNK, 16)
    const kernel = kernelOf(d)
    const { qIndex, kIndex } = d.call.rows as Record<string, Tensor>
    const asked = (rows: Readonly<Record<string, Tensor>>) => attention(kernel, { ...d.call, rows })
    await expect(asked({ qIndex: qIndex! })).rejects.toThrow(coded('table-missing'))
    await expect(asked({ ...d.call.rows, other: kIndex! })).rejects.toThrow(coded('table-unknown'))
    await expect(asked({ qIndex: qIndex!, kIndex: qIndex! })).rejects.toThrow(coded('shape'))
  })

  test("tiles that are not the kernel's own", () => {
    const { compiled } = stageCase('blasst', BASE, 1)
    expect(() =>
      emit(compiled, { target: 'wgsl', headDims: [8], dtypes: ['f32'], capabilities: ['large'] }),
    ).toThrow('no kernel computes tiles of 32 x 32, which are 64 x 64 in large kernels')
  })
})
