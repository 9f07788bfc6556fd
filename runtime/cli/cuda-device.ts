/** The flag that chooses an adapter in; a CUDA device with a name to print out: a GPU, else the emulation on the CPU. */

import type { CudaDriver } from '../cuda.ts'
import { HeddleError } from '../messages.ts'
import { wordList } from './args.ts'
import type { Io } from './io.ts'
import { CliError } from './messages.ts'

export interface OpenedCuda {
  readonly driver: CudaDriver
  /** Says `emulated` where it is: numbers taken there say nothing of a GPU's. */
  readonly name: string
  readonly versions: string
  close(): void
}

/** What openCuda says where there is no GPU of use, rather than one that is broken. */
const ABSENT: readonly string[] = ['no-cuda', 'cuda-capability']

const openedOf = (driver: CudaDriver): OpenedCuda => ({
  driver,
  name: driver.kind === 'emulated' ? `${driver.name} on the CPU` : driver.name,
  versions: Object.entries(driver.versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', '),
  close: () => driver.release(),
})

export async function openCudaDevice(
  io: Io,
  options: { readonly adapter: string | undefined },
): Promise<OpenedCuda> {
  const adapter = wordList('adapter', options.adapter, ['any'], ['any', 'software'])[0]!
  if (adapter === 'software') return openedOf(await io.openEmulation())
  try {
    return openedOf(await io.openCuda())
  } catch (error) {
    if (!(error instanceof HeddleError && ABSENT.includes(error.code))) throw error
    return openedOf(await io.openEmulation())
  }
}

/** @param what needs it, for the message */
export async function openGpu(io: Io, what: string): Promise<OpenedCuda> {
  try {
    return openedOf(await io.openCuda())
  } catch (error) {
    if (!(error instanceof HeddleError && ABSENT.includes(error.code))) throw error
    throw new CliError('no-gpu', { what, why: error.message })
  }
}
