/** `heddle run` on a small model of random weights, in a folder as Hugging Face lays it out. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Io } from '../../runtime/cli/io.ts'
import { run } from '../../runtime/cli/run.ts'
import type { Json } from '../../runtime/model/fields.ts'
import { randomModel, SMALL } from '../runtime/model/random-model.ts'
import { byteLevel } from '../runtime/model/tiny-tokenizers.ts'
import { temporaryFolder, testIo } from './helpers.ts'

const CONFIG = { ...SMALL, vocab_size: 264 }

async function folder(change: Json = {}): Promise<string> {
  const config = { ...CONFIG, ...change }
  const cwd = temporaryFolder({
    'model/config.json': JSON.stringify(config),
    'text.txt': 'a text of some words, for models that know no tasks. '.repeat(4),
    'model/tokenizer.json': JSON.stringify(byteLevel()),
    'profile.json': JSON.stringify(
      Array.from({ length: 2 }, () =>
        Object.fromEntries(Array.from({ length: 4 }, (_, head) => [head, ['stream_llm', 2, 3, 1]])),
      ),
    ),
  })
  fs.writeFileSync(path.join(cwd, 'model/model.safetensors'), (await randomModel(config)).bytes)
  return cwd
}

async function heddle(cwd: string, words: readonly string[], more: Partial<Io> = {}) {
  const io = testIo(cwd, more)
  const exit = await run(['run', ...words], io)
  return { exit, ...io.text }
}

const PROMPT = 'a long hello world, and another one behind it'

describe('heddle run', () => {
  it('says the same under a pattern that keeps all, and something else under one that does not', async () => {
    const cwd = await folder()
    const asked = ['model', PROMPT, '--max-tokens', '6', '--cache', 'f32']
    const dense = await heddle(cwd, [...asked, '--times'], { tty: true })
    expect(dense.exit).toBe(0)
    expect(dense.err).toContain('loading 100 %')
    expect(dense.err).toMatch(/prompt: \d+ of \d+ tokens/)
    expect(dense.err).toMatch(/prompt: \d+ tokens in .* s \(.*\/s\), then 5 tokens in .*; causal on /)
    expect(dense.err).toMatch(/gateUp +[\d.]+ ms +[\d.]+ % +12\n/)
    const json = async (...more: string[]) => {
      const { exit, out, err } = await heddle(cwd, [...asked, '--json', ...more])
      expect([exit, err]).toEqual([0, ''])
      return JSON.parse(out) as { text: string; tokens: number[]; attention: string }
    }
    const wide = await json('--pattern', 'a-shape', '--param', 'window=500')
    expect(wide.attention).toBe('a-shape')
    expect(`${wide.text}\n`).toBe(dense.out)
    const shape = ['--pattern', 'a-shape', '--param', 'window=3', '--param', 'sinkTokens=2']
    const narrow = await json(...shape)
    expect(narrow.tokens).not.toEqual(wide.tokens)
    expect((await json('--profile', 'profile.json')).tokens).toEqual(narrow.tokens)
    const after = await json(...shape, '--decode', 'dense')
    expect(after.attention).toBe('a-shape, causal')
    expect(after.tokens[0]).toBe(narrow.tokens[0])
  }, 120_000)

  it.each(['LlamaForCausalLM', 'MistralForCausalLM', 'Qwen2ForCausalLM', 'Qwen3ForCausalLM'])(
    'runs and judges a folder of %s',
    async (architecture) => {
      const cwd = await folder({ architectures: [architecture] })
      const said = await heddle(cwd, ['model', PROMPT, '--pattern', 'a-shape', '--max-tokens', '3', '--json'])
      expect([said.exit, said.err]).toEqual([0, ''])
      expect((JSON.parse(said.out) as { tokens: number[] }).tokens).toHaveLength(3)
      const io = testIo(cwd)
      const words = 'eval model --text text.txt --lengths 64 --texts 1 --patterns a-shape --json'.split(' ')
      expect(await run(words, io)).toBe(0)
      const { rows } = JSON.parse(io.text.out) as { rows: { pattern: string; kl: number; recall: number }[] }
      expect(rows.map(({ pattern }) => pattern)).toEqual(['causal', 'a-shape'])
      expect(rows[0]).toMatchObject({ kl: 0, recall: 1 })
      expect(rows[1]!.kl).toBeGreaterThan(0)
      expect(rows[1]!.recall).toBeLessThan(1)
    },
    120_000,
  )

  it('refuses what cannot run, in a sentence', async () => {
    const cwd = temporaryFolder({ 'model/config.json': JSON.stringify(CONFIG), 'empty/note.txt': '' })
    const empty = await heddle(cwd, ['empty', 'x'])
    expect(empty).toMatchObject({ exit: 1, out: '' })
    expect(empty.err).toMatch(/^error\[model-file-missing\]: .* has no config\.json/)
    expect((await heddle(cwd, ['model', 'x'])).err).toMatch(/^error\[no-weights\]/)
    expect(await heddle(cwd, ['model', 'x', '--top-p', '1.5'])).toMatchObject({
      exit: 2,
      err: expect.stringMatching(
        /^error\[flag-value\]: --top-p: expected a number above 0 and at most 1, got `1\.5`/,
      ),
    })
    expect(await heddle(cwd, ['model'])).toMatchObject({ exit: 2 })
  })

  it('refuses words that would change nothing, and a pattern that it cannot tell from others', async () => {
    const cwd = await folder()
    const two = ['first', 'second'].map(
      (n) => `export const ${n} = pattern({ name: '${n}', mask: ({ q, kv }) => kv <= q })`,
    )
    fs.writeFileSync(path.join(cwd, 'two.ts'), `import { pattern } from 'heddle'\n${two.join('\n')}\n`)
    const said = async (...more: string[]) => {
      const { exit, err } = await heddle(cwd, ['model', PROMPT, ...more])
      expect(exit).toBe(2)
      return err
    }
    for (const flag of ['--param=window=3', '--const=block=8', '--decode=dense'])
      expect(await said(flag)).toBe(
        `error[flag-pattern]: ${flag.split('=')[0]} says how a pattern attends, and none is named\nhint: name one by --pattern\n`,
      )
    expect(await said('--pattern', 'a-shap')).toBe(
      'error[pattern-missing]: the library has no pattern `a-shap`, and there is no file of that name\nhint: did you mean a-shape?\n',
    )
    expect(await said('--pattern', 'two.ts')).toBe(
      'error[several-patterns]: two.ts has several patterns, and a model attends by one: first, second\nhint: put the one that is meant in a file of its own\n',
    )
    expect(await said('--top-p', '0')).toMatch(/--top-p: expected a number above 0 and at most 1, got `0`/)
  })
})
