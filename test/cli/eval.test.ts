/** `heddle eval` on small models of random weights: what dense attention scores, what a file of one's own does, and what is refused. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EvalReport } from '../../bench/eval/report.ts'
import { WORD_CLASSES } from '../../bench/eval/tasks.ts'
import { drawRows } from '../../runtime/cli/eval-picture.ts'
import { run } from '../../runtime/cli/run.ts'
import { randomModel, SMALL } from '../runtime/model/random-model.ts'
import { byteLevel } from '../runtime/model/tiny-tokenizers.ts'
import { failingWith, temporaryFolder, testIo } from './helpers.ts'

const WORDS = Object.values(WORD_CLASSES).flat()
/** The needle model's words on a model that has learnt nothing. */
const CONFIG = { ...SMALL, vocab_size: 768, num_hidden_layers: 2, max_position_embeddings: 320 }

const NEAR = `import { i32, pattern } from 'heddle'

export const near = pattern({
  name: 'near',
  params: { window: i32(320, { min: 1, max: 4096 }) },
  mask: ({ q, kv, window }) => kv <= q && q - kv < window,
})
`

const tokenizer = (words: readonly string[]) => ({
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: null,
  decoder: null,
  model: { type: 'WordLevel', vocab: Object.fromEntries(words.map((w, id) => [w, id])), unk_token: words[0] },
})

async function folder(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const cwd = temporaryFolder({
    'model/config.json': JSON.stringify(CONFIG),
    'model/tokenizer.json': JSON.stringify(tokenizer(WORDS)),
    ...files,
  })
  fs.writeFileSync(path.join(cwd, 'model/model.safetensors'), (await randomModel(CONFIG)).bytes)
  return cwd
}

async function heddle(cwd: string, line: string) {
  const io = testIo(cwd)
  const exit = await run(['eval', ...line.split(' ')], io)
  return { exit, ...io.text }
}

describe('heddle eval', () => {
  it('finds that dense attention, and a window as long as the text, lose nothing', async () => {
    const cwd = await folder({ 'near.ts': NEAR })
    const { exit, out, err } = await heddle(
      cwd,
      'model --patterns near.ts,dsa --lengths 192 --texts 1 --out r/e.json --picture r/e.svg --cache f32',
    )
    expect(exit).toBe(0)
    expect(err).toMatch(
      /^warning: dense attention answers [\d.]+ % at 192 tokens: .* no judge of patterns\n$/,
    )
    const report = JSON.parse(fs.readFileSync(path.join(cwd, 'r/e.json'), 'utf8')) as EvalReport
    expect(report).toMatchObject({
      suite: 'eval',
      chunk: 192,
      model: { layers: 2, qHeads: 4, kvHeads: 2, headDim: 16, positions: 320 },
      refused: [{ name: 'dsa', reason: expect.stringContaining("reads an indexer's queries") }],
    })
    const [dense, near] = report.rows
    expect(report.rows.map((r) => r.pattern)).toEqual(['causal', 'near'])
    expect(dense).toMatchObject({ density: 1, tiles: 1, counted: 'kernels', kl: 0, nearest: 192 })
    expect(dense!.tasks.map((t) => t.task)).toEqual(['single', 'multi'])
    expect(dense!.far.answers).toBe(0)
    for (const row of [dense!, near!]) {
      expect(row.recall).toBeCloseTo(1, 5)
      expect(row.near.answers + row.far.answers).toBe(row.tasks.reduce((sum, t) => sum + t.answers, 0))
    }
    expect(near).toMatchObject({ density: 1, tiles: 1, params: {}, nearest: 48, about: 'its own defaults' })
    expect(near!.kl).toBeLessThan(1e-9)
    expect(near!.accuracy).toBe(dense!.accuracy)
    expect(out).toMatch(
      /^pattern +length +accuracy .*\ncausal +192 .*\nnear +192 .*\n\ndsa: not judged, since it reads/,
    )
    expect(fs.readFileSync(path.join(cwd, 'r/e.svg'), 'utf8')).toMatch(/^<svg [^]*near[^]*<\/svg>\n$/)
  }, 120_000)

  it('counts what a narrow window keeps, under params of its own', async () => {
    const cwd = await folder({ 'near.ts': NEAR })
    const { out, exit } = await heddle(
      cwd,
      'model --patterns near.ts --param near.window=10 --lengths 130 --tasks single --texts 1 --chunk 50 --json',
    )
    expect(exit).toBe(0)
    const { rows } = JSON.parse(out) as EvalReport
    const kept = Array.from({ length: 130 }, (_, q) => Math.min(q + 1, 10)).reduce((a, b) => a + b)
    expect(rows[1]).toMatchObject({ params: { window: 10 }, about: 'as given', tiles: 5 / 6 })
    expect(rows[1]!.density).toBeCloseTo(kept / (65 * 131), 12)
    expect(rows[1]!.recall).toBeLessThan(0.9)
    expect(rows[1]!.kl).toBeGreaterThan(0.001)
  }, 120_000)

  it('takes a text for models that know no needles, and a profile', async () => {
    const config = { ...SMALL, vocab_size: 264 }
    const cwd = temporaryFolder({
      'model/config.json': JSON.stringify(config),
      'model/tokenizer.json': JSON.stringify(byteLevel()),
      'profile.json': JSON.stringify(
        Array.from({ length: 2 }, () =>
          Object.fromEntries(Array.from({ length: 4 }, (_, head) => [head, ['stream_llm', 2, 3, 1]])),
        ),
      ),
      'book.txt': 'a long hello world, and another one behind it. '.repeat(6),
    })
    fs.writeFileSync(path.join(cwd, 'model/model.safetensors'), (await randomModel(config)).bytes)
    const { exit, out, err } = await heddle(
      cwd,
      'model --text book.txt --lengths 64 --texts 2 --profile profile.json --json --cache f32',
    )
    expect([exit, err]).toEqual([0, ''])
    const { rows } = JSON.parse(out) as EvalReport
    expect(rows.map((r) => r.pattern)).toEqual(['causal', 'minference (profile.json)'])
    expect(rows[0]).toMatchObject({ accuracy: null, texts: 2, positions: 128, kl: 0, verdict: '' })
    expect(rows[1]!.perplexity).not.toBeCloseTo(rows[0]!.perplexity!, 3)
    const kept = Array.from({ length: 64 }, (_, q) => Math.min(q + 1, 5)).reduce((a, b) => a + b)
    expect(rows[1]!.density).toBeCloseTo(kept / (32 * 65), 12)
    expect(rows[1]!.verdict).toMatch(/^perplexity [+-][\d.]+ %$/)
    expect((await heddle(cwd, 'model --lengths 64')).err).toMatch(
      /^error\[eval-words\]: model does not know the words/,
    )
    expect((await heddle(cwd, 'model --text profile.json --lengths 256')).err).toMatch(
      /^error\[eval-text\]: profile\.json: has \d+ tokens, and one text of --lengths takes 256/,
    )
  }, 120_000)

  it('refuses what cannot be judged, in a sentence', async () => {
    const cwd = await folder({ 'short.txt': 'a b c', 'empty/note.txt': '' })
    const refusals: readonly (readonly [string, RegExp])[] = [
      ['empty', /^error\[model-file-missing\]: .* has no config\.json/],
      ['model --patterns a-shap', /^error\[pattern-missing\]: .*`a-shap`.*\nhint: did you mean a-shape\?/],
      ['model --tasks singel', /^error\[flag-value\]: --tasks: expected any of single, multi/],
      ['model --lengths 512', /^error\[eval-length\]: --lengths 512: the model has positions for 320 tokens/],
      [
        'model --lengths 24 --tasks copy',
        /^error\[eval-short\]: --lengths 24: too short for a text of copy: /,
      ],
      ['model --tasks multi --text short.txt', /^error\[eval-both\]/],
      ['model --param window=3', /^error\[flag-value\]: --param: expected pattern\.name=value/],
      [
        'model --patterns a-shape --param moba.k=3',
        /^error\[eval-owner\]: --param: `moba` is not evaluated; there are causal, a-shape/,
      ],
      [
        'model --lengths 64 --patterns a-shape --param a-shape.windw=3',
        /^error\[unknown-param\]: a-shape has no param `windw`/,
      ],
      ['model --patterns moba --const moba.blok=3', /error\[unknown-const\]/],
    ]
    for (const [line, expected] of refusals) {
      const { exit, out, err } = await heddle(cwd, line)
      expect({ line, exit: exit > 0, out }).toEqual({ line, exit: true, out: '' })
      expect(err).toMatch(expected)
    }
  }, 120_000)

  it('says which packages a picture needs where they are not', async () => {
    const io = testIo(temporaryFolder())
    const drawing = drawRows(io, 'e.svg', [], async () => failingWith('ERR_MODULE_NOT_FOUND')())
    await expect(drawing).rejects.toMatchObject({ code: 'no-vega', exit: 3 })
    await expect(drawRows(io, 'e.svg', [], async () => failingWith('other')())).rejects.toThrow('other')
  })
})
