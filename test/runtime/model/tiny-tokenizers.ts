/** Small tokenizers of the two kinds that models have: bytes written as letters, and SentencePiece with a byte fallback. */

import type { Json } from '../../../runtime/model/fields.ts'
import { makeTokenizer, type Tokenizer } from '../../../runtime/model/tokenizer.ts'

/** GPT-2's letters for bytes: printable ones are themselves, the others come from 256 on. */
export function byteLetters(): string[] {
  let next = 256
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255)
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++))
}

const vocabulary = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]))
const special = (content: string, id: number) => ({ id, content, special: true, normalized: false })

const SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** As Llama 3 and Qwen have it, with their splitting expression, 256 bytes and a few merges. */
export function byteLevel(): Json {
  const merges = [
    ['h', 'e'],
    ['l', 'l'],
    ['he', 'll'],
    ['hell', 'o'],
    ['Ġ', 'w'],
    ['Ã', '¤'],
  ] as const
  const tokens = [...byteLetters(), ...merges.map(([a, b]) => a + b)]
  return {
    version: '1.0',
    added_tokens: [special('<|begin|>', tokens.length), special('<|end|>', tokens.length + 1)],
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: SPLIT }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<|begin|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<|begin|>': { id: '<|begin|>', ids: [tokens.length], tokens: ['<|begin|>'] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: vocabulary(tokens), merges, byte_fallback: false, ignore_merges: false },
  }
}

/** As Llama 2 and Mistral have it: spaces are a letter, unknown characters are bytes. */
export function sentencePiece(): Json {
  const bytes = Array.from({ length: 256 }, (_, n) => `<0x${n.toString(16).toUpperCase().padStart(2, '0')}>`)
  const merges = ['h e', 'l l', 'he ll', 'hell o', '▁ hello', '▁ w'] as const
  const letters = ['▁', ...'abcdehlorw.,é']
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...letters, ...merges.map((m) => m.replace(' ', ''))]
  return {
    added_tokens: [special('<unk>', 0), special('<s>', 1), special('</s>', 2)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: vocabulary(tokens),
      merges,
    },
  }
}

export const tokenizerOf = (tokenizer: Json, config: Json = {}, template: string | null = null): Tokenizer =>
  makeTokenizer({ file: 'tokenizer.json', tokenizer, config, template })
