/** A loaded model, and for each length its texts and subjects, in; the rows of an evaluation, as they come, and what the device refused, out. */

import { HeddleError } from '../../runtime/messages.ts'
import type { Attention } from '../../runtime/model/attention.ts'
import type { Model } from '../../runtime/model/model.ts'
import { baselineOf, evaluate, type EvalRow } from './evaluate.ts'
import { attentionOf, type Evaluation } from './evaluation.ts'
import type { Refusal, Subject } from './subject.ts'
import type { EvalText } from './texts.ts'

export interface Round {
  readonly length: number
  readonly texts: readonly EvalText[]
  /** Dense attention is the first. */
  readonly subjects: readonly Subject[]
}

export interface EvalRun {
  readonly model: Model
  readonly chunk: number
  /** What the model was trained with; by default dense attention. */
  readonly trained?: Attention
  readonly rounds: readonly Round[]
  /** Whether there is time for another row. */
  readonly goes?: () => boolean
  readonly onText?: (subject: string, length: number, done: number, of: number) => void
}

export async function* evalRows({
  model,
  chunk,
  trained,
  rounds,
  goes = () => true,
  onText,
}: EvalRun): AsyncGenerator<EvalRow | Refusal, void> {
  const { qHeads, kvHeads, headDim } = model.config
  for (const { length, texts, subjects } of rounds) {
    const first = subjects[0]
    if (!first || !goes()) continue
    const dense = attentionOf(first, first.builds.pattern, { qHeads, kvHeads, headDim, length, chunk })
    const evaluation = (name: string): Evaluation => ({
      model,
      trained: trained ?? dense,
      dense,
      texts,
      length,
      chunk,
      ...(onText ? { onText: (done, of) => onText(name, length, done, of) } : {}),
    })
    const baseline = await baselineOf(evaluation('dense'))
    let denseRow: EvalRow | null = null
    for (const subject of subjects) {
      if (!goes()) break
      try {
        const row: EvalRow = await evaluate(subject, evaluation(subject.name), baseline, denseRow)
        denseRow ??= row
        yield row
      } catch (error) {
        // Without dense attention there is nothing to compare with, without a device nothing goes on.
        if (denseRow === null || !isOfPattern(error)) throw error
        yield { name: subject.name, reason: `does not run here at ${length} tokens: ${error.message}` }
      }
    }
  }
}

/** What its kernels meet and others need not. */
const isOfPattern = (error: unknown): error is HeddleError =>
  error instanceof HeddleError && error.blame !== 'caller' && error.code !== 'device-lost'
