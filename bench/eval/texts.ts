/** What a model is judged with: texts of needles for the model that knows their language, pieces of anybody's text for others. */

import { needleText, WORD_CLASSES, type Answer, type NeedleTask } from './tasks.ts'
import { positionsOf } from './scores.ts'

export interface EvalText {
  /** Null: there is nothing to answer. */
  readonly task: NeedleTask | null
  readonly tokens: readonly number[]
  readonly answers: readonly Answer[]
  /** Where predictions are compared, rising. */
  readonly positions: readonly number[]
}

/** Texts of each task, all of exactly `length` tokens. */
export function needleTexts(
  tasks: readonly NeedleTask[],
  length: number,
  texts: number,
  seed: number,
): EvalText[] {
  return tasks.flatMap((task) =>
    Array.from({ length: texts }, (_, n) => {
      const { tokens, answers } = needleText(WORD_CLASSES, task, length, seed + n)
      return { task, tokens: [...tokens], answers, positions: positionsOf(answers) }
    }),
  )
}

/** Places whose predictions are compared in a text without answers. */
const COMPARED = 64

/** Pieces of a text, each of exactly `length` tokens; fewer where it ends. */
export function pieces(tokens: readonly number[], length: number, texts: number): EvalText[] {
  const count = Math.min(texts, Math.floor(tokens.length / length))
  const compared = Math.min(COMPARED, length)
  return Array.from({ length: count }, (_, n) => ({
    task: null,
    tokens: tokens.slice(n * length, (n + 1) * length),
    answers: [],
    positions: Array.from({ length: compared }, (_, i) => Math.floor(((i + 1) * length) / compared) - 1),
  }))
}

/** Whether a tokenizer's file has the needle model's words, at the ids that the texts use. */
export function knowsNeedles(tokenizer: unknown): boolean {
  const model = (
    tokenizer as { readonly model?: { readonly vocab?: Readonly<Record<string, number>> } } | null
  )?.model
  const words = Object.values(WORD_CLASSES).flat()
  return words.every((word, id) => model?.vocab?.[word] === id)
}
