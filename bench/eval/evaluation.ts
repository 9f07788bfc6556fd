/** What all subjects of a length are judged with: a model and texts; a subject's artefact in, attention of the model out. */

import { patternAttention, type Attention } from '../../runtime/model/attention.ts'
import type { Model } from '../../runtime/model/model.ts'
import type { HeadSizes } from './oracle.ts'
import { SETTINGS } from './settings.ts'
import { paramsAt, type Builds, type Subject } from './subject.ts'
import type { EvalText } from './texts.ts'

export interface Evaluation {
  readonly model: Model
  /** What the model was trained with, whose predictions others are held against. */
  readonly trained: Attention
  /** Over all keys before a query. */
  readonly dense: Attention
  readonly texts: readonly EvalText[]
  readonly length: number
  readonly chunk: number
  readonly signal?: AbortSignal
  readonly onText?: (done: number, of: number) => void
}

export const sizesOf = ({ model, length, chunk }: Evaluation): HeadSizes => {
  const { qHeads, kvHeads, headDim } = model.config
  return { qHeads, kvHeads, headDim, length, chunk }
}

export function attentionOf(
  subject: Pick<Subject, 'pattern' | 'params'>,
  artifact: Builds['pattern'],
  sizes: HeadSizes,
): Attention {
  const entry = SETTINGS[subject.pattern]
  const tables = entry && 'at' in entry ? entry.tables?.(sizes) : undefined
  return patternAttention({
    prefill: (layer) => ({
      artifact,
      params: paramsAt(subject, layer),
      ...(tables ? { tables: () => tables } : {}),
    }),
  })
}
