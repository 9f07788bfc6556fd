/** attention() and encode() on a device, with an artefact written by hand, against the oracle. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Dtype } from '../../codegen/artifact.ts'
import type { OpenDevice } from '../../runtime/device.ts'
import { openDevice } from '../../runtime/device-node.ts'
import { fromHalf, halfArray } from '../../runtime/half.ts'
import {
  attention,
  loadKernel,
  plain32,
  reference,
  type AttentionCall,
  type Kernel,
} from '../../runtime/index.ts'
import {
  readView,
  stridesOf,
  viewOf,
  type Layout,
  type Shape,
  type Strides,
  type Tensor,
} from '../../runtime/tensor.ts'
import { handmadeArtifact, handmadePattern, randomValues, type VariantOptions } from './handmade.ts'
import { wrap } from './faulty.ts'

let opened: OpenDevice
beforeAll(async () => {
  opened = await openDevice()
})
afterAll(() => opened.close())

interface Setting {
  readonly batch?: number
  readonly qHeads?: number
  readonly kvHeads?: number
  readonly qLen?: number
  readonly kvLen?: number
  readonly headDim?: number
  readonly valueDim?: number
  readonly dtype?: Dtype
  readonly layout?: Layout
}

function tensor(shape: Shape, seed: number, dtype: Dtype, layout: Layout): Tensor {
  const values = randomValues(
    shape.reduce((a, b) => a * b, 1),
    seed,
  )
  return { data: dtype === 'f32' ? values : halfArray(values), shape, layout }
}

function callOf(
  s: Setting = {},
): AttentionCall & { params: Record<string, number | number[]>; tables: Record<string, Int32Array> } {
  const {
    batch = 2,
    qHeads = 4,
    kvHeads = 2,
    qLen = 7,
    kvLen = 11,
    headDim = 8,
    valueDim = headDim,
    dtype = 'f32',
    layout = 'bhld',
  } = s
  return {
    q: tensor([batch, qHeads, qLen, headDim], 1, dtype, layout),
    k: tensor([batch, kvHeads, kvLen, headDim], 2, dtype, layout),
    v: tensor([batch, kvHeads, kvLen, valueDim], 3, dtype, layout),
    params: { window: 5, slope: Array.from({ length: qHeads }, (_, h) => 0.03 * h) },
    tables: {
      docStart: Int32Array.from({ length: batch * kvLen }, (_, i) => 6 * Math.floor((i % kvLen) / 6)),
    },
  }
}

/** The kernel's error is at most twice that of plain attention in its precision, and a few units in the last place. */
async function expectOracle(kernel: Kernel, call: AttentionCall): Promise<void> {
  const got = await attention(kernel, call)
  const [exact, plain] = [reference(handmadePattern, call), plain32(handmadePattern, call)]
  const half = !(call.q.data instanceof Float32Array)
  const ulp = half ? 2 ** -11 : 2 ** -21
  const out = readView(viewOf('out', got.out))
  const error = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from(a, (x, i) => (x === b[i] ? 0 : Math.abs(x - b[i]!))).reduce((m, x) => Math.max(m, x), 0)
  expect(out.length).toBe(exact.out.length)
  expect(error(out, exact.out)).toBeLessThanOrEqual(2 * error(plain.out, exact.out) + ulp)
  expect(error(got.lse.data, exact.lse)).toBeLessThanOrEqual(2 * error(plain.lse, exact.lse) + 2 ** -19)
}

async function withKernel<T>(
  variants: readonly VariantOptions[],
  use: (kernel: Kernel) => Promise<T>,
): Promise<T> {
  const kernel = loadKernel(JSON.stringify(handmadeArtifact(...variants)), opened.device)
  try {
    return await use(kernel)
  } finally {
    kernel.release()
  }
}

describe('attention equals the oracle', () => {
  test.each([
    ['one query', { qLen: 1 }],
    ['one key', { qLen: 1, kvLen: 1 }],
    ['as many queries as keys', { qLen: 11 }],
    ['multi-query', { kvHeads: 1 }],
    ['every head its own', { kvHeads: 4 }],
    ['batch 1', { batch: 1 }],
    ['rows between heads', { layout: 'blhd' }],
  ] satisfies [string, Setting][])('%s', (_, setting) =>
    withKernel([{}], (kernel) => expectOracle(kernel, callOf(setting))),
  )

  test.each([
    ['valueDim of its own', { headDim: 8, valueDim: 5 }],
    ['f16', { dtype: 'f16' }],
    ['f16, odd dims', { dtype: 'f16', headDim: 7, valueDim: 3 }],
    ['f16, odd dims, rows between heads', { dtype: 'f16', headDim: 7, valueDim: 3, layout: 'blhd' }],
  ] satisfies [string, Setting][])('%s', (_, setting) =>
    withKernel([setting], (kernel) => expectOracle(kernel, callOf(setting))),
  )

  test('tiles from a list', () =>
    withKernel([{ list: true }], (kernel) => expectOracle(kernel, callOf({ kvLen: 37 }))))

  test('a scale of its own, params by default', () =>
    withKernel([{}], (kernel) => expectOracle(kernel, { ...callOf(), scale: 0.11, params: { scale: 0.7 } })))

  test('lengths per batch entry', () =>
    withKernel([{}], async (kernel) => {
      const lengths = [
        { qRow: 2, qLen: 4, kvStart: 1, kvLen: 9 },
        { kvLen: 3, qLen: 5, qStart: -2 },
      ]
      await expectOracle(kernel, { ...callOf(), lengths })
    }))

  test('no keys, no queries', () =>
    withKernel([{}], async (kernel) => {
      const none = await attention(kernel, { ...callOf({ kvLen: 0 }), lengths: [{}, { qStart: 3 }] })
      expect(none.out.data.every((x) => x === 0)).toBe(true)
      expect(none.lse.data.every((x) => x === -Infinity)).toBe(true)
      expect(none.lse.data).toHaveLength(2 * 4 * 7)
      const nobody = await attention(kernel, callOf({ qLen: 0 }))
      expect(nobody.out.shape).toEqual([2, 4, 0, 8])
      expect(nobody.lse.data).toHaveLength(0)
    }))

  test('NaN beyond a length does not leak', () =>
    withKernel([{}], async (kernel) => {
      const call = callOf()
      const lengths = [{ kvLen: 9 }, { kvStart: 2 }]
      const dirty = (t: Tensor): Tensor => {
        const data = Float32Array.from(t.data as Float32Array)
        for (let h = 0; h < 2; h++) {
          for (const row of [9, 10]) data.fill(NaN, (h * 11 + row) * 8, (h * 11 + row + 1) * 8)
          for (const row of [0, 1]) data.fill(NaN, ((2 + h) * 11 + row) * 8, ((2 + h) * 11 + row + 1) * 8)
        }
        return { ...t, data }
      }
      const clean = await attention(kernel, { ...call, lengths })
      const got = await attention(kernel, { ...call, k: dirty(call.k), v: dirty(call.v), lengths })
      expect(got.out.data).toEqual(clean.out.data)
    }))

  test('views: padded rows, heads that share their rows, odd strides of halves', async () => {
    const strided = (t: Tensor, strides: Strides, dtype: Dtype): Tensor => {
      const [b, h, l, d] = t.shape
      const values = randomValues(b * strides[0] + h * strides[1] + l * strides[2] + d, 9)
      return { shape: t.shape, strides, data: dtype === 'f32' ? values : halfArray(values) }
    }
    await withKernel([{}], (kernel) => {
      const call = callOf()
      return expectOracle(kernel, {
        ...call,
        k: strided(call.k, [300, 150, 13], 'f32'),
        v: strided(call.v, [88, 0, 8], 'f32'),
      })
    })
    await withKernel([{ dtype: 'f16' }], (kernel) => {
      const call = callOf({ dtype: 'f16' })
      return expectOracle(kernel, { ...call, q: strided(call.q, [777, 111, 9], 'f16') })
    })
  })

  test("the layout of the output is the call's", () =>
    withKernel([{}], async (kernel) => {
      const call = callOf()
      const plain = await attention(kernel, call)
      const turned = await attention(kernel, { ...call, layout: 'blhd' })
      expect(turned.out.layout).toBe('blhd')
      expect(readView(viewOf('a', turned.out))).toEqual(readView(viewOf('b', plain.out)))
      expect(turned.out.data).not.toEqual(plain.out.data)
    }))

  test('calls at the same time', () =>
    withKernel([{}], async (kernel) => {
      const calls = [1, 3, 7, 2, 5].map((qLen) => callOf({ qLen }))
      await Promise.all(calls.map((call) => expectOracle(kernel, call)))
    }))
})

describe('limits of the device', () => {
  test('more workgroups than one dimension takes', async () => {
    const { device } = wrap(opened.device, { limits: { maxComputeWorkgroupsPerDimension: 9 } })
    const kernel = loadKernel(handmadeArtifact(), device)
    await expectOracle(kernel, callOf({ qLen: 10 }))
    await expect(attention(kernel, callOf({ qLen: 11 }))).rejects.toMatchObject({
      code: 'grid-limit',
      message: 'the call has 88 query tiles, the device starts at most 81 workgroups',
    })
    kernel.release()
  })

  test.each([
    // Per batch entry q takes 896 bytes and k 704; per head 224 and 352.
    ['entries', 900, 2],
    ['groups of heads', 700, 4],
    ['heads', 352, 8],
  ])('tensors beyond one binding are bound by %s', async (_, maxStorageBufferBindingSize, slices) => {
    for (const layout of ['bhld', 'blhd'] as const) {
      const { device, counts } = wrap(opened.device, { limits: { maxStorageBufferBindingSize } })
      const kernel = loadKernel(handmadeArtifact({}), device)
      await expectOracle(kernel, callOf({ layout }))
      kernel.release()
      // Each slice is submitted, and read back.
      expect(counts.submits).toBe(2 * slices)
    }
  })

  test('slices of a batch of halves with a list', async () => {
    const { device } = wrap(opened.device, { limits: { maxStorageBufferBindingSize: 11 * 8 * 2 } })
    const kernel = loadKernel(handmadeArtifact({ list: true, dtype: 'f16' }), device)
    await expectOracle(kernel, callOf({ dtype: 'f16' }))
    kernel.release()
  })

  test('a head beyond one binding is an error with both numbers', async () => {
    const { device } = wrap(opened.device, { limits: { maxStorageBufferBindingSize: 300 } })
    const kernel = loadKernel(handmadeArtifact(), device)
    await expect(attention(kernel, callOf())).rejects.toMatchObject({
      code: 'binding-limit',
      message: 'k: one head of one batch entry takes 352 bytes, the device binds at most 300',
    })
    kernel.release()
  })
})

describe('timestamps', () => {
  test("give the kernel's own time", () =>
    withKernel([{}], async (kernel) => {
      expect((await attention(kernel, callOf())).kernelMs).toBeNull()
      const { kernelMs } = await attention(kernel, { ...callOf(), timestamps: true })
      expect(kernelMs).toBeGreaterThan(0)
    }))

  test('need the feature', async () => {
    const { device } = wrap(opened.device, { features: [] })
    const kernel = loadKernel(handmadeArtifact(), device)
    await expect(attention(kernel, { ...callOf(), timestamps: true })).rejects.toMatchObject({
      code: 'no-timestamps',
    })
    kernel.release()
  })
})

describe('encode', () => {
  const STORAGE = 0x80 | 0x08 | 0x04

  function filled(bytes: ArrayBufferView<ArrayBuffer>, offset = 0): GPUBuffer {
    const buffer = opened.device.createBuffer({ size: offset + bytes.byteLength, usage: STORAGE })
    opened.device.queue.writeBuffer(buffer, offset, bytes)
    return buffer
  }

  async function read(buffer: GPUBuffer): Promise<ArrayBuffer> {
    const { device } = opened
    const staging = device.createBuffer({ size: buffer.size, usage: 0x09 })
    const encoder = device.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size)
    device.queue.submit([encoder.finish()])
    await staging.mapAsync(1)
    const bytes = staging.getMappedRange().slice(0)
    staging.destroy()
    return bytes
  }

  test.each([[{}], [{ list: true }]])("records into the caller's pass and buffers %o", (variant) =>
    withKernel([variant], async (kernel) => {
      const { device } = opened
      const call = callOf({ kvLen: 20 })
      const shapes = { q: call.q.shape, k: call.k.shape, v: call.v.shape }
      const [q, v] = [
        filled(call.q.data as Float32Array<ArrayBuffer>),
        filled(call.v.data as Float32Array<ArrayBuffer>),
      ]
      const k = { buffer: filled(call.k.data as Float32Array<ArrayBuffer>, 256), offset: 256 }
      const [out, lse] = [4 * 2 * 4 * 7 * 8, 4 * 2 * 4 * 7].map((size) =>
        device.createBuffer({ size, usage: STORAGE }),
      )
      const tables = { docStart: filled(call.tables.docStart as Int32Array<ArrayBuffer>) }
      await kernel.prepare({ headDim: 8, valueDim: 8, dtype: 'f32' })
      const encoder = device.createCommandEncoder()
      const pass = encoder.beginComputePass()
      const encoded = kernel.encode(pass, {
        q,
        k,
        v,
        out: out!,
        lse: lse!,
        dtype: 'f32',
        shapes,
        params: call.params,
        tables,
      })
      pass.end()
      device.queue.submit([encoder.finish()])
      encoded.release()
      const exact = reference(handmadePattern, call)
      const [gotOut, gotLse] = [new Float32Array(await read(out!)), new Float32Array(await read(lse!))]
      expect(Math.max(...gotOut.map((x, i) => Math.abs(x - exact.out[i]!)))).toBeLessThan(1e-6)
      expect(
        Math.max(...gotLse.map((x, i) => (x === exact.lse[i] ? 0 : Math.abs(x - exact.lse[i]!)))),
      ).toBeLessThan(2e-6)
    }),
  )

  test('slices in place where the layout permits, else says what is too large', async () => {
    const rows = 8
    const call = callOf({ qLen: rows, kvLen: rows })
    const shapes = { q: call.q.shape, k: call.k.shape, v: call.v.shape }
    const { device } = wrap(opened.device, { limits: { maxStorageBufferBindingSize: rows * 8 * 4 } })
    const kernel = loadKernel(handmadeArtifact(), device)
    const buffer = (t: Tensor) => filled(t.data as Float32Array<ArrayBuffer>)
    const out = opened.device.createBuffer({ size: 4 * 2 * 4 * rows * 8, usage: STORAGE })
    const lse = opened.device.createBuffer({ size: 4 * 2 * 4 * rows, usage: STORAGE })
    const given = {
      q: buffer(call.q),
      k: buffer(call.k),
      v: buffer(call.v),
      out,
      lse,
      dtype: 'f32',
      shapes,
      params: call.params,
      tables: call.tables,
    } as const
    const encoder = opened.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    const encoded = kernel.encode(pass, given)
    expect(() => kernel.encode(pass, { ...given, layout: 'blhd' })).toThrow(
      'q: one head of one batch entry takes 928 bytes, the device binds at most 256',
    )
    pass.end()
    opened.device.queue.submit([encoder.finish()])
    encoded.release()
    const exact = reference(handmadePattern, call)
    const got = new Float32Array(await read(out))
    expect(Math.max(...got.map((x, i) => Math.abs(x - exact.out[i]!)))).toBeLessThan(1e-6)
    kernel.release()
  })

  test('checks buffers, strides and offsets', () =>
    withKernel([{ dtype: 'f16' }], async (kernel) => {
      const { device } = opened
      const big = device.createBuffer({ size: 4096, usage: STORAGE })
      const small = device.createBuffer({ size: 64, usage: STORAGE })
      const shape: Shape = [1, 1, 11, 8]
      const given = {
        q: big,
        k: big,
        v: big,
        out: big,
        lse: big,
        dtype: 'f16',
        shapes: { q: shape, k: shape, v: shape },
        tables: { docStart: new Int32Array(11) },
      } as const
      const encoder = device.createCommandEncoder()
      const pass = encoder.beginComputePass()
      const encode = (more: object) => () => kernel.encode(pass, { ...given, ...more })
      expect(encode({ v: small })).toThrow('v: its shape and strides need 176 bytes, got 64')
      expect(encode({ lse: { buffer: small, offset: 32 } })).toThrow(
        'lse: its shape and strides need 76 bytes, got 64',
      )
      expect(encode({ tables: { docStart: device.createBuffer({ size: 40, usage: STORAGE }) } })).toThrow(
        'tables.docStart: its shape and strides need 44 bytes, got 40',
      )
      expect(encode({ q: { buffer: big, offset: 258 } })).toThrow(
        'q: expected the byte offset to be a multiple of 4, got 258',
      )
      expect(encode({ q: { buffer: big, offset: 128 } })).toThrow(
        'q: expected the byte offset of a slice to be a multiple of 256, got 128',
      )
      expect(encode({ strides: { k: [88, 88, 9] } })).toThrow(
        'k: expected the stride of rows to be a multiple of 2, got 9',
      )
      expect(encode({ tables: {} })).toThrow('tables.docStart is missing: expected [batch, kvLen] = [1, 11]')
      expect(encode({ tables: { docStart: new Int32Array(3) } })).toThrow(
        'expected [batch, kvLen] = [1, 11], 11 values, got 3',
      )
      pass.end()
    }))

  test('strides of a layout are what it says', () => {
    expect(stridesOf([2, 3, 5, 7], 'blhd')).toEqual([105, 7, 21])
    expect(stridesOf([2, 3, 5, 7], 'bhld', 8)).toEqual([120, 40, 8])
    expect(fromHalf(0x3c00)).toBe(1)
  })
})
