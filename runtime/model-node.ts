/** `heddle/model/node`: models from folders on disk, on a device that is opened for them, with patterns compiled for them. */

import { openDevice } from './device-node.ts'
import { loadModel as loadOn, type LoadOptions } from './model/load.ts'
import type { LoadableFiles } from './model/calls.ts'
import type { Model } from './model/model.ts'
import { configuredAttention } from './model-node/attention.ts'

export { folderSource } from './model/source-node.ts'
export {
  compiledAttention,
  configuredAttention,
  libraryPattern,
  type CompiledChoice,
  type CompiledOptions,
} from './model-node/attention.ts'

export interface NodeLoadOptions extends Omit<LoadOptions, 'device' | 'attention' | 'onClose'> {
  /** By default one is opened, and closed with the model. */
  readonly device?: GPUDevice
  /** By default what the configuration says: dense, or windows where layers have them. */
  readonly attention?: LoadOptions['attention']
}

/**
 * As `loadModel` of `heddle/model`, with defaults for the device and the attention.
 *
 * @example
 * const files = await openModel(folderSource('models/llama'))
 * using model = await loadModel(files, { maxLength: 4096 })
 * for await (const { text } of model.generate('Once upon a time', { maxTokens: 64 })) process.stdout.write(text)
 */
export async function loadModel(files: LoadableFiles, options: NodeLoadOptions): Promise<Model> {
  const attention = options.attention ?? configuredAttention(files.config)
  const { device } = options
  if (device) return loadOn(files, { ...options, device, attention })
  const opened = await openDevice()
  try {
    return await loadOn(files, {
      ...options,
      device: opened.device,
      attention,
      onClose: () => opened.close(),
    })
  } catch (error) {
    opened.close()
    throw error
  }
}
