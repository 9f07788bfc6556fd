/** The patterns that `heddle eval` was asked for in; their subjects at each length, and those that cannot be judged, out. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import {
  Builder,
  LIBRARY,
  libraryCandidate,
  OWN_DEFAULTS,
  type Candidate,
  type Changes,
} from '../../bench/eval/prepare.ts'
import type { Round } from '../../bench/eval/run.ts'
import { isRefusal, type Refusal, type Subject } from '../../bench/eval/subject.ts'
import type { EvalText } from '../../bench/eval/texts.ts'
import type { Dtype } from '../../codegen/artifact.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { ModelConfig } from '../model.ts'
import { namedWholes, nearestOf, ownedValues } from './args.ts'
import { readableFile } from './files.ts'
import type { Io } from './io.ts'
import { loadCompiler, loadPatterns } from './load.ts'
import { CliError } from './messages.ts'
import { paramsOf } from './setting.ts'

interface Options {
  readonly patterns: string | undefined
  readonly param: string | undefined
  readonly const: string | undefined
  readonly profile: string | undefined
}

/** A candidate and what the flags say of it, which hangs on the model's heads and layers. */
interface Asked {
  readonly candidate: Candidate
  readonly changes: (model: Pick<ModelConfig, 'qHeads' | 'layers'>) => Changes
}

const DENSE = 'causal'

/** Dense attention first, then as they were named. */
export async function candidatesOf(io: Io, options: Options): Promise<readonly Asked[]> {
  const otherwise = options.profile === undefined ? LIBRARY : []
  const names = options.patterns?.split(',').map((name) => name.trim()) ?? otherwise
  const params = ownedValues('param', options.param)
  const consts = ownedValues('const', options.const)
  const compiler = await loadCompiler()
  const asked: Asked[] = []
  const add = async (candidate: Candidate, file: string) => {
    const own = namedWholes('const', consts.get(candidate.name))
    // Tells of consts that the pattern does not have, and of whatever else is wrong with it.
    if (consts.has(candidate.name)) await loadPatterns(io, file, { consts: own })
    asked.push({
      candidate,
      changes: ({ qHeads }) => ({
        consts: own,
        params: paramsOf(candidate.compile(own), qHeads, params.get(candidate.name)),
      }),
    })
  }
  for (const name of new Set([DENSE, ...names])) {
    if (LIBRARY.includes(name)) {
      await add(libraryCandidate(name, compiler), path.join(PACKAGE_ROOT, 'patterns', `${name}.ts`))
      continue
    }
    if (!fs.existsSync(path.resolve(io.cwd, name)))
      throw new CliError('pattern-missing', { got: name, nearest: nearestOf(name, LIBRARY) })
    const { file, patterns } = await loadPatterns(io, name, {})
    for (const pattern of patterns) {
      const compile = (consts: Readonly<Record<string, number>>) =>
        compiler.compile(file, { consts }).patterns.find((p) => p.name === pattern.name)!
      await add({ name: pattern.name, entry: OWN_DEFAULTS, compile }, name)
    }
  }
  if (options.profile !== undefined) asked.push(await profiled(io, options.profile, compiler))
  const present = asked.map((a) => a.candidate.name)
  for (const [flag, owners] of [['param', params] as const, ['const', consts] as const]) {
    for (const owner of owners.keys())
      if (!present.includes(owner)) throw new CliError('eval-owner', { flag, got: owner, present })
  }
  return asked
}

async function profiled(
  io: Io,
  given: string,
  compiler: Awaited<ReturnType<typeof loadCompiler>>,
): Promise<Asked> {
  const { readProfile, paramsOf: layerParams } = await import('../profile.ts')
  const profile = readProfile(fs.readFileSync(readableFile(io, given), 'utf8'))
  const candidate = { ...libraryCandidate('minference', compiler), entry: OWN_DEFAULTS }
  return {
    candidate: { ...candidate, name: `minference (${path.basename(given)})` },
    changes: ({ qHeads, layers }) => ({
      layers: Array.from({ length: layers }, (_, layer) => ({ ...layerParams(profile, layer, qHeads) })),
    }),
  }
}

export function roundsOf(
  asked: readonly Asked[],
  model: Pick<ModelConfig, 'qHeads' | 'kvHeads' | 'headDim' | 'layers'> & { readonly dtype: Dtype },
  texts: ReadonlyMap<number, readonly EvalText[]>,
): { readonly rounds: readonly Round[]; readonly refused: Refusal[] } {
  const builder = new Builder()
  const refused = new Map<string, Refusal>()
  const { qHeads, kvHeads, headDim, dtype } = model
  const rounds = [...texts].map(([length, own]): Round => {
    const subjects: Subject[] = []
    for (const { candidate, changes } of asked) {
      const shape = { length, qHeads, kvHeads, headDim, dtype }
      const found = builder.subject(candidate, shape, changes(model))
      if (isRefusal(found)) refused.set(JSON.stringify(found), found)
      else subjects.push(found)
    }
    return { length, texts: own, subjects }
  })
  return { rounds, refused: [...refused.values()] }
}
