/** tokenizer.json and tokenizer_config.json in; texts to tokens, tokens to texts (also one by one), and chats to texts out. */

import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { HeddleError } from '../messages.ts'
import { chatTemplates, type ChatMessage, type ChatOptions } from './chat.ts'
import { fieldsOf, isRecord, readRecord, readText, type Fields, type Json } from './fields.ts'
import type { ModelSource } from './source.ts'
import { textStream, type TextStream } from './text-stream.ts'

export type { ChatMessage, ChatOptions } from './chat.ts'
export type { TextStream } from './text-stream.ts'

/** What is used of the library; its own types name files without extensions, which is `any` to a module of Node. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[]; tokens: string[] }
  decode(ids: number[], options: { clean_up_tokenization_spaces: boolean }): string
  id_to_token(id: number): string | undefined
  token_to_id(token: string): number | undefined
  get_added_tokens_decoder(): ReadonlyMap<number, { readonly special: boolean }>
}
const Library = HuggingFaceTokenizer as new (tokenizer: Json, config: Json) => Library

export interface EncodeOptions {
  /** With what the model expects around a text, such as a first token; a chat template writes that itself. True by default. */
  readonly addSpecial?: boolean
}

export interface DecodeOptions {
  /** With the names of special tokens in the text. False by default. */
  readonly keepSpecial?: boolean
}

export interface StreamOptions extends DecodeOptions {
  /** Tokens before the first one, as of a prompt: the text goes on from theirs. */
  readonly after?: readonly number[]
}

export interface Tokenizer {
  encode(text: string, options?: EncodeOptions): number[]
  /** Ids that the tokenizer does not have (models pad their vocabulary) are no text. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string
  /** Text of tokens as they come; no part of it ends within a character. */
  stream(options?: StreamOptions): TextStream
  /** The id of a token that is spelt so, or null. */
  idOf(token: string): number | null
  /** The named special tokens that there are: `bos_token`, `eos_token`, `pad_token`, `unk_token`. */
  readonly named: Readonly<Record<string, string>>
  /** The names of the chat templates. */
  readonly templates: readonly string[]
  /** The prompt of a chat, special tokens included: encode it with `addSpecial: false`. */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): string
}

export const TOKENIZER_FILE = 'tokenizer.json'
export const TOKENIZER_CONFIG_FILE = 'tokenizer_config.json'
const TEMPLATE_FILE = 'chat_template.jinja'
const MOST_BYTES = 256 * 2 ** 20
const NAMED = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const

/** The files of a tokenizer, read. */
export interface TokenizerFiles {
  /** Which file `tokenizer` is, for messages. */
  readonly file: string
  readonly tokenizer: Json
  readonly config: Json
  /** A chat template that has a file of its own. */
  readonly template: string | null
}

export async function readTokenizer(source: ModelSource): Promise<Tokenizer> {
  const tokenizer = await readRecord(source, TOKENIZER_FILE, MOST_BYTES)
  if (tokenizer === null) {
    const sentencePiece = (await source.size('tokenizer.model')) !== null
    throw new HeddleError('no-tokenizer', {
      place: source.place,
      hint: sentencePiece
        ? 'there is a tokenizer.model, which transformers turns into tokenizer.json when it saves a fast tokenizer'
        : `expected ${TOKENIZER_FILE}`,
    })
  }
  return makeTokenizer({
    file: TOKENIZER_FILE,
    tokenizer,
    config: (await readRecord(source, TOKENIZER_CONFIG_FILE, MOST_BYTES)) ?? {},
    template: await readText(source, TEMPLATE_FILE, MOST_BYTES),
  })
}

export function makeTokenizer({ file, tokenizer, config, template }: TokenizerFiles): Tokenizer {
  const record = checkRecord(fieldsOf(file, tokenizer), tokenizer)
  const library = refusing(file, () => new Library(record, {}))
  const configured = fieldsOf(TOKENIZER_CONFIG_FILE, config)
  const named = namedTokens(configured)
  const special = new Set<number>()
  for (const [id, token] of library.get_added_tokens_decoder()) if (token.special) special.add(id)
  const templates = chatTemplates(configured, template, named)

  const decode = (ids: Iterable<number>, { keepSpecial = false }: DecodeOptions = {}): string => {
    const known = [...ids].filter((id) => {
      if (!Number.isInteger(id) || id < 0) throw new HeddleError('token-id', { got: id })
      return library.id_to_token(id) !== undefined && (keepSpecial || !special.has(id))
    })
    // The clean-up that some configurations ask for takes spaces away that the model wrote.
    if (known.length === 0) return ''
    return refusing(file, () => library.decode(known, { clean_up_tokenization_spaces: false }))
  }

  return {
    encode(text, { addSpecial = true } = {}) {
      const { ids, tokens } = refusing(file, () => library.encode(text, { add_special_tokens: addSpecial }))
      const odd = ids.findIndex((id) => !Number.isInteger(id))
      if (odd >= 0) {
        const detail = `it makes the token ${JSON.stringify(tokens[odd])}, which is not in its vocabulary`
        throw new HeddleError('tokenizer', { file, detail })
      }
      return ids
    },
    decode,
    stream: ({ after = [], ...options } = {}) => textStream((ids) => decode(ids, options), after),
    idOf: (token) => library.token_to_id(token) ?? null,
    named,
    templates: templates.names,
    applyChatTemplate: templates.render,
  }
}

/** What the library does not check, or takes for something else where it is missing. */
function checkRecord(fields: Fields, tokenizer: Json): Json {
  const model = fields.record('model')
  if (!model) throw fields.refuse('model', 'a record')
  const type = model.raw('type') ?? (model.has('merges') ? 'BPE' : undefined)
  const check = typeof type === 'string' && Object.hasOwn(MODELS, type) ? MODELS[type as ModelType] : null
  if (!check) throw model.refuse('type', `one of ${Object.keys(MODELS).join(', ')}`)
  check(model)
  const added = fields.raw('added_tokens') ?? []
  if (!Array.isArray(added) || !added.every(isAddedToken)) {
    throw fields.refuse('added_tokens', 'a list of records with id and content')
  }
  const parts = ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder']
  for (const part of parts) if (fields.record(part)) checkPatterns(fields, part, fields.raw(part))
  const record = type === 'WordLevel' ? wholeWords(model) : { ...(tokenizer['model'] as Json), type }
  // Absent parts are none, as for the tokenizers library in Rust.
  const optional = Object.fromEntries(parts.map((part) => [part, fields.raw(part) ?? null]))
  return { ...tokenizer, ...optional, model: record, added_tokens: added }
}

/** The library leaves a step out whose pattern it does not know. */
function checkPatterns(fields: Fields, part: string, value: unknown): void {
  if (Array.isArray(value)) for (const step of value) checkPatterns(fields, part, step)
  if (!isRecord(value)) return
  const { pattern, ...rest } = value
  const text = isRecord(pattern) ? (pattern['Regex'] ?? pattern['String']) : pattern
  if (pattern !== undefined && !(isRecord(pattern) && typeof text === 'string')) {
    throw fields.refuse(part, 'steps whose pattern is a Regex or a String')
  }
  for (const step of Object.values(rest)) checkPatterns(fields, part, step)
}

const MOST_ID = 2 ** 24
const isId = (x: unknown) => Number.isInteger(x) && (x as number) >= 0 && (x as number) < MOST_ID
const isAddedToken = (x: unknown) => isRecord(x) && isId(x['id']) && typeof x['content'] === 'string'
const isPair = (x: unknown): boolean =>
  typeof x === 'string'
    ? x.includes(' ')
    : Array.isArray(x) && x.length === 2 && x.every((t) => typeof t === 'string')

function checkVocabulary(model: Fields): void {
  const vocabulary = model.raw('vocab')
  if (!isRecord(vocabulary) || !Object.values(vocabulary).every(isId)) {
    throw model.refuse('vocab', 'a record of token ids')
  }
}

/**
 * Whole words, which the library does not know, as the pieces of words that it does: pieces behind the first begin with what no
 * token begins with, so that a word is in the vocabulary as it is, or unknown.
 */
function wholeWords(model: Fields): Json {
  const vocabulary = Object.keys(model.raw('vocab') as Json)
  let prefix = '\0'
  while (vocabulary.some((token) => token.startsWith(prefix))) prefix += '\0'
  return {
    type: 'WordPiece',
    vocab: model.raw('vocab') as Json,
    unk_token: model.text('unk_token', '<unk>'),
    continuing_subword_prefix: prefix,
    max_input_chars_per_word: Number.MAX_SAFE_INTEGER,
  }
}

/** The kinds of models, and what each has to have. */
const MODELS = {
  BPE(model: Fields) {
    checkVocabulary(model)
    const merges = model.raw('merges')
    if (!Array.isArray(merges) || !merges.every(isPair)) throw model.refuse('merges', 'a list of pairs')
  },
  WordPiece: checkVocabulary,
  WordLevel: checkVocabulary,
  Unigram(model: Fields) {
    const isScored = (x: unknown) =>
      Array.isArray(x) && x.length === 2 && typeof x[0] === 'string' && typeof x[1] === 'number'
    const vocabulary = model.raw('vocab')
    if (!Array.isArray(vocabulary) || !vocabulary.every(isScored)) {
      throw model.refuse('vocab', 'a list of tokens and scores')
    }
  },
} as const satisfies Record<string, (model: Fields) => void>

type ModelType = keyof typeof MODELS

/** A special token is a text, or a record whose content it is. */
function namedTokens(config: Fields): Record<string, string> {
  const tokens = NAMED.flatMap((name) => {
    const token = config.raw(name)
    if (token === undefined) return []
    const text = isRecord(token) ? token['content'] : token
    if (typeof text !== 'string') throw config.refuse(name, 'a token')
    return [[name, text]]
  })
  return Object.fromEntries(tokens) as Record<string, string>
}

function refusing<T>(file: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause)
    throw new HeddleError('tokenizer', { file, detail }, { cause })
  }
}
