/** `heddle eval`: a model's folder and patterns in; what each keeps of answers, predictions, pairs and softmax mass, and what it costs, out. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import type { EvalReport } from '../../bench/eval/report.ts'
import { NEEDLE_TASKS } from '../../bench/eval/tasks.ts'
import type { EvalText } from '../../bench/eval/texts.ts'
import type { ModelConfig, ModelSource } from '../model.ts'
import { ADAPTER_FLAG, openAdapter } from './adapter.ts'
import { wholeList, wholeOr, wordList, type Options } from './args.ts'
import { command } from './command.ts'
import { drawRows } from './eval-picture.ts'
import { readableFile, writeFiles } from './files.ts'
import { progressOn, type Io } from './io.ts'
import { CliError, EXIT, note, type Exit } from './messages.ts'
import { heddleVersion } from './version.ts'

const FLAGS = {
  model: {
    type: 'positional',
    required: true,
    description: 'A folder with config.json, *.safetensors and tokenizer.json',
  },
  patterns: {
    type: 'string',
    description: 'Names of the library, and files: a-shape,mine.ts (default: the whole library)',
    valueHint: 'list',
  },
  lengths: { type: 'string', description: 'Tokens of a text: 1024,8192 (default 1024)', valueHint: 'list' },
  tasks: {
    type: 'string',
    description: `What is asked: ${NEEDLE_TASKS.join(', ')} (default single,multi)`,
    valueHint: 'list',
  },
  texts: { type: 'string', description: 'Texts of each task (default 8)', valueHint: 'n' },
  text: {
    type: 'string',
    description: 'Predict this text, for models that do not know the tasks',
    valueHint: 'file',
  },
  param: {
    type: 'string',
    description: 'Set a param of a pattern: --param a-shape.window=64 (repeatable)',
    valueHint: 'pattern.name=value',
  },
  const: {
    type: 'string',
    description: 'Set a const of a pattern: --const moba.block=64 (repeatable)',
    valueHint: 'pattern.name=value',
  },
  profile: {
    type: 'string',
    description: "Judge the pattern minference by layer and head as a file of MInference's search says",
    valueHint: 'file',
  },
  seed: { type: 'string', description: 'Of the texts (default 1)', valueHint: 'n' },
  chunk: {
    type: 'string',
    description: 'Tokens of a text in one step (default: all, up to 8192)',
    valueHint: 'n',
  },
  cache: { type: 'string', description: 'Keys and values as f16 or f32 (default f16)', valueHint: 'type' },
  weights: { type: 'string', description: 'Matrices as auto, f16 or f32 (default auto)', valueHint: 'type' },
  out: { type: 'string', description: 'Write the results there as JSON, row by row', valueHint: 'file' },
  picture: {
    type: 'string',
    description: 'Draw accuracy against density there, as SVG',
    valueHint: 'file',
  },
  json: { type: 'boolean', description: 'The results as JSON' },
  ...ADAPTER_FLAG,
} as const
export type EvalOptions = Options<typeof FLAGS>

export const evalModel = command({
  name: 'eval',
  description: 'Judge patterns by what a model still answers with them',
  args: FLAGS,
  many: ['param', 'const'],
  about: `Runs a model over texts under each pattern, dense attention first, and says of each: how many answers are right, near the
question and far from it; how far predictions move (KL, in nats, from the dense ones); the density (kept pairs / causal
pairs); the tiles of 64 x 64 that hold a kept pair; the recall (softmax mass kept); and what the prompt and a step behind it
take. The tasks are those of the needle model (models/needle); other models are given a text.

Each pattern has a setting that keeps about a quarter of the pairs at the length; --param and --const go over it. Patterns of
a file have their own defaults; its code is read, never run. What cannot be judged is listed with its reason.

--json prints { suite, command, date, device, driver, versions, model, chunk, seed, rows: [{ pattern, about, consts, params,
length, texts, accuracy, tasks, nearest, near, far, kl, positions, perplexity, density, tiles, counted, recall, leastRecall,
times: { prefill, decode }, verdict }], refused: [{ name, reason }] }.`,
  examples: [
    'heddle eval models/needle/model --lengths 1024',
    'heddle eval models/needle/model --patterns a-shape,minference-block --tasks single,multi --texts 32',
    'heddle eval models/needle/model --patterns mine.ts --out mine.json --picture mine.svg',
    'heddle eval models/Qwen3-0.6B --text book.txt --lengths 4096 --patterns a-shape --param a-shape.window=512',
  ],
  run,
})

/** The most tokens of a step, unless it is said. */
const MOST_CHUNK = 8192

async function run(options: EvalOptions, io: Io): Promise<Exit> {
  const wish = wishOf(options)
  const { openModel, loadModel, reachOf } = await import('../model.ts')
  const { configuredAttention, folderSource } = await import('../model-node.ts')
  const { evalRows } = await import('../../bench/eval/run.ts')
  const { reportText } = await import('../../bench/eval/report.ts')
  const { candidatesOf, roundsOf } = await import('./eval-patterns.ts')
  const progress = progressOn(io)
  const candidates = await candidatesOf(io, options)
  progress.show('reading the model')
  const source = folderSource(path.resolve(io.cwd, options.model))
  const files = await openModel(source)
  const { config } = files
  const longest = Math.max(...wish.lengths)
  if (longest > reachOf(config)) throw new CliError('eval-length', { got: longest, most: reachOf(config) })
  const textsAt = await textsOf(io, options, wish, source, async (text) => [
    ...(await files.tokenizer()).encode(text),
  ])
  const texts = new Map(wish.lengths.map((length) => [length, textsAt(length)]))
  progress.show('compiling')
  const { isRefusal } = await import('../../bench/eval/subject.ts')
  const { rounds, refused } = roundsOf(candidates, { ...config, dtype: wish.cache }, texts)
  const chunk = Math.min(longest, wish.chunk ?? MOST_CHUNK)
  const trained = configuredAttention(config)
  const opened = await openAdapter(io, options)
  const rows: EvalReport['rows'][number][] = []
  const head = headOf(options, wish, config, opened, chunk)
  const report = (): EvalReport => ({ ...head, rows, refused })
  try {
    using model = await loadModel(files, {
      device: opened.device,
      attention: trained,
      maxLength: longest,
      chunk,
      cache: wish.cache,
      weights: wish.weights,
      signal: io.signal,
      onProgress: ({ done, total }) => progress.show(`loading ${Math.floor((100 * done) / total)} %`),
    })
    const run = {
      model,
      chunk,
      trained,
      rounds,
      onText: (subject: string, length: number, done: number, of: number) =>
        progress.show(`${subject} at ${length}: text ${done + 1} of ${of}`),
    }
    for await (const row of evalRows(run)) {
      if (isRefusal(row)) refused.push(row)
      else rows.push(row)
      if (options.out !== undefined)
        writeFiles(io, [{ path: path.resolve(io.cwd, options.out), bytes: jsonOf(report()) }])
    }
  } finally {
    progress.clear()
    opened.close()
  }
  io.out(options.json ? jsonOf(report()) : reportText(report()))
  if (options.picture !== undefined) await drawRows(io, options.picture, rows)
  for (const { length, accuracy } of rows.filter((r) => r.pattern === 'causal'))
    if (accuracy !== null && accuracy < 0.99) io.err(`${note('dense-misses', { length, accuracy })}\n`)
  return EXIT.fine
}

const jsonOf = (report: EvalReport): string => `${JSON.stringify(report, null, 1)}\n`

type Wish = ReturnType<typeof wishOf>

/** The flags that can be judged before anything is read. */
function wishOf(options: EvalOptions) {
  if (options.text !== undefined && options.tasks !== undefined) throw new CliError('eval-both', {})
  return {
    lengths: wholeList('lengths', options.lengths, [1024], 16, 2 ** 20),
    tasks: wordList('tasks', options.tasks, ['single', 'multi'], NEEDLE_TASKS),
    texts: wholeOr('texts', options.texts, 8, 1, 4096),
    seed: wholeOr('seed', options.seed, 1, 0, 2 ** 31 - 1),
    chunk: wholeOr('chunk', options.chunk, undefined, 1, 2 ** 15),
    cache: wordList('cache', options.cache, ['f16'], ['f16', 'f32'])[0]!,
    weights: wordList('weights', options.weights, ['auto'], ['auto', 'f16', 'f32'])[0]!,
  }
}

/** The texts of a length: of the tasks, or pieces of the file's. */
async function textsOf(
  io: Io,
  options: EvalOptions,
  { tasks, texts, seed, lengths }: Wish,
  source: ModelSource,
  encode: (text: string) => Promise<readonly number[]>,
): Promise<(length: number) => readonly EvalText[]> {
  const { knowsNeedles, needleTexts, pieces } = await import('../../bench/eval/texts.ts')
  if (options.text !== undefined) {
    const tokens = await encode(fs.readFileSync(readableFile(io, options.text), 'utf8'))
    const needed = Math.max(...lengths)
    if (tokens.length < needed)
      throw new CliError('eval-text', { file: options.text, got: tokens.length, needed })
    return (length) => pieces(tokens, length, texts)
  }
  const { readRecord } = await import('../model/fields.ts')
  const tokenizer = await readRecord(source, 'tokenizer.json', 2 ** 26)
  if (!knowsNeedles(tokenizer)) throw new CliError('eval-words', { model: options.model })
  return (length) =>
    tasks.flatMap((task) => {
      try {
        return needleTexts([task], length, texts, seed)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        throw new CliError('eval-short', { task, got: length, why: error.message })
      }
    })
}

function headOf(
  options: EvalOptions,
  { lengths, tasks, texts, seed }: Wish,
  { layers, qHeads, kvHeads, headDim, maxPositions }: ModelConfig,
  { name, driver }: { readonly name: string; readonly driver: string },
  chunk: number,
): Omit<EvalReport, 'rows' | 'refused'> {
  const given = options.text === undefined ? `--tasks ${tasks.join(',')}` : `--text ${options.text}`
  return {
    suite: 'eval',
    command: `heddle eval ${options.model} --lengths ${lengths.join(',')} ${given} --texts ${texts} --seed ${seed}`,
    date: new Date().toISOString().slice(0, 10),
    device: name,
    driver,
    versions: { heddle: heddleVersion().number, node: process.versions.node },
    model: { name: options.model, layers, qHeads, kvHeads, headDim, positions: maxPositions },
    chunk,
    seed,
  }
}
