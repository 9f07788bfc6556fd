/** The tokenizer in a GGUF file's values in; the same as tokenizer.json would have it, and so a Tokenizer, out. */

import { HeddleError } from '../messages.ts'
import { fieldsOf, type Fields, type Json } from './fields.ts'
import { makeTokenizer, type Tokenizer } from './tokenizer.ts'

const LETTERS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|DIGITS| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

interface Splitting {
  /** The expression that cuts a text into words; null for GPT-2's, which the byte-level step has. */
  readonly pattern: string | null
  readonly ignoreMerges: boolean
  readonly normalizer: Json | null
}

const LLAMA3: Splitting = {
  pattern: LETTERS.replace('DIGITS', '\\p{N}{1,3}'),
  ignoreMerges: true,
  normalizer: null,
}
const QWEN2: Splitting = {
  pattern: LETTERS.replace('DIGITS', '\\p{N}'),
  ignoreMerges: false,
  normalizer: { type: 'NFC' },
}

/** llama.cpp has the splitting of a text by name only. */
const SPLITTINGS: Readonly<Record<string, Splitting>> = {
  'gpt-2': { pattern: null, ignoreMerges: false, normalizer: null },
  'llama-bpe': LLAMA3,
  llama3: LLAMA3,
  'llama-v3': LLAMA3,
  qwen2: QWEN2,
  'deepseek-r1-qwen': QWEN2,
}

/** Its kinds of tokens: what is never part of a text, and what a text may spell but is never merged. */
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const TOKEN = { least: 0, most: 2 ** 24 }
const SPACE = '▁'

export function ggufTokenizer(file: string, metadata: Json): Tokenizer {
  const fields = fieldsOf(file, metadata)
  const kind = fields.raw('tokenizer.ggml.model')
  const make =
    typeof kind === 'string' && Object.hasOwn(KINDS, kind) ? KINDS[kind as keyof typeof KINDS] : null
  if (!make) {
    const hint =
      kind === undefined
        ? 'its values have none'
        : `tokenizer.ggml.model is ${JSON.stringify(kind)}, none of ${Object.keys(KINDS).join(', ')}`
    throw new HeddleError('no-tokenizer', { place: file, hint })
  }
  const tokens = texts(fields, 'tokenizer.ggml.tokens')
  const named = namedTokens(fields, tokens)
  const added = { added_tokens: addedTokens(fields, tokens), post_processor: around(fields, named) }
  const template = fields.text('tokenizer.chat_template', '')
  return makeTokenizer({
    file,
    tokenizer: { ...make(fields, tokens), ...added },
    config: named,
    template: template === '' ? null : template,
  })
}

const KINDS = {
  /** Bytes as letters. */
  gpt2(fields: Fields, tokens: readonly string[]): Json {
    const name = fields.raw('tokenizer.ggml.pre')
    const splitting =
      typeof name === 'string' && Object.hasOwn(SPLITTINGS, name) ? SPLITTINGS[name] : undefined
    if (!splitting) throw fields.refuse('tokenizer.ggml.pre', `one of ${Object.keys(SPLITTINGS).join(', ')}`)
    const { pattern, ignoreMerges, normalizer } = splitting
    const bytes = {
      type: 'ByteLevel',
      add_prefix_space: false,
      trim_offsets: false,
      use_regex: pattern === null,
    }
    const split = { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }
    return {
      normalizer,
      pre_tokenizer: pattern === null ? bytes : { type: 'Sequence', pretokenizers: [split, bytes] },
      decoder: bytes,
      model: {
        type: 'BPE',
        vocab: vocabulary(tokens),
        merges: texts(fields, 'tokenizer.ggml.merges'),
        ignore_merges: ignoreMerges,
      },
    }
  },

  /** SentencePiece: pairs merge by the score of what they become, and unknown characters are bytes. */
  llama(fields: Fields, tokens: readonly string[]): Json {
    const scores = fields.raw('tokenizer.ggml.scores')
    if (!isNumbers(scores) || scores.length !== tokens.length) {
      throw fields.refuse('tokenizer.ggml.scores', `a number for each of the ${tokens.length} tokens`)
    }
    const prefix = fields.flag('tokenizer.ggml.add_space_prefix', true)
    const spaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE }
    const unknown = fields.whole('tokenizer.ggml.unknown_token_id', TOKEN, 0)
    return {
      normalizer: prefix
        ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, spaces] }
        : spaces,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        unk_token: tokens[unknown],
        fuse_unk: true,
        byte_fallback: true,
        vocab: vocabulary(tokens),
        merges: mergesByScore(tokens, scores),
      },
    }
  },
} as const

/** SentencePiece has no list of merges: every way to cut a token into two is one, the better the token the earlier. */
function mergesByScore(tokens: readonly string[], scores: readonly number[]): (readonly [string, string])[] {
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const pairs = tokens.flatMap((token, id) => {
    const letters = [...token]
    return letters.slice(1).flatMap((_, i) => {
      const [left, right] = [letters.slice(0, i + 1).join(''), letters.slice(i + 1).join('')]
      return ids.has(left) && ids.has(right) ? [{ id, left, right }] : []
    })
  })
  return pairs
    .sort(
      (a, b) =>
        scores[b.id]! - scores[a.id]! || b.left.length - a.left.length || b.right.length - a.right.length,
    )
    .map(({ left, right }) => [left, right] as const)
}

const vocabulary = (tokens: readonly string[]): Json =>
  Object.fromEntries(tokens.map((token, id) => [token, id]))
const isTexts = (x: unknown): x is string[] => Array.isArray(x) && x.every((t) => typeof t === 'string')
const isNumbers = (x: unknown): x is number[] => Array.isArray(x) && x.every((n) => Number.isFinite(n))

function texts(fields: Fields, key: string): string[] {
  const value = fields.raw(key)
  if (!isTexts(value)) throw fields.refuse(key, 'a list of texts')
  return value
}

function addedTokens(fields: Fields, tokens: readonly string[]): Json[] {
  const kinds = fields.raw('tokenizer.ggml.token_type') ?? []
  if (!isNumbers(kinds)) throw fields.refuse('tokenizer.ggml.token_type', 'a list of numbers')
  return tokens.flatMap((content, id) => {
    const kind = kinds[id]
    const special = kind === CONTROL || kind === UNKNOWN
    return special || kind === USER_DEFINED ? [{ id, content, special, normalized: false }] : []
  })
}

function namedTokens(fields: Fields, tokens: readonly string[]): Record<string, string> {
  const names = { bos: 'bos_token', eos: 'eos_token', padding: 'pad_token', unknown: 'unk_token' }
  const found = Object.entries(names).flatMap(([name, named]) => {
    const key = `tokenizer.ggml.${name}_token_id`
    if (fields.raw(key) === undefined) return []
    const token = tokens[fields.whole(key, TOKEN)]
    if (token === undefined) throw fields.refuse(key, `one of ${tokens.length} tokens`)
    return [[named, token]]
  })
  return Object.fromEntries(found) as Record<string, string>
}

/** What stands around a text: the first token if the file says so, or says nothing and is of SentencePiece. */
function around(fields: Fields, named: Readonly<Record<string, string>>): Json | null {
  const sentencePiece = fields.raw('tokenizer.ggml.model') === 'llama'
  const token = (side: 'bos' | 'eos', or: boolean) => {
    const name = named[`${side}_token`]
    const isAdded = fields.flag(`tokenizer.ggml.add_${side}_token`, or)
    return isAdded && name !== undefined ? [{ SpecialToken: { id: name, type_id: 0 } }] : []
  }
  const [first, last] = [token('bos', sentencePiece), token('eos', false)]
  if (first.length + last.length === 0) return null
  const single = [...first, { Sequence: { id: 'A', type_id: 0 } }, ...last]
  return { type: 'TemplateProcessing', single, pair: single }
}
