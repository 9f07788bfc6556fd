/** The flags that choose an adapter in; a device with a name to print out. */

import { wordList } from './args.ts'
import type { Io } from './io.ts'

export const ADAPTER_FLAG = {
  adapter: {
    type: 'string',
    description: 'any: a GPU, else a software adapter; or software (default any)',
    valueHint: 'kind',
  },
  unsafe: {
    type: 'boolean',
    description: 'Experimental features of the adapter: shader-f16 on NVIDIA, subgroup matrices',
  },
} as const

export interface Opened {
  readonly device: GPUDevice
  /** The adapter's name, whether it is software, and any experimental switches: numbers taken on it must say so. */
  readonly name: string
  readonly driver: string
  close(): void
}

export async function openAdapter(
  io: Io,
  options: { readonly adapter: string | undefined; readonly unsafe: boolean },
): Promise<Opened> {
  const adapter = wordList('adapter', options.adapter, ['any'], ['any', 'software'])[0]!
  const opened = await io.openDevice({ adapter, unsafe: options.unsafe })
  const remarks = [...(opened.kind === 'software' ? ['software'] : []), ...opened.toggles]
  const info = opened.device.adapterInfo
  return {
    device: opened.device,
    name: remarks.length > 0 ? `${opened.name} (${remarks.join(', ')})` : opened.name,
    driver: [info.vendor, info.architecture, info.description].filter(Boolean).join(' '),
    close: () => opened.close(),
  }
}
