/** The adapter that openDevice() finds, with what a results file says of where it was measured. */

import { openDevice } from '../runtime/device-node.ts'
import { checkGpuSuite } from './check-gpu.ts'
import type { Prepared } from './cases.ts'
import { checkGpuSelections, GPU_CHECK } from './check-selections.ts'
import { gpuSuite } from './gpu.ts'
import { GPU_SELECTIONS, gpuSelections } from './gpu-selections.ts'
import { modelsSuite } from './models.ts'
import { suiteOf, type Machine, type Row, type Suite } from './results.ts'
import type { PreparedSelections } from './selection-cases.ts'
import { skippingSuite } from './skipping.ts'

export interface Carried {
  readonly prepared: Prepared
  readonly selections: {
    readonly units: PreparedSelections['units']['wgsl']
    readonly timed: PreparedSelections['timed']['wgsl']
  }
}

/** What the command line may narrow; suites of masks run whole. */
export interface Narrowed {
  /** A word in a case's name. */
  readonly only: string
  readonly minutes: number
}

export const WHOLE: Narrowed = { only: '', minutes: Infinity }

export const DEVICE_SUITES: Readonly<
  Record<string, (device: GPUDevice, carried: Carried, narrowed: Narrowed) => Promise<Row[]>>
> = {
  skipping: (device, { prepared }) => skippingSuite(device, prepared),
  gpu: (device, { prepared }) => gpuSuite(device, prepared),
  'check-gpu': (device, { prepared }) => checkGpuSuite(device, prepared),
  'check-gpu-selections': (device, { selections }, narrowed) =>
    checkGpuSelections(device, selections.units, { ...GPU_CHECK, ...narrowed }),
  'gpu-selections': (device, { selections }, narrowed) =>
    gpuSelections(device, selections.timed, { ...GPU_SELECTIONS, ...narrowed }, (text) => console.log(text)),
  models: (device, { prepared }, { only }) => modelsSuite(device, prepared, only),
}

/** Runs suites by name on one device; those of a GPU are refused on a software adapter. */
export async function runOnDevice(
  names: readonly string[],
  unsafe: boolean,
  carried: Carried,
  versions: Readonly<Record<string, string>>,
  done: (suite: Suite) => void,
  narrowed: Narrowed = WHOLE,
): Promise<void> {
  const opened = await openDevice({ unsafe })
  try {
    for (const name of names) {
      if (opened.kind === 'software' && name !== 'skipping')
        throw new Error(`the suite ${name} needs a GPU; this is ${opened.name}`)
      const rows = await DEVICE_SUITES[name]!(opened.device, carried, narrowed)
      done(suiteOf(unsafe ? `${name}-unsafe` : name, machineOf(opened), versions, rows))
    }
  } finally {
    opened.close()
  }
}

export function machineOf({ device, kind, name, toggles }: Awaited<ReturnType<typeof openDevice>>): Machine {
  // Some drivers name the model, others only themselves.
  const { device: model, description } = device.adapterInfo
  const unsafe = `unsafe toggles: ${toggles.length === 0 ? 'none' : toggles.join(' ')}`
  const unnamed = kind === 'software' || /^0x|^$/.test(model)
  return { device: unnamed ? name : model, driver: unnamed ? unsafe : `${description}; ${unsafe}` }
}
