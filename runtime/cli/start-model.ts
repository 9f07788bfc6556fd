/** The needle model and a device in; how many of its questions it answers under dense attention and two patterns out. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { ParamValues } from '../index.ts'
import type { Model } from '../model.ts'

const FOLDER = path.join(PACKAGE_ROOT, 'models/needle')

/** A text of the needle model's language, and what is asked about it. */
export interface NeedleExample {
  readonly text: string
  readonly questions: readonly { readonly ask: string; readonly answer: string }[]
}

export interface Answers {
  readonly pattern: string
  readonly params: ParamValues
  readonly right: number
  readonly asked: number
  /** Tokens of the text and the first question, and what they took. */
  readonly prompt: { readonly tokens: number; readonly ms: number }
}

/** Null where the model is not there: installed packages come without it. */
export function needleExample(): NeedleExample | null {
  if (!fs.existsSync(path.join(FOLDER, 'model'))) return null
  return JSON.parse(fs.readFileSync(path.join(FOLDER, 'example.json'), 'utf8')) as NeedleExample
}

/** Dense; a window, which forgets most of what is asked for; blocks that the data chooses. */
export const ATTENTIONS: readonly { readonly pattern: string; readonly params: ParamValues }[] = [
  { pattern: 'causal', params: {} },
  { pattern: 'a-shape', params: { window: 128, sinkTokens: 16 } },
  { pattern: 'minference-block', params: { k: 3 } },
]

/** Of each attention in turn. The text goes through the model once for each; questions go on from it. */
export async function* needleAnswers(
  device: GPUDevice,
  { text, questions }: NeedleExample,
  attentions = ATTENTIONS,
): AsyncGenerator<Answers> {
  const { openModel } = await import('../model.ts')
  const { compiledAttention, folderSource, libraryPattern, loadModel } = await import('../model-node.ts')
  const files = await openModel(folderSource(path.join(FOLDER, 'model')))
  const attentionOf = ({ pattern, params }: (typeof attentions)[number]) =>
    compiledAttention({ prefill: { pattern: libraryPattern(pattern), params } })
  let model: Model | null = null
  try {
    for (const each of attentions) {
      if (model === null)
        model = await loadModel(files, { device, attention: attentionOf(each), maxLength: 512 })
      else await model.setAttention(attentionOf(each))
      const began = performance.now()
      let prompt: Answers['prompt'] | null = null
      let right = 0
      for (const { ask, answer } of questions) {
        let said = ''
        for await (const token of model.generate(`${text} ${ask}`, { maxTokens: 8 })) {
          prompt ??= { tokens: model.length, ms: performance.now() - began }
          said += token.text
        }
        if (said.trim() === answer) right++
      }
      yield { ...each, right, asked: questions.length, prompt: prompt ?? { tokens: 0, ms: 0 } }
    }
  } finally {
    model?.close()
  }
}
