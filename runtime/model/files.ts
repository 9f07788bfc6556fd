/** A folder as Hugging Face lays it out in; its configuration, checked weights, tokenizer and ways to generate out. */

import { HeddleError } from '../messages.ts'
import { CONFIG_FILE, readConfig, type ModelConfig } from './config.ts'
import { fieldsOf, needRecord, readRecord } from './fields.ts'
import { GENERATION_FILE, readGeneration, type Generation } from './generation.ts'
import { remember } from './remember.ts'
import { INDEX_FILE, openSafetensors, SINGLE_FILE } from './safetensors.ts'
import { missing, type ModelSource } from './source.ts'
import type { Checkpoint } from './tensors.ts'
import type { Tokenizer } from './tokenizer.ts'
import { checkWeights, type Weight } from './weights.ts'

export interface ModelFiles {
  readonly config: ModelConfig
  readonly generation: Generation
  /** All tensors of the files; what the model needs of them is `weights`. */
  readonly checkpoint: Checkpoint
  /** In the order in which a forward pass meets them, with shapes and types as the configuration wants them. */
  readonly weights: readonly Weight[]
  /** Read when it is first asked for, since running on token ids needs none. */
  tokenizer(): Promise<Tokenizer>
}

export interface OpenModelOptions {
  /** The GGUF file that is the model; needed where there is no config.json and the source cannot list its files. */
  readonly gguf?: string
}

const MOST_JSON = 16 * 2 ** 20

/** Reads what is small and checks that the rest is there: the weights stay where they are until they are streamed. */
export async function openModel(source: ModelSource, options: OpenModelOptions = {}): Promise<ModelFiles> {
  const gguf = options.gguf ?? (await onlyGguf(source))
  if (gguf !== null) {
    // Loaded on demand: most programs never need it.
    const { openGguf } = await import('./gguf.ts')
    const opened = await openGguf(source, gguf)
    return { ...opened, weights: checkWeights(opened.config, opened.checkpoint) }
  }
  const record = await needRecord(source, CONFIG_FILE, MOST_JSON)
  const config = readConfig(record)
  const generation = readGeneration(
    fieldsOf(CONFIG_FILE, record),
    await readRecord(source, GENERATION_FILE, MOST_JSON),
  )
  const checkpoint = await openSafetensors(source)
  if (!checkpoint) {
    const present = ((await source.list?.()) ?? []).filter((name) =>
      /\.(bin|pt|pth|gguf|safetensors)$/.test(name),
    )
    throw new HeddleError('no-weights', { place: source.place, looked: [SINGLE_FILE, INDEX_FILE], present })
  }
  return {
    config,
    generation,
    checkpoint,
    weights: checkWeights(config, checkpoint),
    tokenizer: remember(async () => (await import('./tokenizer.ts')).readTokenizer(source)),
  }
}

/** A folder without config.json that holds one GGUF file is that file's model. */
async function onlyGguf(source: ModelSource): Promise<string | null> {
  if ((await source.size(CONFIG_FILE)) !== null) return null
  const files = ((await source.list?.()) ?? []).filter((name) => name.endsWith('.gguf'))
  if (files.length > 1) throw missing(source.place, CONFIG_FILE, `name one of ${files.join(', ')} as gguf`)
  return files[0] ?? null
}
