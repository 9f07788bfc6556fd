/** Texts to tokens and back, whole and one by one: two kinds of tokenizers under laws, special tokens, files that lack something. */

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Json } from '../../../runtime/model/fields.ts'
import { memorySource } from '../../../runtime/model/source.ts'
import { readTokenizer, type Tokenizer } from '../../../runtime/model/tokenizer.ts'
import { refusal } from './tiny.ts'
import { byteLetters, byteLevel, sentencePiece, tokenizerOf } from './tiny-tokenizers.ts'

const bytes = tokenizerOf(byteLevel())
const pieces = tokenizerOf(sentencePiece())
const BOTH: [string, Tokenizer][] = [
  ['bytes as letters', bytes],
  ['SentencePiece', pieces],
]

function streamed(tokenizer: Tokenizer, ids: readonly number[], options = {}): string[] {
  const stream = tokenizer.stream(options)
  return [...ids.map((id) => stream.push(id)), stream.end()]
}

describe('encoding', () => {
  test('bytes: what stands around a text, merges, and the bytes of the rest', () => {
    const begin = bytes.idOf('<|begin|>')!
    const e = byteLetters().indexOf('Ã')
    expect(bytes.encode('hello w')).toEqual([begin, bytes.idOf('hello'), bytes.idOf('Ġw')])
    expect(bytes.encode('ä', { addSpecial: false })).toEqual([bytes.idOf('Ã¤')])
    expect(bytes.encode('é', { addSpecial: false })).toEqual([e, 0xa9])
    expect(bytes.encode('', { addSpecial: false })).toEqual([])
  })

  test('special tokens in a text are those tokens', () => {
    const end = bytes.idOf('<|end|>')!
    expect(bytes.encode('h<|end|>', { addSpecial: false })).toEqual([bytes.idOf('h'), end])
  })

  test('the splitting expression of Llama 3 ignores case in its endings and keeps digits in threes', () => {
    const parts = (text: string) => bytes.encode(text, { addSpecial: false }).length
    // No merges over the letters: a token a byte, whatever the parts; that it compiles and matches all is the point.
    expect(parts("IT'S 12345\n\n  x")).toBe(15)
    expect(bytes.decode(bytes.encode("IT'S 12345\n\n  x"))).toBe("IT'S 12345\n\n  x")
  })

  test('SentencePiece: a space before the text, and bytes of what the vocabulary has not', () => {
    expect(pieces.encode('hello')).toEqual([pieces.idOf('▁hello')])
    expect(pieces.encode('a€')).toEqual([
      pieces.idOf('▁'),
      pieces.idOf('a'),
      ...[0xe2, 0x82, 0xac].map((byte) => 3 + byte),
    ])
  })

  test('whole words: each is in the vocabulary as it is, or unknown', () => {
    const words = tokenizerOf({
      pre_tokenizer: { type: 'WhitespaceSplit' },
      model: {
        type: 'WordLevel',
        vocab: { '?': 0, a: 1, b: 2, '##b': 3, '\0c': 4, long: 5 },
        unk_token: '?',
      },
    })
    expect(words.encode('a ##b  b long')).toEqual([1, 3, 2, 5])
    expect(words.encode('ab a##b a\0c longb')).toEqual([0, 0, 0, 0])
    expect(words.encode(`${'x'.repeat(200)} \0c`)).toEqual([0, 4])
    expect(words.decode([1, 3, 5])).toBe('a ##b long')
  })
})

interface Recorded {
  readonly name: string
  readonly tokenizer: Json
  readonly encoded: readonly {
    readonly text: string
    readonly ids: readonly number[]
    readonly decoded: string
  }[]
  readonly decoded: readonly { readonly ids: readonly number[]; readonly decoded: string }[]
}

/** Two tokenizers that Hugging Face's library in Rust (0.23.2) trained on this project's documents, and what it makes of texts. */
const recorded = JSON.parse(
  readFileSync(new URL('../../fixtures/tokenizers.json', import.meta.url), 'utf8'),
) as Recorded[]

describe.each(recorded)('as the library in Rust: $name', ({ tokenizer, encoded, decoded }) => {
  const made = tokenizerOf(tokenizer)

  test.each(encoded)('$text', ({ text, ids, decoded }) => {
    expect(made.encode(text)).toEqual(ids)
    expect(made.decode(ids)).toBe(decoded)
    expect(streamed(made, ids).join('')).toBe(decoded)
  })

  // Bytes that are no characters are one mark each in Rust where they are fallbacks, and one a run here: no tokens at random.
  if (decoded.length === 0) return
  test('tokens at random', () => {
    for (const { ids, decoded: text } of decoded) {
      expect(made.decode(ids)).toBe(text)
      expect(streamed(made, ids).join('')).toBe(text)
    }
  })
})

describe.each(BOTH)('laws: %s', (_, tokenizer) => {
  /** Any text whose characters are whole, with some that are of many bytes and some that merge; none that spells a token. */
  const unit = fc.oneof(
    fc.constantFrom('hello', ' ', ' w', '€', '😀', 'ä', '\uFFFD'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  )
  const plain = fc.string({ unit }).filter((s) => !/▁|\0|<0x|<unk>|<s>|<\/s>|<\|(begin|end)\|>/.test(s))

  test('decoding undoes encoding', () => {
    fc.assert(
      fc.property(plain, (s) => {
        expect(tokenizer.decode(tokenizer.encode(s))).toBe(s)
      }),
    )
  })

  test('a stream gives the same text in parts, none of which ends within a character', () => {
    fc.assert(
      fc.property(plain, (s) => {
        const parts = streamed(tokenizer, tokenizer.encode(s))
        expect(parts.join('')).toBe(s)
        for (const part of parts.filter((part) => part.includes('\uFFFD'))) expect(s).toContain(part)
      }),
    )
  })

  test('any tokens at all: the stream is the text of the whole', () => {
    const id = fc.oneof(fc.nat(262), fc.nat(290), fc.integer({ min: 128, max: 255 }))
    fc.assert(
      fc.property(fc.array(id, { maxLength: 60 }), (ids) => {
        const whole = tokenizer.decode(ids)
        const parts = streamed(tokenizer, ids)
        expect(parts.join('')).toBe(whole)
      }),
    )
  })

  test('after a prompt the text goes on', () => {
    fc.assert(
      fc.property(plain, plain, (a, b) => {
        const ids = tokenizer.encode(a + b)
        const cut = Math.floor(ids.length / 2)
        const head = tokenizer.decode(ids.slice(0, cut))
        // A prompt is whole characters.
        fc.pre(!head.endsWith('\uFFFD'))
        const rest = streamed(tokenizer, ids.slice(cut), { after: ids.slice(0, cut) }).join('')
        expect(head + rest).toBe(a + b)
      }),
    )
  })
})

describe('streams', () => {
  test('hold a character until it is whole', () => {
    const ids = bytes.encode('a😀b', { addSpecial: false })
    expect(streamed(bytes, ids)).toEqual(['a', '', '', '', '😀', 'b', ''])
    const fallback = pieces.encode('€a').slice(1)
    expect(streamed(pieces, fallback)).toEqual(['', '', '€', 'a', ''])
  })

  test('give what is left at the end', () => {
    const stream = bytes.stream()
    const [first] = bytes.encode('€', { addSpecial: false })
    expect(stream.push(first!)).toBe('')
    expect(stream.end()).toBe('\uFFFD')
    expect(stream.end()).toBe('')
  })

  test('keep the space of a word that goes on after special tokens', () => {
    const [hello, end] = [pieces.idOf('▁hello')!, pieces.idOf('</s>')!]
    expect(streamed(pieces, [hello, hello])).toEqual(['hello', ' hello', ''])
    expect(streamed(pieces, [hello, end, hello])).toEqual(['hello', '', ' hello', ''])
    expect(streamed(pieces, [hello], { after: [hello] })).toEqual([' hello', ''])
  })

  test('of tokens that are no text at all cost no more as they go on', () => {
    const stream = bytes.stream()
    const start = performance.now()
    const parts = Array.from({ length: 20_000 }, () => stream.push(byteLetters().indexOf('Ã')))
    expect(parts.join('') + stream.end()).toBe('\uFFFD'.repeat(20_000))
    expect(performance.now() - start).toBeLessThan(20_000)
  })
})

describe('special tokens', () => {
  test('are left out of the text, or kept', () => {
    const ids = bytes.encode('hello<|end|>')
    expect(bytes.decode(ids)).toBe('hello')
    expect(bytes.decode(ids, { keepSpecial: true })).toBe('<|begin|>hello<|end|>')
    expect(streamed(bytes, ids, { keepSpecial: true }).join('')).toBe('<|begin|>hello<|end|>')
  })

  test('have their names in the configuration, as texts or records', () => {
    const config = {
      bos_token: { content: '<|begin|>', lstrip: false },
      eos_token: '<|end|>',
      pad_token: null,
    }
    expect(tokenizerOf(byteLevel(), config).named).toEqual({ bos_token: '<|begin|>', eos_token: '<|end|>' })
  })

  test('ids beyond the vocabulary are no text; ids that are none are refused', async () => {
    expect(bytes.decode([9999, bytes.idOf('h')!])).toBe('h')
    for (const id of [-1, 0.5, Number.NaN]) {
      expect(await refusal(() => bytes.decode([id]))).toBe(
        `error[token-id]: expected token ids that are whole numbers of at least 0, got ${id}`,
      )
    }
  })
})

describe('files', () => {
  const read = (files: Record<string, unknown>) =>
    readTokenizer(
      memorySource(
        Object.fromEntries(
          Object.entries(files).map(([name, data]) => [
            name,
            typeof data === 'string' ? data : JSON.stringify(data),
          ]),
        ),
        'the folder',
      ),
    )
  const model = (change: Json) => ({
    ...byteLevel(),
    model: { ...(byteLevel()['model'] as Json), ...change },
  })

  test('tokenizer.json alone is enough, and parts of it may be missing', async () => {
    const { decoder, model: bpe } = byteLevel()
    const { type: _, ...untyped } = bpe as Json
    const tokenizer = await read({ 'tokenizer.json': { decoder, model: untyped } })
    expect(tokenizer.decode(tokenizer.encode('hello'))).toBe('hello')
  })

  test.each<[string, Record<string, unknown>, string]>([
    [
      'none',
      {},
      'error[no-tokenizer]: the folder has no tokenizer that can be read: expected tokenizer.json',
    ],
    [
      'one of SentencePiece',
      { 'tokenizer.model': 'x' },
      'error[no-tokenizer]: the folder has no tokenizer that can be read: there is a tokenizer.model, which transformers ' +
        'turns into tokenizer.json when it saves a fast tokenizer',
    ],
    [
      'one without a model',
      { 'tokenizer.json': { decoder: null } },
      'error[model-field]: tokenizer.json: expected model to be a record, got null',
    ],
    [
      'a model of another kind',
      { 'tokenizer.json': model({ type: 'CharLevel' }) },
      'error[model-field]: tokenizer.json: expected model.type to be one of BPE, WordPiece, WordLevel, Unigram, got "CharLevel"',
    ],
    [
      'no vocabulary',
      { 'tokenizer.json': model({ vocab: undefined }) },
      'error[model-field]: tokenizer.json: expected model.vocab to be a record of token ids, got null',
    ],
    [
      'ids that are none',
      { 'tokenizer.json': model({ vocab: { a: -1 } }) },
      'error[model-field]: tokenizer.json: expected model.vocab to be a record of token ids, got {"a":-1}',
    ],
    [
      'no merges',
      { 'tokenizer.json': model({ merges: undefined }) },
      'error[model-field]: tokenizer.json: expected model.merges to be a list of pairs, got null',
    ],
    [
      'merges that are none',
      { 'tokenizer.json': model({ merges: ['ab'] }) },
      'error[model-field]: tokenizer.json: expected model.merges to be a list of pairs, got ["ab"]',
    ],
    [
      'Unigram without scores',
      { 'tokenizer.json': model({ type: 'Unigram', vocab: ['a'] }) },
      'error[model-field]: tokenizer.json: expected model.vocab to be a list of tokens and scores, got ["a"]',
    ],
    [
      'added tokens that are none',
      { 'tokenizer.json': { ...byteLevel(), added_tokens: [{ id: 1 }] } },
      'error[model-field]: tokenizer.json: expected added_tokens to be a list of records with id and content, got [{"id":1}]',
    ],
    [
      'a part that is no record',
      { 'tokenizer.json': { ...byteLevel(), decoder: 'ByteLevel' } },
      'error[model-field]: tokenizer.json: expected decoder to be a record, got "ByteLevel"',
    ],
    [
      'a step whose pattern is none',
      {
        'tokenizer.json': {
          ...byteLevel(),
          normalizer: { type: 'Replace', pattern: { Glob: '*' }, content: '' },
        },
      },
      'error[model-field]: tokenizer.json: expected normalizer to be steps whose pattern is a Regex or a String, got ' +
        '{"type":"Replace","pattern":{"Glob":"*"},"content":""}',
    ],
    [
      'a part that the library does not have',
      { 'tokenizer.json': { ...byteLevel(), decoder: { type: 'Mirror' } } },
      'error[tokenizer]: tokenizer.json: not a tokenizer that can be read: Unknown Decoder type: Mirror',
    ],
    [
      'a special token that is no text',
      { 'tokenizer.json': byteLevel(), 'tokenizer_config.json': { eos_token: 5 } },
      'error[model-field]: tokenizer_config.json: expected eos_token to be a token, got 5',
    ],
  ])('%s', async (_, files, text) => {
    expect(await refusal(() => read(files))).toBe(text)
  })

  test('a token around the text that the vocabulary does not have', async () => {
    const tokenizer = tokenizerOf({ ...byteLevel(), added_tokens: [] })
    expect(await refusal(() => tokenizer.encode('h'))).toBe(
      'error[tokenizer]: tokenizer.json: not a tokenizer that can be read: it makes the token "<|begin|>", which is not ' +
        'in its vocabulary',
    )
  })
})
