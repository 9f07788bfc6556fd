/** A model's folder and subjects that were built elsewhere in; the evaluation on this machine's GPU, written row by row, out. */

import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { openDevice } from '../runtime/device-node.ts'
// The parts, not the entry: what travels to a machine with a GPU has no tokenizers.
import { reachOf, readConfig } from '../runtime/model/config.ts'
import { loadModel } from '../runtime/model/load.ts'
import type { LoadableFiles } from '../runtime/model/calls.ts'
import { openSafetensors } from '../runtime/model/safetensors.ts'
import { folderSource } from '../runtime/model/source-node.ts'
import { checkWeights } from '../runtime/model/weights.ts'
import type { PreparedEval } from './eval-units.ts'
import type { EvalRow } from './eval/evaluate.ts'
import { attentionOf } from './eval/evaluation.ts'
import { reportText, type EvalReport } from './eval/report.ts'
import { evalRows } from './eval/run.ts'
import { isRefusal } from './eval/subject.ts'
import { NEEDLE_TASKS } from './eval/tasks.ts'
import { knowsNeedles, needleTexts } from './eval/texts.ts'
import { machineOf } from './device.ts'
import { writeSuite } from './results.ts'

export interface EvalPlan {
  readonly model: string
  readonly folder: string
  readonly minutes: number
  /** A word in a pattern's name. */
  readonly only: string
  readonly unsafe: boolean
  /** Of those that were prepared; all of them if there are none. */
  readonly lengths: readonly number[]
}

const commandOf = ({ lengths }: EvalPlan): string =>
  [
    'node out/bench/bench.mjs bench/results eval --model models/needle/model',
    ...(lengths.length === 0 ? [] : [`--lengths ${lengths.join(',')}`]),
  ].join(' ')

/** Texts of a task, and how many tokens those of a task have at most where that leaves two. */
const TEXTS = { most: 8, tokens: 65_536 }
const textsAt = (length: number): number =>
  Math.max(2, Math.min(TEXTS.most, Math.floor(TEXTS.tokens / length)))
const MOST_CHUNK = 8192
const SEED = 1

export async function evalOnDevice(
  { shape, builds, lengths }: PreparedEval,
  plan: EvalPlan,
  versions: Readonly<Record<string, string>>,
): Promise<EvalReport> {
  const files = await filesOf(plan.model, shape)
  const { config } = files
  const end = performance.now() + 60_000 * plan.minutes
  const opened = await openDevice({ unsafe: plan.unsafe })
  const rows: EvalRow[] = []
  const wanted = plan.lengths.length === 0 ? lengths.map((l) => l.length) : plan.lengths
  const held = lengths.filter(({ length }) => length <= reachOf(config) && wanted.includes(length))
  if (held.length === 0)
    throw new Error(`no length of ${wanted.join(', ')} was prepared that the model has positions for`)
  const longest = Math.max(...held.map((l) => l.length))
  const chunk = Math.min(longest, MOST_CHUNK)
  const { layers, qHeads, kvHeads, headDim, maxPositions } = config
  const refused = new Map(held.flatMap((l) => l.refused.map((r) => [JSON.stringify(r), r] as const)))
  const report = (): EvalReport => ({
    suite: plan.lengths.length === 0 ? 'eval-gpu' : `eval-${plan.lengths.join('-')}`,
    command: commandOf(plan),
    date: new Date().toISOString().slice(0, 10),
    ...machineOf(opened),
    versions: { node: process.versions.node, ...versions },
    model: { name: basename(resolve(plan.model)), layers, qHeads, kvHeads, headDim, positions: maxPositions },
    chunk,
    seed: SEED,
    rows,
    refused: [...refused.values()],
  })
  try {
    const rounds = held.map(({ length, subjects }) => ({
      length,
      texts: needleTexts(NEEDLE_TASKS, length, textsAt(length), SEED),
      subjects: subjects
        .filter(({ name }, n) => n === 0 || name.includes(plan.only))
        .map((subject) => ({ ...subject, builds: builds[subject.builds]! })),
    }))
    const dense = rounds[0]!.subjects[0]!
    using model = await loadModel(files, {
      device: opened.device,
      attention: attentionOf(dense, dense.builds.pattern, { ...shape, length: longest, chunk }),
      maxLength: longest,
      chunk,
      cache: shape.dtype,
    })
    let began = performance.now()
    for await (const row of evalRows({ model, chunk, rounds, goes: () => performance.now() < end })) {
      if (isRefusal(row)) refused.set(JSON.stringify(row), row)
      else rows.push(row)
      writeSuite(plan.folder, report())
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(
        isRefusal(row)
          ? `${row.name} ${row.reason}`
          : `${row.pattern} at ${row.length} in ${seconds} s: ${row.verdict}`,
      )
      began = performance.now()
    }
  } finally {
    opened.close()
  }
  console.log(reportText(report()))
  return report()
}

async function filesOf(folder: string, shape: PreparedEval['shape']): Promise<LoadableFiles> {
  const json = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(resolve(folder, name), 'utf8')) as Record<string, unknown>
  if (!knowsNeedles(json('tokenizer.json')))
    throw new Error(`${folder} does not know the words of the needle model's tasks`)
  const config = readConfig(json('config.json'))
  for (const what of ['qHeads', 'kvHeads', 'headDim'] as const) {
    if (config[what] !== shape[what])
      throw new Error(`${folder}: kernels were built for ${what} ${shape[what]}, it has ${config[what]}`)
  }
  const checkpoint = await openSafetensors(folderSource(resolve(folder)))
  if (!checkpoint) throw new Error(`${folder} has no weights`)
  return {
    config,
    checkpoint,
    weights: checkWeights(config, checkpoint),
    generation: { bos: null, eos: [], pad: null, sampling: {} },
    tokenizer: () => Promise.reject(new Error('texts come as tokens')),
  }
}
