/** What goes wrong on a device: injected loss, lack of memory and bad programs reject clearly, leave nothing behind, and one can go on. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { OpenDevice } from '../../runtime/device.ts'
import { openDevice } from '../../runtime/device-node.ts'
import { attention, loadKernel, type AttentionCall, type Kernel } from '../../runtime/index.ts'
import { wrap, type Wrapped } from './faulty.ts'
import { handmadeArtifact, randomValues, sealed } from './handmade.ts'

let opened: OpenDevice
beforeAll(async () => {
  opened = await openDevice()
})
afterAll(() => opened.close())

const call: AttentionCall = {
  q: { data: randomValues(2 * 6 * 8, 1), shape: [1, 2, 6, 8] },
  k: { data: randomValues(6 * 8, 2), shape: [1, 1, 6, 8] },
  v: { data: randomValues(6 * 8, 3), shape: [1, 1, 6, 8] },
  tables: { docStart: new Int32Array(6) },
}

const expectBalanced = ({ counts }: Wrapped) => expect(counts.destroyed).toBe(counts.buffers + counts.queries)

describe('buffers', () => {
  test('of calls in a row come from the pool, and all are destroyed at the end', async () => {
    const wrapped = wrap(opened.device)
    const kernel = loadKernel(handmadeArtifact({ list: true }), wrapped.device)
    await attention(kernel, call)
    const first = wrapped.counts.buffers
    expect(first).toBeGreaterThan(8)
    for (let i = 0; i < 5; i++) await attention(kernel, call)
    expect(wrapped.counts.buffers).toBe(first)
    expect(wrapped.counts.destroyed).toBe(0)
    await attention(kernel, { ...call, timestamps: true })
    kernel.release()
    kernel.release()
    expectBalanced(wrapped)
    await expect(attention(kernel, call)).rejects.toMatchObject({
      code: 'kernel-released',
      message: 'the kernel of handmade has been released',
    })
  })

  test('of a call that is under way when its kernel is released', async () => {
    const wrapped = wrap(opened.device)
    const kernel = loadKernel(handmadeArtifact(), wrapped.device)
    const under = attention(kernel, call)
    kernel.release()
    await under
    expectBalanced(wrapped)
  })

  test('of refused calls', async () => {
    const wrapped = wrap(opened.device)
    const kernel = loadKernel(handmadeArtifact(), wrapped.device)
    await expect(attention(kernel, { ...call, params: { window: 0 } })).rejects.toMatchObject({
      code: 'param-value',
    })
    await expect(attention(kernel, { ...call, tables: {} })).rejects.toMatchObject({ code: 'table-missing' })
    await expect(attention(kernel, { ...call, scale: NaN })).rejects.toMatchObject({
      code: 'scale',
      message: 'scale: expected a finite number, got NaN',
    })
    expect(wrapped.counts.buffers).toBe(0)
    kernel.release()
  })

  test('of kernels that share a device, and pipelines of the same text', async () => {
    const wrapped = wrap(opened.device)
    const kernels = [1, 2].map(() => loadKernel(handmadeArtifact(), wrapped.device))
    for (const kernel of kernels) await attention(kernel, call)
    expect(wrapped.counts.modules).toBe(1)
    kernels[0]!.release()
    expect(wrapped.counts.destroyed).toBe(0)
    kernels[1]![Symbol.dispose]()
    expectBalanced(wrapped)
  })

  test('of recorded calls that were never given back', () => {
    const wrapped = wrap(opened.device)
    const kernel = loadKernel(handmadeArtifact(), wrapped.device)
    const buffer = opened.device.createBuffer({ size: 1024, usage: 0x80 })
    const encoder = opened.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    kernel.encode(pass, {
      q: buffer,
      k: buffer,
      v: buffer,
      out: buffer,
      lse: buffer,
      dtype: 'f32',
      shapes: { q: call.q.shape, k: call.k.shape, v: call.v.shape },
      tables: call.tables!,
    })
    pass.end()
    kernel.release()
    expectBalanced(wrapped)
    buffer.destroy()
  })
})

describe('out of memory', () => {
  test('rejects with what was wanted, gives all back, and the next call runs', async () => {
    const wrapped = wrap(opened.device)
    const kernel = loadKernel(handmadeArtifact(), wrapped.device)
    await attention(kernel, call)
    wrapped.faults.outOfMemory = true
    await expect(attention(kernel, call)).rejects.toMatchObject({
      code: 'out-of-memory',
      blame: 'machine',
      message: expect.stringMatching(
        /^the device is out of memory: this call wanted \d+ bytes of buffers; they have been given back$/,
      ),
    })
    // The first call's read-back buffer waits in the pool; all that the failed one took is gone.
    expect(wrapped.counts.buffers - wrapped.counts.destroyed).toBe(1)
    await attention(kernel, call)
    kernel.release()
    expectBalanced(wrapped)
  })
})

describe('device loss', () => {
  const expectLoss = async (
    during: (real: GPUDevice, wrapped: Wrapped, kernel: Kernel) => Promise<unknown>,
  ) => {
    const own = await openDevice()
    const wrapped = wrap(own.device)
    const kernel = loadKernel(handmadeArtifact(), wrapped.device)
    await attention(kernel, call)
    await expect(during(own.device, wrapped, kernel)).rejects.toMatchObject({
      name: 'HeddleError',
      code: 'device-lost',
      message: expect.stringMatching(
        /^the device was lost \(destroyed.*\); open another one and load the kernel on it$/,
      ),
    })
    expectBalanced(wrapped)
    // All later calls say so too.
    await expect(attention(kernel, call)).rejects.toMatchObject({ code: 'device-lost' })
    await expect(kernel.prepare({ headDim: 8, valueDim: 8, dtype: 'f32' })).rejects.toMatchObject({
      code: 'device-lost',
    })
    expect(() => loadKernel(handmadeArtifact(), wrapped.device)).toThrow('the device was lost')
    kernel.release()
    const next = await openDevice()
    const again = loadKernel(handmadeArtifact(), next.device)
    expect((await attention(again, call)).out.data.some((x) => x !== 0)).toBe(true)
    again.release()
    next.close()
  }

  test('between calls', () =>
    expectLoss(async (real, _, kernel) => {
      real.destroy()
      await real.lost
      await attention(kernel, call)
    }))

  test('in a call, before its commands are submitted', () =>
    expectLoss((real, { faults }, kernel) => {
      faults.beforeSubmit = () => real.destroy()
      return attention(kernel, call)
    }))

  test('in a call, while its results are awaited', () =>
    expectLoss((real, _, kernel) => {
      const under = attention(kernel, call)
      setTimeout(() => real.destroy(), 0)
      // A call this small may be through by then; a row of them is not.
      return (async () => {
        await under
        for (;;) await attention(kernel, call)
      })()
    }))
})

describe('programs that WebGPU refuses', () => {
  test.each([
    ['on a software adapter', true],
    ['on a GPU', false],
  ])('%s reject as our bug, and are tried again', async (_, isFallbackAdapter) => {
    const { device } = wrap(opened.device, { adapterInfo: { isFallbackAdapter } })
    const good = handmadeArtifact()
    const [variant] = good.variants
    const bad = loadKernel(
      sealed({ ...good, variants: [{ ...variant!, code: variant!.code.replace('rowMax', 'row Max') }] }),
      device,
    )
    for (let i = 0; i < 2; i++) {
      await expect(attention(bad, call)).rejects.toMatchObject({
        code: 'gpu-error',
        blame: 'heddle',
        message: expect.stringContaining('WebGPU refused the kernel d8-f32-portable: '),
      })
    }
    bad.release()
    const kernel = loadKernel(good, device)
    await attention(kernel, call)
    kernel.release()
  })
})
