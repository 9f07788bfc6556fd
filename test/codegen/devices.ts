/** Devices for tests of generated text: Dawn's null backend, which checks and runs nothing, and its complaints as text. */

import { openDevice } from '../../runtime/device-node.ts'

/** WebGPU's flags, which are globals in browsers only. */
export const USAGE = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 } as const
export const READ = 1
export const COMPUTE = 4

export const openNull = async (): Promise<GPUDevice> =>
  (await openDevice({ adapter: 'null', unsafe: true })).device

/** What Dawn says against a module, and against its entry points where the device has the workgroup memory. */
export async function complaints(
  device: GPUDevice,
  code: string,
  entries: readonly string[] = [],
): Promise<string[]> {
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code })
  const { messages } = await module.getCompilationInfo()
  const said = messages.map(
    (m) => `${m.type} ${m.lineNum}:${m.linePos} ${m.message} in \`${code.split('\n')[m.lineNum - 1]}\``,
  )
  if (said.length === 0) {
    for (const entryPoint of entries)
      device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint } })
  }
  const error = await device.popErrorScope()
  return said.length > 0 || !error ? said : [error.message]
}
