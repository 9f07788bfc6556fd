/**
 * A model, texts and a pattern in; a row of the evaluation out: what is still answered right, how far predictions move, what is kept
 * of pairs, tiles and softmax mass, and what it costs.
 */

import type { CallOptions } from '../../runtime/model/calls.ts'
import type { ParamValues } from '../../runtime/params.ts'
import { attentionOf, sizesOf, type Evaluation } from './evaluation.ts'
import { probed, sampled, type Kept } from './keeping.ts'
import { added, divergences, judge, shareOf, type Count } from './scores.ts'
import { paramsAt, type Subject } from './subject.ts'
import type { NeedleTask } from './tasks.ts'
import { timesOf, type Times } from './times.ts'
import { verdictOf } from './verdict.ts'

export interface TaskRow {
  readonly task: NeedleTask
  readonly answers: number
  readonly accuracy: number
}

export interface EvalRow extends Kept {
  readonly pattern: string
  /** In words, then as numbers. */
  readonly about: string
  readonly consts: Readonly<Record<string, number>>
  /** Of layer 0, where layers differ. */
  readonly params: ParamValues
  readonly length: number
  readonly texts: number
  /** Of all answers; null without tasks. */
  readonly accuracy: number | null
  readonly tasks: readonly TaskRow[]
  /** Tokens within which a fact is near; answers that rest on near facts and on others. */
  readonly nearest: number
  readonly near: Count
  readonly far: Count
  /** Nats from the dense model's predictions to these, the mean over `positions` places. */
  readonly kl: number
  readonly positions: number
  /** Of whole texts; null with tasks. */
  readonly perplexity: number | null
  /** Share of the softmax's mass, the mean and the least layer's; null of a pattern of several softmaxes. */
  readonly recall: number | null
  readonly leastRecall: number | null
  readonly times: Times
  readonly verdict: string
}

/** The trained model's logits, text by text. */
export type Baseline = readonly Float32Array[]

export async function baselineOf(evaluation: Evaluation): Promise<Baseline> {
  await evaluation.model.setAttention(evaluation.trained)
  return logitsOf(evaluation)
}

/** Text by text, behind those that are known. */
async function logitsOf(
  { model, texts, signal, onText }: Evaluation,
  known: readonly Float32Array[] = [],
): Promise<Float32Array[]> {
  const options: CallOptions = signal ? { signal } : {}
  const all = [...known]
  for (const { tokens, positions } of texts.slice(known.length)) {
    onText?.(all.length, texts.length)
    all.push(await model.logitsAt(tokens, positions, options))
  }
  return all
}

/** @param denseRow the row of dense attention at this length, where there is one to compare with */
export async function evaluate(
  subject: Subject,
  evaluation: Evaluation,
  baseline: Baseline,
  denseRow: EvalRow | null,
): Promise<EvalRow> {
  const { model, texts, length } = evaluation
  const { vocabSize } = model.config
  const sizes = sizesOf(evaluation)
  const { builds, near: nearest } = subject
  const { logits: first, ...measured } = await probed(subject, evaluation)
  await model.setAttention(attentionOf(subject, builds.pattern, sizes))
  const kept = measured.counted ? measured : { ...measured, ...(await sampled(subject, evaluation)) }
  const logits = await logitsOf(evaluation, [first])
  const judged = texts.map(({ task, tokens, answers }, n) => ({
    task,
    ...judge(tokens, answers, logits[n]!, vocabSize, nearest),
  }))
  const [near, far] = [added(judged.map((j) => j.near)), added(judged.map((j) => j.far))]
  const names = [...new Set(judged.flatMap((j) => j.task ?? []))]
  const tasks = names.map((task): TaskRow => {
    const own = added(judged.flatMap((j) => (j.task === task ? [j.near, j.far] : [])))
    return { task, answers: own.answers, accuracy: shareOf(own)! }
  })
  const moved = logits.flatMap((own, n) => divergences(baseline[n]!, own, vocabSize))
  const perplexity = names.length > 0 ? null : await perplexityOf(evaluation)
  const times = await timesOf(model, texts[0]!.tokens)
  const row = {
    pattern: subject.name,
    about: subject.about,
    consts: subject.consts,
    params: paramsAt(subject, 0),
    length,
    texts: texts.length,
    accuracy: shareOf(added([near, far])),
    tasks,
    nearest,
    near,
    far,
    kl: moved.reduce((a, b) => a + b, 0) / moved.length,
    positions: moved.length,
    perplexity,
    ...kept,
    times,
  }
  return { ...row, verdict: verdictOf(row, denseRow) }
}

/** exp of the mean of -log p over the tokens of all texts. */
async function perplexityOf({ model, texts }: Evaluation): Promise<number> {
  let sum = 0
  for (const { tokens } of texts) sum += Math.log(await model.perplexity(tokens))
  return Math.exp(sum / texts.length)
}
