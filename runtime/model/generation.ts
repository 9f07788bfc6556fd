/** generation_config.json, and config.json behind it, in; which tokens begin and end a text and how tokens are chosen out. */

import { fieldsOf, type Fields, type Json } from './fields.ts'
import type { Sampling } from './sampling.ts'

export interface Generation {
  readonly bos: number | null
  /** A text ends at any of them; none: it ends at the caller's limit. */
  readonly eos: readonly number[]
  readonly pad: number | null
  /** What the model's makers sample with; greedy unless they say otherwise. */
  readonly sampling: Sampling
}

export const GENERATION_FILE = 'generation_config.json'
const TOKEN = { least: 0, most: 2 ** 24 }

export function readGeneration(config: Fields, generation: Json | null): Generation {
  const own = generation === null ? null : fieldsOf(GENERATION_FILE, generation)
  const from = (key: string): Fields => (own?.raw(key) === undefined ? config : own)
  const token = (key: string): number | null =>
    from(key).raw(key) === undefined ? null : from(key).whole(key, TOKEN)
  return {
    bos: token('bos_token_id'),
    eos: readEos(from('eos_token_id')),
    pad: token('pad_token_id'),
    sampling: own ? readSampling(own) : {},
  }
}

function readEos(fields: Fields): number[] {
  const eos = fields.raw('eos_token_id')
  if (!Array.isArray(eos)) return eos === undefined ? [] : [fields.whole('eos_token_id', TOKEN)]
  const isToken = (id: unknown): id is number => Number.isInteger(id) && (id as number) >= 0
  if (!eos.every(isToken)) throw fields.refuse('eos_token_id', 'token ids')
  return eos
}

/** Absent fields are transformers' defaults, among which are 50 tokens for topK. */
function readSampling(fields: Fields): Sampling {
  const penalty = fields.number('repetition_penalty', { least: 1e-3, most: 1e3 }, 1)
  if (!fields.flag('do_sample', false)) return penalty === 1 ? {} : { repetitionPenalty: penalty }
  return {
    temperature: fields.number('temperature', { least: 0, most: 1e3 }, 1),
    topK: fields.whole('top_k', { least: 0, most: TOKEN.most }, 50),
    topP: fields.number('top_p', { least: 1e-6, most: 1 }, 1),
    minP: fields.number('min_p', { least: 0, most: 1 }, 0),
    repetitionPenalty: penalty,
  }
}
