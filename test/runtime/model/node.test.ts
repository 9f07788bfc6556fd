/** heddle/model/node: a folder's model with the attention of its configuration, on a device that is opened and closed for it. */

import { expect, test } from 'vitest'
import { loadModel } from '../../../runtime/model-node.ts'
import { openTestDevice } from '../../helpers.ts'
import { randomModel, randomTokens } from './random-model.ts'
import { masked, transformer } from './transformer.ts'

const opened = await openTestDevice()
opened?.close()

test.skipIf(!opened)(
  'windows where the configuration has them, dense elsewhere, and the device goes with the model',
  async () => {
    const made = await randomModel({
      architectures: ['Qwen2ForCausalLM'],
      use_sliding_window: true,
      sliding_window: 5,
      max_window_layers: 1,
    })
    expect(made.config.windows).toEqual([null, 5])
    const prompt = randomTokens(30, 4)
    const model = await loadModel(made.files, { maxLength: 32, cache: 'f32' })
    expect(model.attention).toBe('causal, sliding-window')
    const attend = masked(made.config, (layer, q, kv) => kv <= q && (layer === 0 || q - kv < 5))
    const { logits } = transformer(made.config, made.weights, prompt, attend)
    const { vocabSize } = made.config
    const exact = logits.subarray(-vocabSize)
    const got = await model.logits(prompt)
    const most = Math.max(...exact.map(Math.abs))
    expect(Math.max(...exact.map((x, i) => Math.abs(x - got[i]!))) / most).toBeLessThan(1e-5)
    model.close()
    await expect(model.logits(prompt)).rejects.toMatchObject({ code: 'model-closed' })
  },
)
