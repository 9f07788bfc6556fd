/** `heddle build --target cuda`: a compiled pattern in; its manifest, its kernels' text and, where nvcc is, their cubins out. */

import * as path from 'node:path'
import type { Arch, CudaArtifact, CudaDtype } from '../../codegen/cuda/manifest.ts'
import { wordList } from './args.ts'
import type { BuildTarget, Made } from './builder.ts'
import { CubinMaker, runsOn, type BuiltCubin } from './cubins.ts'
import { textsOf, withCubins } from './cuda-texts.ts'
import type { Io } from './io.ts'
import { CliError, note } from './messages.ts'
import { generated } from './stage-texts.ts'
import { ARCH_NAMES, checkArchs, findNvcc, placesOf, type Nvcc } from './nvcc.ts'

const DEFAULT_ARCHS: readonly Arch[] = ['sm_80', 'sm_90a']
const CUBINS = ['auto', 'need', 'none'] as const

export const CUDA_FLAGS = {
  arch: {
    type: 'string',
    description: `cuda: what cubins are for: ${ARCH_NAMES.join(', ')} (default ${DEFAULT_ARCHS.join(',')})`,
    valueHint: 'list',
  },
  skeleton: {
    type: 'string',
    description: 'cuda: kernels by machine model: hopper, ampere, decode (default: all that the archs run)',
    valueHint: 'list',
  },
  cubins: {
    type: 'string',
    description:
      'cuda: auto: with nvcc if it is there; need: fail without it; none: text alone (default auto)',
    valueHint: 'when',
  },
  debug: { type: 'boolean', description: 'cuda: kernels that check page tables and indices, slower' },
  autotune: {
    type: 'boolean',
    description: 'cuda: try the tile shapes of each kernel on the GPU and keep the fastest',
  },
} as const

interface CudaFlags {
  readonly dtype: string | undefined
  readonly arch: string | undefined
  readonly skeleton: string | undefined
  readonly cubins: string | undefined
  readonly debug: boolean
  readonly autotune: boolean
}

/** @throws CliError for flags that make no sense, and where nvcc or a GPU is needed and not there */
export async function cudaTarget(
  flags: CudaFlags,
  dims: { readonly headDims: readonly number[]; readonly valueDims: readonly number[] },
  io: Io,
): Promise<BuildTarget> {
  const { emitCuda, SKELETONS } = await import('../../codegen/cuda/emit.ts')
  const dtypes = wordList<CudaDtype>('dtype', flags.dtype, ['bf16'], ['bf16', 'f16'])
  const archs = wordList('arch', flags.arch, DEFAULT_ARCHS, ARCH_NAMES)
  const possible = SKELETONS.filter((s) => archs.some((arch) => runsOn(s, arch))).map((s) => s.name)
  const skeletons = wordList(
    'skeleton',
    flags.skeleton,
    possible,
    SKELETONS.map((s) => s.name),
  )
  for (const skeleton of skeletons) {
    const spec = SKELETONS.find((s) => s.name === skeleton)!
    const needs = ARCH_NAMES.filter((arch) => runsOn(spec, arch))
    if (!possible.includes(skeleton)) throw new CliError('skeleton-arch', { skeleton, needs, got: archs })
  }
  const nvcc = await nvccFor(wordList('cubins', flags.cubins, ['auto'], CUBINS)[0]!, io.env)
  if (nvcc) checkArchs(nvcc, archs)
  const maker = nvcc && new CubinMaker(nvcc)
  const { debug } = flags
  const options = { ...dims, dtypes, skeletons, debug }
  const tuner = flags.autotune ? await (await import('./autotune.ts')).openTuner(io) : null

  return {
    name: 'cuda',
    key: { ...options, archs, nvcc: nvcc?.versionText ?? null, tuned: tuner?.name ?? null },
    notes: nvcc || flags.cubins === 'none' ? [] : [note('no-cubins', {})],
    artefactOf: (pattern) => `${pattern}.cuda.json`,
    make: async (pattern, folder, compiled) => {
      const started = performance.now()
      const shapes = tuner ? { shapes: await tuner.shapesFor(pattern, options) } : {}
      const artifact = generated(pattern, 'cuda', () => emitCuda(pattern, { ...options, ...shapes }))
      const compileMs = round(compiled + performance.now() - started)
      const cubins = maker ? await maker.make(artifact, archs) : []
      return madeOf(artifact, cubins, folder, compileMs)
    },
    close: () => tuner?.close(),
  }
}

async function nvccFor(wish: (typeof CUBINS)[number], env: Io['env']): Promise<Nvcc | null> {
  if (wish === 'none') return null
  const nvcc = await findNvcc(env)
  if (nvcc === null && wish === 'need') throw new CliError('no-nvcc', { places: placesOf(env) })
  return nvcc
}

const round = (ms: number) => Math.round(ms * 10) / 10

/** The manifest last: it names the cubins, and holds the kernels' text itself. */
export function madeOf(
  artifact: CudaArtifact,
  cubins: readonly BuiltCubin[],
  folder: string,
  compileMs: number,
): Made {
  const { pattern, tiles } = artifact
  const whole = withCubins(artifact, (text) => cubins.filter((c) => c.variant === text).map((c) => c.record))
  const row = { pattern, target: 'cuda', tiles }
  const texts = textsOf(artifact).map((v) => ({
    variant: v.id,
    path: path.join(folder, `${pattern}.${v.id}.cu`),
    bytes: v.code,
  }))
  return {
    files: [
      ...texts,
      ...cubins.map((c) => ({ path: path.join(folder, c.record.file), bytes: c.bytes })),
      {
        path: path.join(folder, `${pattern}.cuda.json`),
        bytes: `${JSON.stringify(whole, null, 1)}\n`,
      },
    ],
    rows: [
      ...texts.map((t) => ({
        ...row,
        variant: t.variant,
        file: t.path,
        bytes: Buffer.byteLength(t.bytes),
        compileMs,
      })),
      ...cubins.map(({ variant, record, bytes, ms, remarks }) => ({
        ...row,
        variant,
        file: path.join(folder, record.file),
        bytes: bytes.length,
        compileMs: round(ms),
        arch: record.arch,
        registers: Math.max(0, ...record.resources.map((r) => r.registers)),
        spillBytes: record.resources.reduce((sum, r) => sum + r.spillBytes, 0),
        ...(remarks.length > 0 ? { remarks } : {}),
      })),
    ],
  }
}
