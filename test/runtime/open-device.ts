/** Run in a process of its own: opens a device, runs a kernel while memory is collected, prints what it found as JSON. */

import { openDevice } from '../../runtime/device-node.ts'
import { attention, HeddleError, loadKernel } from '../../runtime/index.ts'
import { handmadeArtifact, randomValues } from './handmade.ts'

declare const gc: undefined | (() => void)

const rows = 24
const tensor = (heads: number, seed: number) => ({
  data: randomValues(heads * rows * 8, seed),
  shape: [1, heads, rows, 8] as const,
})

async function main(): Promise<unknown> {
  try {
    const { device, kind, name, close } = await openDevice()
    const kernel = loadKernel(handmadeArtifact(), device)
    const call = {
      q: tensor(2, 1),
      k: tensor(1, 2),
      v: tensor(1, 3),
      tables: { docStart: new Int32Array(rows) },
    }
    const sums: number[] = []
    for (let i = 0; i < 20; i++) {
      const waste = Array.from({ length: 1000 }, (_, n) => new Float64Array(n))
      const { out } = await attention(kernel, call)
      gc?.()
      sums.push((out.data as Float32Array).reduce((a, b) => a + b, waste.length))
    }
    kernel.release()
    close()
    return { kind, name, sums: new Set(sums).size, vk: process.env.VK_DRIVER_FILES }
  } catch (error) {
    if (error instanceof HeddleError) return { code: error.code, message: error.message }
    throw error
  }
}

process.stdout.write(JSON.stringify(await main()))
