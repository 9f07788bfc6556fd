/** A device from the browser's own WebGPU: nothing in, an open GPUDevice with all of its adapter's limits out. */

import { deviceOf, type OpenDevice, type OpenOptions } from './device.ts'
import { HeddleError } from './messages.ts'

export type { OpenDevice, OpenOptions } from './device.ts'

/** Where `gpu` is looked for: `navigator`, unless a test brings its own. */
export interface Host {
  readonly gpu?: GPU
}

/**
 * Opens a WebGPU device in a browser.
 * @throws HeddleError `no-webgpu`, `no-adapter`, `feature-missing`, `device-refused`
 */
export async function openDevice(
  options: OpenOptions = {},
  host: Host = globalThis.navigator,
): Promise<OpenDevice> {
  if (!host?.gpu) {
    throw new HeddleError('no-webgpu', {
      where: 'in this browser',
      detail: 'navigator.gpu is missing (it needs a secure context)',
    })
  }
  const adapter = await host.gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new HeddleError('no-adapter', { detail: 'navigator.gpu.requestAdapter() gave none' })
  return deviceOf(adapter, options, [])
}
