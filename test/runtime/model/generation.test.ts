/** Which tokens end a text and how the next is chosen, from generation_config.json and from config.json behind it. */

import { describe, expect, test } from 'vitest'
import { fieldsOf, type Json } from '../../../runtime/model/fields.ts'
import { readGeneration } from '../../../runtime/model/generation.ts'
import { refusal } from './tiny.ts'

const read = (config: Json, generation: Json | null = null) =>
  readGeneration(fieldsOf('config.json', config), generation)

test('tokens are those of generation_config.json, else of config.json', () => {
  const config = { bos_token_id: 1, eos_token_id: 2, pad_token_id: null }
  expect(read(config)).toEqual({ bos: 1, eos: [2], pad: null, sampling: {} })
  expect(read(config, { eos_token_id: [7, 8], pad_token_id: 0 })).toMatchObject({
    bos: 1,
    eos: [7, 8],
    pad: 0,
  })
  expect(read({})).toMatchObject({ bos: null, eos: [], pad: null })
})

test('sampling is greedy unless do_sample says otherwise; then absent fields are those of transformers', () => {
  expect(read({}, { temperature: 0.6, top_p: 0.9 }).sampling).toEqual({})
  expect(read({}, { repetition_penalty: 1.1 }).sampling).toEqual({ repetitionPenalty: 1.1 })
  expect(read({}, { do_sample: true, temperature: 0.6, top_p: 0.9 }).sampling).toEqual({
    temperature: 0.6,
    topK: 50,
    topP: 0.9,
    minP: 0,
    repetitionPenalty: 1,
  })
})

describe('refusals', () => {
  test.each<[Json, string]>([
    [{ eos_token_id: 'x' }, 'eos_token_id to be a whole number from 0 to 16777216, got "x"'],
    [{ eos_token_id: [1, -1] }, 'eos_token_id to be token ids, got [1,-1]'],
    [{ do_sample: true, top_p: 2 }, 'top_p to be a number from 0.000001 to 1, got 2'],
    [{ do_sample: 'yes' }, 'do_sample to be true or false, got "yes"'],
  ])('%j', async (generation, text) => {
    expect(await refusal(() => read({}, generation))).toBe(
      `error[model-field]: generation_config.json: expected ${text}`,
    )
  })
})
