/** `heddle build`: pattern files in; artefacts, kernels and what else a target has in a folder out. None of their code runs. */

import * as path from 'node:path'
import { HEAD_DIMS } from '../../codegen/index.ts'
import { namedWholes, wholeList, wordList, type Options } from './args.ts'
import { CUDA_FLAGS, cudaTarget } from './build-cuda.ts'
import { WGSL_FLAGS, wgslTarget } from './build-wgsl.ts'
import { Builder, type BuildTarget } from './builder.ts'
import { CACHE_FILE } from './cache.ts'
import { command } from './command.ts'
import { explainError } from './errors.ts'
import { expandFiles } from './files.ts'
import type { Io } from './io.ts'
import { CliError, EXIT, type Exit } from './messages.ts'
import { PATTERN_FLAGS } from './setting.ts'
import { watchFiles } from './watch.ts'

const FLAGS = {
  target: {
    type: 'string',
    default: 'wgsl',
    description: 'What to build for: wgsl or cuda',
    valueHint: 'target',
  },
  out: { type: 'string', description: 'The folder to write to (needed)', valueHint: 'dir' },
  'head-dim': {
    type: 'string',
    description: 'Query lengths to build for, 64,128 (default 64)',
    valueHint: 'list',
  },
  'value-dim': {
    type: 'string',
    description: 'Value lengths, one for each of --head-dim (default: the same)',
    valueHint: 'list',
  },
  dtype: {
    type: 'string',
    description: 'Storage: wgsl f32, f16 (default f32); cuda bf16, f16 (default bf16)',
    valueHint: 'list',
  },
  ...WGSL_FLAGS,
  ...CUDA_FLAGS,
  ...PATTERN_FLAGS,
  watch: { type: 'boolean', description: 'Stay, and build again what changes, until Ctrl-C' },
  json: { type: 'boolean', description: 'What was built, as JSON' },
} as const

export const build = command({
  name: 'build',
  description: 'Compile pattern files to artefacts',
  args: FLAGS,
  many: ['const'],
  rest: true,
  about: `heddle build <files or globs> --out <dir> writes for each pattern
  <pattern>.json             the artefact: what a runtime loads
  <pattern>.<variant>.wgsl   the kernel as text, to read
  <pattern>.ts, .d.ts        a typed function that calls it
and with --target cuda
  <pattern>.cuda.json               the manifest: what the loaders of Node and Python load
  <pattern>.<variant>.cu            the kernel as text, complete: NVRTC and nvcc take it as it is
  <pattern>.<variant>.<arch>.cubin  the kernel compiled by nvcc, for each arch that runs it
nvcc is looked for in PATH, CUDA_HOME/bin, CUDA_PATH/bin and /usr/local/cuda/bin, or is the one that HEDDLE_NVCC names.
Without it there are no cubins, which a note says: loaders then compile the text with NVRTC on first use. A hopper kernel
is compiled for sm_90a alone, the others for every arch. Registers that ptxas spills are told, and kept in the manifest.
Cubins are cached by content, for all folders of this user, under HEDDLE_CACHE_DIR or the user's cache folder.

The same sources, options and versions of Heddle and nvcc give the same bytes, unless --autotune measures. What has not
changed is not built again: content hashes are kept in <dir>/${CACHE_FILE}. Files are written whole or not at all.
Files that a glob matches and that declare no pattern are passed over. The patterns' code is read, never run.

--json prints [{ pattern, target, variant, file, bytes, compileMs, tiles: "ranges" | "test" | "list" }], one for each
kernel's text, and for each cubin one with arch, registers, spillBytes and any remarks beside; compileMs is the time of
this run, so 0 for what had not changed. With --watch, one array a line after each build.`,
  examples: [
    'heddle build patterns/a-shape.ts --out kernels',
    'heddle build "patterns/*.ts" --target wgsl --out kernels --head-dim 64,128 --dtype f32,f16',
    'heddle build mine.ts --out kernels --const block=64 --watch',
    'heddle build mine.ts --target cuda --out kernels --head-dim 64,128 --dtype bf16,f16 --arch sm_80,sm_90a',
  ],
  run: runBuild,
})

/** Flags that one target has and the others have no use for. */
const OWN = { wgsl: Object.keys(WGSL_FLAGS), cuda: Object.keys(CUDA_FLAGS) } as const
type TargetName = keyof typeof OWN
const TARGET_NAMES = Object.keys(OWN) as TargetName[]

async function runBuild(options: Options<typeof FLAGS>, io: Io): Promise<Exit> {
  if (options._.length === 0)
    throw new CliError('missing-argument', { command: 'build', what: '<files or globs>' })
  if (options.out === undefined)
    throw new CliError('missing-argument', { command: 'build', what: '--out <dir>' })
  const consts = namedWholes('const', options.const)
  const wish = { folder: path.resolve(io.cwd, options.out), consts, pattern: options.pattern }
  const files = () => expandFiles(io, options._)
  const given = files()
  const target = await targetOf(options, io)
  try {
    const builder = new Builder(io, target, wish, options.json)
    const first = await builder.run(given, options.watch)
    if (!options.watch) return first
    await watchFiles(
      io,
      () => builder.watched,
      async () => {
        try {
          await builder.run(files(), true)
        } catch (error) {
          explainError(error, io)
        }
      },
    )
    return EXIT.fine
  } finally {
    target.close?.()
  }
}

async function targetOf(options: Options<typeof FLAGS>, io: Io): Promise<BuildTarget> {
  const target = wordList('target', options.target, ['wgsl'], TARGET_NAMES)[0]!
  const set: Readonly<Record<string, unknown>> = options
  for (const other of TARGET_NAMES.filter((name) => name !== target)) {
    const flag = OWN[other].find((name) => set[name] !== undefined && set[name] !== false)
    if (flag !== undefined) throw new CliError('flag-target', { flag, target, other })
  }
  const { min, max } = HEAD_DIMS
  const headDims = wholeList('head-dim', options['head-dim'], [64], min, max)
  const valueDims = wholeList('value-dim', options['value-dim'], headDims, min, max)
  if (valueDims.length !== headDims.length)
    throw new CliError('value-dims', { expected: headDims.length, got: valueDims.length })
  const dims = { headDims, valueDims }
  return target === 'cuda' ? cudaTarget(options, dims, io) : wgslTarget(options, dims)
}
