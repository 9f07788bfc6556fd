/** Tokenizers in GGUF files' values: the same tokens as the model's tokenizer.json gives, and what is said where there are none. */

import { describe, expect, test } from 'vitest'
import type { Json } from '../../../runtime/model/fields.ts'
import { ggufTokenizer } from '../../../runtime/model/gguf-tokenizer.ts'
import { refusal } from './tiny.ts'
import { byteLevel, sentencePiece, tokenizerOf } from './tiny-tokenizers.ts'

const TEXTS = ['hello w', "IT'S 12345\n\n  x é€😀", '<|begin|>hello<|end|>', '<s>hello</s>', ' a  b', '']

/** The tokens of a tokenizer.json by their ids, and what kind llama.cpp has them as. */
function listed(tokenizer: Json): { tokens: string[]; kinds: number[] } {
  const { vocab } = tokenizer['model'] as { vocab: Record<string, number> }
  const added = tokenizer['added_tokens'] as { id: number; content: string }[]
  const tokens: string[] = []
  for (const [token, id] of Object.entries(vocab)) tokens[id] = token
  for (const { id, content } of added) tokens[id] = content
  return { tokens, kinds: tokens.map((_, id) => (added.some((t) => t.id === id) ? 3 : 1)) }
}

const bytes = listed(byteLevel())
const BYTES: Json = {
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'llama-bpe',
  'tokenizer.ggml.tokens': bytes.tokens,
  'tokenizer.ggml.token_type': bytes.kinds,
  'tokenizer.ggml.merges': (byteLevel()['model'] as { merges: string[][] }).merges.map((m) => m.join(' ')),
  'tokenizer.ggml.bos_token_id': bytes.tokens.indexOf('<|begin|>'),
  'tokenizer.ggml.eos_token_id': bytes.tokens.indexOf('<|end|>'),
  'tokenizer.ggml.add_bos_token': true,
}

const pieces = listed(sentencePiece())
const PIECES: Json = {
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': pieces.tokens,
  'tokenizer.ggml.token_type': pieces.kinds,
  // The better a merge, the earlier it was learnt: as the list of merges has them.
  'tokenizer.ggml.scores': pieces.tokens.map((token, id) => ([...token].length > 1 ? -id : -1000)),
  'tokenizer.ggml.bos_token_id': 1,
  'tokenizer.ggml.eos_token_id': 2,
  'tokenizer.ggml.add_bos_token': false,
}

describe('the same tokens as of tokenizer.json', () => {
  test.each<[string, Json, Json]>([
    ['bytes as letters', BYTES, byteLevel()],
    ['SentencePiece', PIECES, sentencePiece()],
  ])('%s', (_, metadata, tokenizer) => {
    const [got, expected] = [ggufTokenizer('tiny.gguf', metadata), tokenizerOf(tokenizer)]
    for (const text of TEXTS) {
      expect(got.encode(text), text).toEqual(expected.encode(text))
      expect(got.decode(got.encode(text)), text).toBe(expected.decode(expected.encode(text)))
    }
  })

  test('what stands around a text is what the values say', () => {
    const ids = (values: Json) => ggufTokenizer('tiny.gguf', { ...PIECES, ...values }).encode('hello')
    const hello = pieces.tokens.indexOf('▁hello')
    expect(ids({})).toEqual([hello])
    expect(ids({ 'tokenizer.ggml.add_bos_token': undefined })).toEqual([1, hello])
    expect(ids({ 'tokenizer.ggml.add_eos_token': true })).toEqual([hello, 2])
    expect(ids({ 'tokenizer.ggml.add_space_prefix': false })).toEqual([pieces.tokens.indexOf('hello')])
  })

  test('the splitting of Qwen cuts numbers digit by digit and composes accents', () => {
    const qwen = ggufTokenizer('tiny.gguf', { ...BYTES, 'tokenizer.ggml.pre': 'qwen2' })
    expect(qwen.encode('e\u0301')).toEqual(qwen.encode('é'))
    const gpt = ggufTokenizer('tiny.gguf', { ...BYTES, 'tokenizer.ggml.pre': 'gpt-2' })
    expect(gpt.decode(gpt.encode("it's 123"))).toBe("it's 123")
  })

  test('named tokens and the chat template', () => {
    const tokenizer = ggufTokenizer('tiny.gguf', {
      ...BYTES,
      'tokenizer.chat_template': "{{ bos_token }}{{ messages[0]['content'] }}",
    })
    expect(tokenizer.named).toEqual({ bos_token: '<|begin|>', eos_token: '<|end|>' })
    expect(tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }])).toBe('<|begin|>hi')
  })
})

describe('refusals', () => {
  test.each<[string, Json, string]>([
    ['none', {}, 'error[no-tokenizer]: tiny.gguf has no tokenizer that can be read: its values have none'],
    [
      'another kind',
      { 'tokenizer.ggml.model': 'bert' },
      'error[no-tokenizer]: tiny.gguf has no tokenizer that can be read: tokenizer.ggml.model is "bert", none of gpt2, llama',
    ],
    [
      'a splitting that is not known',
      { ...BYTES, 'tokenizer.ggml.pre': 'tekken' },
      'error[model-field]: tiny.gguf: expected tokenizer.ggml.pre to be one of gpt-2, llama-bpe, llama3, llama-v3, ' +
        'qwen2, deepseek-r1-qwen, got "tekken"',
    ],
    [
      'no tokens',
      { ...BYTES, 'tokenizer.ggml.tokens': [1] },
      'error[model-field]: tiny.gguf: expected tokenizer.ggml.tokens to be a list of texts, got [1]',
    ],
    [
      'too few scores',
      { ...PIECES, 'tokenizer.ggml.scores': [0] },
      `error[model-field]: tiny.gguf: expected tokenizer.ggml.scores to be a number for each of the ${pieces.tokens.length} tokens, got [0]`,
    ],
    [
      'kinds that are none',
      { ...BYTES, 'tokenizer.ggml.token_type': ['x'] },
      'error[model-field]: tiny.gguf: expected tokenizer.ggml.token_type to be a list of numbers, got ["x"]',
    ],
    [
      'a first token that is none',
      { ...BYTES, 'tokenizer.ggml.bos_token_id': 999 },
      `error[model-field]: tiny.gguf: expected tokenizer.ggml.bos_token_id to be one of ${bytes.tokens.length} tokens, got 999`,
    ],
  ])('%s', async (_, metadata, text) => {
    expect(await refusal(() => ggufTokenizer('tiny.gguf', metadata))).toBe(text)
  })
})
