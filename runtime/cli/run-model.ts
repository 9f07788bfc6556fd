/** `heddle run`: a model's folder, a prompt and a pattern in; the text that the model says, as it comes, out. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import type { CompiledPattern } from '../../compiler/index.ts'
import { PATTERNS, SELECTIONS } from '../../patterns/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { Attention, Model, ModelConfig, Tokenizer } from '../model.ts'
import { ADAPTER_FLAG, openAdapter } from './adapter.ts'
import {
  MOST_NUMBER,
  namedWholes,
  nearestOf,
  numberOr,
  repeats,
  wholeOr,
  wordList,
  type Options,
} from './args.ts'
import { command } from './command.ts'
import { readableFile, shown } from './files.ts'
import { progressOn, type Io } from './io.ts'
import { loadPatterns } from './load.ts'
import { CliError, EXIT, type Exit } from './messages.ts'
import { paramsOf } from './setting.ts'

const FLAGS = {
  model: {
    type: 'positional',
    required: true,
    description: 'A folder with config.json, *.safetensors and tokenizer.json, or with one GGUF file',
  },
  prompt: { type: 'positional', required: true, description: 'The text to go on from' },
  pattern: {
    type: 'string',
    description:
      'Attend by this pattern: a name of the library or a file (default: as the model was trained)',
    valueHint: 'name',
  },
  param: {
    type: 'string',
    description: 'Set a param of the pattern: --param window=512 (repeatable)',
    valueHint: 'name=value',
  },
  const: {
    type: 'string',
    description: 'Set a const: --const block=64 (repeatable)',
    valueHint: 'name=value',
  },
  profile: {
    type: 'string',
    description: "Params by layer and head from a file of MInference's search, for the pattern minference",
    valueHint: 'file',
  },
  decode: {
    type: 'string',
    description: 'Steps behind the prompt: by the pattern too, or dense (default same)',
    valueHint: 'same|dense',
  },
  chat: { type: 'boolean', description: "Put the prompt into the model's chat template" },
  'max-tokens': { type: 'string', description: 'Tokens to generate at most (default 128)', valueHint: 'n' },
  temperature: { type: 'string', description: 'Greedy at 0 (default: as the model says)', valueHint: 'x' },
  'top-k': { type: 'string', description: 'Draw from so many tokens', valueHint: 'n' },
  'top-p': { type: 'string', description: 'Draw from tokens of this probability together', valueHint: 'x' },
  seed: { type: 'string', description: 'Of the random numbers (default 0)', valueHint: 'n' },
  stop: { type: 'string', description: 'End where this text comes (repeatable)', valueHint: 'text' },
  chunk: { type: 'string', description: 'Tokens of the prompt in one step (default 512)', valueHint: 'n' },
  cache: { type: 'string', description: 'Keys and values as f16 or f32 (default f16)', valueHint: 'type' },
  weights: { type: 'string', description: 'Matrices as auto, f16 or f32 (default auto)', valueHint: 'type' },
  times: { type: 'boolean', description: 'What each kernel took, on stderr' },
  json: { type: 'boolean', description: 'The text and its tokens as JSON, when all is said' },
  ...ADAPTER_FLAG,
} as const
type RunOptions = Options<typeof FLAGS>

export const runModel = command({
  name: 'run',
  description: 'Run a language model under a pattern and stream what it says',
  args: FLAGS,
  many: ['param', 'const', 'stop'],
  about: `Loads a Llama, Mistral, Qwen2 or Qwen3 onto the adapter found, puts the prompt in and prints what comes behind it on
stdout; how far it is and how fast it was goes to stderr. Weights are streamed: no file is in memory as a whole. The
pattern is compiled for the model's head dim; its file is never run.

--json prints { text, tokens, prompt: { tokens, ms }, generated: { tokens, ms }, attention, adapter, times: [{ kernel, count,
ms }] }, where generated is what comes behind the first token.`,
  examples: [
    'heddle run models/Llama-3.2-1B "Once upon a time"',
    'heddle run models/Qwen3-0.6B "What is attention?" --chat --max-tokens 256',
    'heddle run models/Llama-3.2-1B "$(cat book.txt)" --pattern a-shape --param window=512 --param sinkTokens=64',
    'heddle run models/Llama-3.1-8B "$(cat book.txt)" --profile llama-3.1-8b.json --decode dense',
  ],
  run,
})

async function run(options: RunOptions, io: Io): Promise<Exit> {
  const wish = wishOf(options)
  const { loadModel, openModel, reachOf } = await import('../model.ts')
  const { folderSource } = await import('../model-node.ts')
  const progress = progressOn(io)
  progress.show('reading the model')
  const files = await openModel(folderSource(path.resolve(io.cwd, options.model)))
  const tokenizer = await files.tokenizer()
  const prompt = promptOf(options, tokenizer)
  const attention = await attentionOf(io, options, files.config)
  const opened = await openAdapter(io, options)
  try {
    using model = await loadModel(files, {
      device: opened.device,
      attention,
      maxLength: Math.min(prompt.length + wish.maxTokens, reachOf(files.config)),
      ...wish.load,
      signal: io.signal,
      onProgress: ({ done, total }) => progress.show(`loading ${Math.floor((100 * done) / total)} %`),
    })
    if (options.times) model.timed = true
    const sampling = { ...files.generation.sampling, ...wish.sampling }
    const said = await say(io, options, model, prompt, { ...wish, sampling })
    const { times, attention: name } = model
    if (options.json)
      io.out(`${JSON.stringify({ ...said, attention: name, adapter: opened.name, times }, null, 2)}\n`)
    else io.err(`${summaryOf(said)}; ${name} on ${opened.name}\n`)
    if (!options.json) io.err(timesOf(times))
  } finally {
    progress.clear()
    opened.close()
  }
  return EXIT.fine
}

/** Flags that mean nothing where the model attends as it was trained. */
const OF_PATTERN = ['param', 'const', 'decode'] as const

/** The flags that can be judged before anything is read. */
function wishOf(options: RunOptions) {
  const flag = OF_PATTERN.find((name) => options[name] !== undefined)
  if (flag !== undefined && nameOf(options) === undefined) throw new CliError('flag-pattern', { flag })
  const seed = wholeOr('seed', options.seed, 0, 0, Number.MAX_SAFE_INTEGER)
  const temperature = numberOr('temperature', options.temperature, undefined, 0, MOST_NUMBER)
  const topK = wholeOr('top-k', options['top-k'], undefined, 0)
  const topP = numberOr('top-p', options['top-p'], undefined, Number.MIN_VALUE, 1)
  const chunk = wholeOr('chunk', options.chunk, undefined, 1, 2 ** 15)
  return {
    maxTokens: wholeOr('max-tokens', options['max-tokens'], 128, 1),
    seed,
    stop: repeats(options.stop),
    sampling: {
      ...(temperature === undefined ? {} : { temperature }),
      ...(topK === undefined ? {} : { topK }),
      ...(topP === undefined ? {} : { topP }),
    },
    load: {
      cache: wordList('cache', options.cache, ['f16'], ['f16', 'f32'])[0]!,
      weights: wordList('weights', options.weights, ['auto'], ['auto', 'f16', 'f32'])[0]!,
      ...(chunk === undefined ? {} : { chunk }),
    },
  }
}

function promptOf({ prompt, chat }: RunOptions, tokenizer: Tokenizer): number[] {
  if (!chat) return tokenizer.encode(prompt)
  const text = tokenizer.applyChatTemplate([{ role: 'user', content: prompt }], { addGenerationPrompt: true })
  return tokenizer.encode(text, { addSpecial: false })
}

const LIBRARY = [...PATTERNS, ...SELECTIONS].map((e) => e.pattern.name)

const nameOf = ({ pattern, profile }: RunOptions): string | undefined =>
  pattern ?? (profile === undefined ? undefined : 'minference')

/** The file of a pattern that is named as one of the library's or as a file. */
function fileOf(io: Io, name: string): string {
  if (LIBRARY.includes(name)) return path.join(PACKAGE_ROOT, 'patterns', `${name}.ts`)
  if (!fs.existsSync(path.resolve(io.cwd, name)))
    throw new CliError('pattern-missing', { got: name, nearest: nearestOf(name, LIBRARY) })
  return name
}

async function attentionOf(io: Io, options: RunOptions, config: ModelConfig): Promise<Attention> {
  const { compiledAttention, configuredAttention, libraryPattern } = await import('../model-node.ts')
  const decode = wordList('decode', options.decode, ['same'], ['same', 'dense'])[0]!
  const name = nameOf(options)
  if (name === undefined) return configuredAttention(config)
  const consts = namedWholes('const', options.const)
  const { file, patterns } = await loadPatterns(io, fileOf(io, name), { consts })
  const [pattern, ...others] = patterns
  if (!pattern || others.length > 0)
    throw new CliError('several-patterns', { file: shown(io, file), present: patterns.map((p) => p.name) })
  const prefill = choiceOf(io, options, config, pattern, await import('../profile.ts'))
  if (decode === 'same') return compiledAttention({ prefill })
  return compiledAttention({ prefill, decode: { pattern: libraryPattern('causal') } })
}

function choiceOf(
  io: Io,
  options: RunOptions,
  { qHeads }: ModelConfig,
  pattern: CompiledPattern,
  profiles: Pick<typeof import('../profile.ts'), 'readProfile' | 'paramsOf'>,
) {
  const params = paramsOf(pattern, qHeads, options.param)
  if (options.profile === undefined) return { pattern, params }
  const profile = profiles.readProfile(fs.readFileSync(readableFile(io, options.profile), 'utf8'))
  return (layer: number) => ({ pattern, params: { ...profiles.paramsOf(profile, layer, qHeads), ...params } })
}

type Wish = Pick<ReturnType<typeof wishOf>, 'maxTokens' | 'seed' | 'stop' | 'sampling'>

interface Said {
  readonly text: string
  readonly tokens: readonly number[]
  readonly prompt: { readonly tokens: number; readonly ms: number }
  /** Behind the first token, which comes with the prompt's own step. */
  readonly generated: { readonly tokens: number; readonly ms: number }
}

async function say(
  io: Io,
  { json }: RunOptions,
  model: Model,
  prompt: readonly number[],
  wish: Wish,
): Promise<Said> {
  const progress = progressOn(io)
  const began = performance.now()
  let first: number | null = null
  let text = ''
  const tokens: number[] = []
  const generated = model.generate(prompt, {
    ...wish,
    text: true,
    signal: io.signal,
    onProgress: ({ done, total }) => progress.show(`prompt: ${done} of ${total} tokens`),
  })
  for await (const token of generated) {
    progress.clear()
    first ??= performance.now()
    tokens.push(token.id)
    text += token.text
    if (!json) io.out(token.text)
  }
  progress.clear()
  const ended = performance.now()
  if (!json && !text.endsWith('\n')) io.out('\n')
  return {
    text,
    tokens,
    prompt: { tokens: prompt.length, ms: (first ?? ended) - began },
    generated: { tokens: Math.max(0, tokens.length - 1), ms: ended - (first ?? ended) },
  }
}

function summaryOf({ prompt, generated }: Said): string {
  const rate = ({ tokens, ms }: Said['prompt']) =>
    `${tokens} tokens in ${(ms / 1000).toFixed(2)} s (${((1000 * tokens) / ms).toFixed(1)}/s)`
  return `prompt: ${rate(prompt)}${generated.tokens > 0 ? `, then ${rate(generated)}` : ''}`
}

function timesOf(times: Model['times']): string {
  const total = times.reduce((sum, { ms }) => sum + ms, 0)
  return [...times]
    .sort((a, b) => b.ms - a.ms)
    .map(({ kernel, count, ms }) => {
      const share = `${((100 * ms) / total).toFixed(1)} %`
      return `${kernel.padEnd(12)}${`${ms.toFixed(2)} ms`.padStart(14)}${share.padStart(9)}${String(count).padStart(8)}\n`
    })
    .join('')
}
