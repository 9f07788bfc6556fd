/** A variant's cubins and a device's compute capability in; the bytes of the one that runs there, or null, out. */

import { createHash } from 'node:crypto'
import { HeddleError } from '../messages.ts'
import type { CudaDriver, ModuleSource } from './driver.ts'

export type Capability = CudaDriver['capability']

/** What NVRTC and nvcc are asked for: the device's own architecture. */
export const archOf = ({ major, minor }: Capability, suffix: ModuleSource['suffix']): string =>
  `sm_${major}${minor}${suffix}`

/** A cubin runs on its own major version from its minor on; one with a suffix on exactly its own. */
function runsOn(arch: string, { major, minor }: Capability): boolean {
  const [, digits, suffix] = /^sm_(\d+)([a-z]?)$/.exec(arch) ?? []
  if (digits === undefined) return false
  const [own, ownMinor] = [Math.floor(Number(digits) / 10), Number(digits) % 10]
  return own === major && (suffix ? ownMinor === minor : ownMinor <= minor)
}

/** The nearest architecture comes first; a cubin whose file is gone is passed over. */
export function cubinFor(
  { cubins, readCubin }: Pick<ModuleSource, 'cubins' | 'readCubin'>,
  capability: Capability,
): Uint8Array | null {
  const fitting = cubins.filter((c) => runsOn(c.arch, capability))
  for (const { file, sha256 } of fitting.toSorted((a, b) => (a.arch < b.arch ? 1 : -1))) {
    const bytes = readCubin(file)
    if (bytes === null) continue
    const got = createHash('sha256').update(bytes).digest('hex')
    if (got !== sha256) throw new HeddleError('cubin-hash', { file, expected: sha256, got })
    return bytes
  }
  return null
}

/** True if nothing has to be compiled for the device. */
export const hasCubin = (cubins: ModuleSource['cubins'], capability: Capability): boolean =>
  cubins.some((c) => runsOn(c.arch, capability))
