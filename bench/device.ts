/** The adapter that openDevice() finds, with what a results file says of where it was measured. */

import { openDevice } from '../runtime/device-node.ts'
import { checkGpuSuite } from './check-gpu.ts'
import type { Prepared } from './cases.ts'
import { gpuSuite } from './gpu.ts'
import { suiteOf, type Machine, type Row, type Suite } from './results.ts'
import { skippingSuite } from './skipping.ts'

export const DEVICE_SUITES: Readonly<
  Record<string, (device: GPUDevice, prepared: Prepared) => Promise<Row[]>>
> = {
  skipping: skippingSuite,
  gpu: gpuSuite,
  'check-gpu': checkGpuSuite,
}

/** Runs suites by name on one device; those of a GPU are refused on a software adapter. */
export async function runOnDevice(
  names: readonly string[],
  unsafe: boolean,
  prepared: Prepared,
  versions: Readonly<Record<string, string>>,
  done: (suite: Suite) => void,
): Promise<void> {
  const opened = await openDevice({ unsafe })
  try {
    for (const name of names) {
      if (opened.kind === 'software' && name !== 'skipping')
        throw new Error(`the suite ${name} needs a GPU; this is ${opened.name}`)
      const rows = await DEVICE_SUITES[name]!(opened.device, prepared)
      done(suiteOf(unsafe ? `${name}-unsafe` : name, machineOf(opened), versions, rows))
    }
  } finally {
    opened.close()
  }
}

function machineOf({ device, kind, name, toggles }: Awaited<ReturnType<typeof openDevice>>): Machine {
  // Some drivers name the model, others only themselves.
  const { device: model, description } = device.adapterInfo
  const unsafe = `unsafe toggles: ${toggles.length === 0 ? 'none' : toggles.join(' ')}`
  const unnamed = kind === 'software' || /^0x|^$/.test(model)
  return { device: unnamed ? name : model, driver: unnamed ? unsafe : `${description}; ${unsafe}` }
}
