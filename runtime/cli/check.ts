/** `heddle check`: a pattern file in; random calls of its kernel compared with the oracle: attention under the pattern run as TypeScript. */

import { formatDiagnostic } from '../../compiler/diagnostics.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { Pattern } from '../../dsl/index.ts'
import type { CheckResult, Runner } from '../testing/index.ts'
import { namedWholes, wholeOr, wordList, type Options } from './args.ts'
import { command } from './command.ts'
import { ADAPTER_FLAG, openAdapter } from './adapter.ts'
import { openCudaDevice } from './cuda-device.ts'
import { shown } from './files.ts'
import { progressOn, type Io } from './io.ts'
import { loadPatterns } from './load.ts'
import { EXIT, note } from './messages.ts'
import { PATTERN_FLAGS } from './setting.ts'
import { refusalOf } from './stage-texts.ts'

const FLAGS = {
  file: { type: 'positional', required: true, description: 'The pattern file' },
  ...PATTERN_FLAGS,
  runs: { type: 'string', description: 'Random calls of each pattern (default 100)', valueHint: 'n' },
  seed: {
    type: 'string',
    description: "The first call's seed, to repeat a run (default: another one each time)",
    valueHint: 'n',
  },
  target: {
    type: 'string',
    default: 'wgsl',
    description: 'Whose kernels: wgsl or cuda',
    valueHint: 'target',
  },
  dtype: {
    type: 'string',
    description: 'Storage: wgsl f32 or f16, cuda bf16 or f16 (default: calls of both)',
    valueHint: 'type',
  },
  ...ADAPTER_FLAG,
  json: { type: 'boolean', description: 'The results as JSON' },
} as const

export const check = command({
  name: 'check',
  description: 'Compare the kernel with the oracle on random calls',
  args: FLAGS,
  many: ['const'],
  about: `The kernel is run on random lengths, heads, layouts, params and tables; the oracle is the pattern run as TypeScript: dense
attention in f64 under its mask, or its forward in f64. So this command runs the pattern's code, through tsx, with your
rights: check only files that you would run. A call that differs is made as simple as it can be and printed, and the exit
code is 1. It is 1 too if the pattern itself refuses a call.

With --target cuda the kernels run on an NVIDIA GPU if there is one, else on the CPU, emulated: the same text compiled by
g++, lane by lane, for what runs on compute capability 8.0. That is slow: some seconds a call. --adapter software asks for it.

A pattern with a forward is run on calls as long as several of its consts, up to 600 tokens: --const block=8 shows more
of it than a block of 512. A row whose choice a rounding decides, so that other keys would be as right, is left out and counted.

The error is given as a part of the error that is allowed: twice that of plain attention in the same precision, plus a
few ulps. Above 1 is a failure.

--json prints [{ pattern, target, runs, failures, maxErrorRatio, undecidedRows, seed }], with cuda the device too; the
counter-example goes to stderr. An error without bound is null.`,
  examples: [
    'heddle check patterns/a-shape.ts',
    'heddle check mine.ts --pattern banded --runs 1000 --dtype f16',
    'heddle check mine.ts --seed 12345 --runs 1',
    'heddle check mine.ts --target cuda --dtype bf16 --runs 20',
  ],
  run: checkPatterns,
})

/** Where kernels of a target run, and what it is called. */
interface Place {
  readonly runner: Runner
  readonly name: string
  /** What a result has to say of where it was got; null: nothing. */
  readonly device: string | null
  close(): void
}

/** What each target's tensors hold, and how a place to run its kernels is opened. */
const TARGETS = {
  wgsl: {
    dtypes: ['f32', 'f16'],
    open: async (io: Io, options: Options<typeof ADAPTER_FLAG>): Promise<Place> => {
      const opened = await openAdapter(io, options)
      const { webgpuRunner } = await import('../testing/index.ts')
      return {
        name: opened.name,
        device: null,
        runner: webgpuRunner(opened.device),
        close: () => opened.close(),
      }
    },
  },
  cuda: {
    dtypes: ['bf16', 'f16'],
    open: async (io: Io, options: Options<typeof ADAPTER_FLAG>): Promise<Place> => {
      const opened = await openCudaDevice(io, options)
      const { cudaRunner } = await import('../testing/cuda.ts')
      return {
        name: opened.name,
        device: opened.name,
        runner: cudaRunner(opened.driver),
        close: () => opened.close(),
      }
    },
  },
} as const
/** A const of a program beyond it leaves few blocks in a call. */
const LARGE = 128
const TARGET_NAMES = Object.keys(TARGETS) as (keyof typeof TARGETS)[]

async function checkPatterns(options: Options<typeof FLAGS>, io: Io) {
  const runs = wholeOr('runs', options.runs, 100, 1, 10_000_000)
  const first = wholeOr('seed', options.seed, null, 0, Number.MAX_SAFE_INTEGER)
  const target = TARGETS[wordList('target', options.target, ['wgsl'], TARGET_NAMES)[0]!]
  const dtype =
    options.dtype === undefined ? undefined : wordList('dtype', options.dtype, [], target.dtypes)[0]!
  const consts = namedWholes('const', options.const)
  const { file, compilation, patterns } = await loadPatterns(io, options.file, {
    pattern: options.pattern,
    consts,
  })
  // Where a table is read beyond its end both give 0, and agree.
  for (const d of compilation.diagnostics.filter(({ code }) => code === 'table-index-order'))
    io.err(`${formatDiagnostic(d, (of) => shown(io, of))}\n\n`)
  const { examinePattern, MOST_TOKENS } = await import('../testing/index.ts')
  const { importPattern } = await import('./module.ts')
  const subjects: [CompiledPattern, Pattern][] = []
  for (const p of patterns) subjects.push([p, await importPattern(file, shown(io, file), p.exportName)])
  const place = await target.open(io, options)
  const progress = progressOn(io)
  const results: CheckResult[] = []
  try {
    for (const [compiled, pattern] of subjects) {
      // The oracle sees the consts that the kernel was built with.
      const subject = { ...pattern, consts: { ...pattern.consts, ...consts } }
      const seed = first ?? Math.floor(Math.random() * 2 ** 31)
      const large = compiled.stages ? Object.entries(subject.consts).filter(([, n]) => n > LARGE) : []
      if (large.length > 0)
        io.err(`${note('large-consts', { pattern: compiled.name, most: MOST_TOKENS, large })}\n`)
      const result = await examinePattern(subject, {
        file,
        runs,
        seed,
        runner: place.runner,
        consts,
        ...(dtype ? { dtype } : {}),
        onRun: (done, of) => progress.show(`${compiled.name}: run ${done} of ${of} on ${place.name}`),
      }).catch((error: unknown) => {
        throw refusalOf(compiled, options.target, error)
      })
      progress.clear()
      results.push(result)
      if (!options.json) io.out(`${lineOf(result, place.device)}\n`)
      if (result.counterExample) (options.json ? io.err : io.out)(`\n${result.counterExample.text}\n\n`)
    }
  } finally {
    progress.clear()
    place.close()
  }
  const rows = results.map(({ pattern, target, runs, failures, maxErrorRatio, undecidedRows, seed }) => ({
    pattern,
    target,
    ...(place.device === null ? {} : { device: place.device }),
    runs,
    failures,
    maxErrorRatio,
    undecidedRows,
    seed,
  }))
  if (options.json) io.out(`${JSON.stringify(rows, null, 2)}\n`)
  return results.some((r) => r.failures > 0) ? EXIT.failed : EXIT.fine
}

function lineOf(
  { pattern, runs, failures, maxErrorRatio, undecidedRows, seed }: CheckResult,
  device: string | null,
): string {
  const said = failures === 0 ? 'all agree with the oracle' : `${failures} DIFFER from the oracle`
  const left = undecidedRows === 0 ? '' : ` ${undecidedRows} rows left out, whose choice a rounding decides,`
  const where = device === null ? '' : ` on ${device}`
  return `${pattern}: ${runs} runs${where}, ${said},${left} greatest error ${maxErrorRatio.toFixed(2)} of what is allowed, seed ${seed}`
}
