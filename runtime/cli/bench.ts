/** `heddle bench`: a pattern file in; its kernel's time beside the dense kernel's on the same adapter out. None of its code runs. */

import * as path from 'node:path'
import { HEAD_DIMS } from '../../codegen/index.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import { mapMask, mapPlan, type MaskMap, type Setting } from '../../compiler/mask-map.ts'
import { ADAPTER_FLAG } from './adapter.ts'
import { namedWholes, wholeList, wholeOr, wordList, type Options } from './args.ts'
import { BENCH_TARGET_NAMES, BENCH_TARGETS, type BenchCall, type BenchTarget } from './bench-place.ts'
import { command } from './command.ts'
import { progressOn, type Io } from './io.ts'
import { loadCompiler, loadPatterns } from './load.ts'
import { CliError, EXIT } from './messages.ts'
import { GENERATED, inputsOf, vectorsOf } from './inputs.ts'
import { MANY, paramsOf, PATTERN_FLAGS, printParams, SETTING_FLAGS, type Sizes } from './setting.ts'
import { readsHead } from '../../compiler/plan.ts'
import { heddleVersion } from './version.ts'

const FLAGS = {
  file: { type: 'positional', required: true, description: 'The pattern file' },
  ...PATTERN_FLAGS,
  len: {
    type: 'string',
    description: 'Lengths, queries and keys: 512,1024 (default 512)',
    valueHint: 'list',
  },
  'q-len': { type: 'string', description: 'Queries, where they are fewer than keys', valueHint: 'n' },
  heads: { type: 'string', description: 'Query heads (default 4)', valueHint: 'n' },
  'kv-heads': { type: 'string', description: 'Key heads (default: as many as query heads)', valueHint: 'n' },
  'head-dim': { type: 'string', description: 'Length of a query vector (default 64)', valueHint: 'n' },
  'value-dim': {
    type: 'string',
    description: 'Length of a value vector (default: as the query)',
    valueHint: 'n',
  },
  batch: { type: 'string', description: 'Batch entries (default 1)', valueHint: 'n' },
  target: {
    type: 'string',
    default: 'wgsl',
    description: 'Whose kernels: wgsl, or cuda, which needs an NVIDIA GPU',
    valueHint: 'target',
  },
  dtype: {
    type: 'string',
    description: 'Storage: wgsl f32 or f16 (default f32), cuda bf16 or f16 (default bf16)',
    valueHint: 'type',
  },
  param: SETTING_FLAGS.param,
  seed: SETTING_FLAGS.seed,
  dense: {
    type: 'string',
    description: 'What to compare with: causal or full (default: full if a query attends later keys)',
    valueHint: 'mask',
  },
  runs: { type: 'string', description: 'Timed runs at most; the median counts (default 20)', valueHint: 'n' },
  ...ADAPTER_FLAG,
  json: { type: 'boolean', description: 'The results as JSON' },
} as const

export const bench = command({
  name: 'bench',
  description: 'Time the kernel beside the dense one on the same adapter',
  args: FLAGS,
  many: MANY,
  about: `Times are of the kernel alone, without upload and download: by timestamps of the device where it has them. ratio is the
dense kernel's time / the pattern's, in one run: above 1 the pattern is faster. TFLOP/s count kept pairs only.
needed tiles are those that hold a kept pair, visited those that the plan leads the kernel to, over all heads; they are
left out where counting pair by pair would take longer than a few seconds, and for a pattern with a forward, which keeps
what the data says. The pattern's code is read, never run. With --target cuda the dense peer is Heddle's own dense kernel
too, on the same GPU.

${GENERATED}

--json prints { suite, command, date, device, driver, versions, rows: [{ case, target, ours: { ms, tflops }, peer: { name,
ms, tflops }, ratio, tiles: { needed, visited }, note }] }; tflops is null where kept pairs are not counted.`,
  examples: [
    'heddle bench patterns/a-shape.ts --len 512,1024',
    'heddle bench mine.ts --len 8192 --heads 32 --kv-heads 8 --head-dim 128 --dtype f16 --json',
    'heddle bench mine.ts --param window=256 --dense causal',
    'heddle bench mine.ts --target cuda --len 32768 --heads 32 --kv-heads 8 --head-dim 128',
  ],
  run: benchPatterns,
})

export interface BenchRow {
  readonly case: string
  readonly target: string
  /** tflops is null where the kept pairs are not known. */
  readonly ours: { readonly ms: number; readonly tflops: number | null }
  readonly peer: { readonly name: string; readonly ms: number; readonly tflops: number }
  readonly ratio: number
  readonly tiles?: { readonly needed: number; readonly visited: number }
  readonly note?: string
}

/** Pairs that are counted one by one: a few seconds. */
const MOST_PAIRS = 60e6

async function benchPatterns(options: Options<typeof FLAGS>, io: Io) {
  const lengths = wholeList('len', options.len, [512], 1, 2 ** 20)
  const qLen = wholeOr('q-len', options['q-len'], null, 1, 2 ** 20)
  const shortest = Math.min(...lengths)
  if (qLen !== null && qLen > shortest) throw new CliError('lengths-order', { qLen, kvLen: shortest })
  const qHeads = wholeOr('heads', options.heads, 4, 1, 1024)
  const kvHeads = wholeOr('kv-heads', options['kv-heads'], qHeads, 1, 1024)
  if (qHeads % kvHeads !== 0) throw new CliError('heads-group', { heads: qHeads, kvHeads })
  const headDim = wholeOr('head-dim', options['head-dim'], 64, HEAD_DIMS.min, HEAD_DIMS.max)
  const valueDim = wholeOr('value-dim', options['value-dim'], headDim, HEAD_DIMS.min, HEAD_DIMS.max)
  const batch = wholeOr('batch', options.batch, 1, 1, 4096)
  const targetName = wordList('target', options.target, ['wgsl'], BENCH_TARGET_NAMES)[0]!
  const target: BenchTarget = BENCH_TARGETS[targetName]
  const dtype = wordList('dtype', options.dtype, target.dtypes, target.dtypes)[0]!
  const seed = wholeOr('seed', options.seed, 1, 0, 2 ** 31 - 1)
  const runs = wholeOr('runs', options.runs, 20, 1, 10_000)
  const dense =
    options.dense === undefined ? null : wordList('dense', options.dense, [], ['causal', 'full'])[0]!

  const { patterns } = await loadPatterns(io, options.file, {
    pattern: options.pattern,
    consts: namedWholes('const', options.const),
  })
  const given = new Map(patterns.map((p) => [p, paramsOf(p, qHeads, options.param)]))
  const peers = await densePatterns()
  const opened = await target.open(io, options)
  const progress = progressOn(io)
  const rows: BenchRow[] = []
  try {
    for (const p of patterns) {
      for (const kvLen of lengths) {
        const sizes: Sizes = { qLen: qLen ?? kvLen, kvLen, qHeads, kvHeads, headDim, seed }
        const inputs = inputsOf(p.plan, sizes, batch)
        const params = { ...inputs.params, ...given.get(p) }
        const { tables } = inputs
        const vectors = vectorsOf(p, sizes, batch)
        const call: BenchCall = { ...sizes, batch, valueDim, dtype, params, tables, rows: vectors }
        const at: Setting = { ...sizes, batch: 0, batches: batch, head: 0, params, tables }
        const name = dense ?? (looksAhead(p, at) ? 'full' : 'causal')
        progress.show(`${p.name}: ${kvLen} keys on ${opened.name}`)
        const limits = { runs, budgetMs: 5000 }
        const time = await opened.time(p, call, limits)
        const peer = await opened.time(peers[name], { ...call, params: {}, tables: {}, rows: {} }, limits)
        progress.show(`${p.name}: counting tiles at ${kvLen} keys`)
        const { tile, id } = time
        const counted = tile && countTiles(p, at, tile)
        const pairs = counted?.pairs ?? null
        const densePairs = (name === 'full' ? sizes.qLen * kvLen : causalPairs(sizes.qLen, kvLen)) * qHeads
        const perPair = 2 * (headDim + valueDim) * batch
        const tflops = (count: number, ms: number) => round((count * perPair) / ms / 1e9, 4)
        rows.push({
          case: [
            p.name,
            `N=${kvLen}`,
            ...(sizes.qLen === kvLen ? [] : [`q=${sizes.qLen}`]),
            `B=${batch}`,
            `H=${qHeads}/${kvHeads}`,
            `d=${headDim}${valueDim === headDim ? '' : `x${valueDim}`}`,
            dtype,
            ...[printParams(p, at)].filter(Boolean),
          ].join(' '),
          target: targetName,
          ours: { ms: round(time.ms, 3), tflops: pairs === null ? null : tflops(pairs, time.ms) },
          peer: { name: `heddle ${name}`, ms: round(peer.ms, 3), tflops: tflops(densePairs, peer.ms) },
          ratio: round(peer.ms / time.ms, 3),
          ...(counted ? { tiles: { needed: counted.needed, visited: counted.visited } } : {}),
          note: [
            `variant ${id}`,
            `kernel only, by ${time.by}`,
            `median of ${time.runs}`,
            ...(counted
              ? [`${tflops(counted.visited * tile!.q * tile!.kv, time.ms)} TFLOP/s on visited tiles`]
              : [
                  tile
                    ? 'pairs and tiles not counted at this size'
                    : 'which pairs are kept hangs on the data',
                ]),
          ].join(', '),
        })
        progress.clear()
      }
    }
  } finally {
    progress.clear()
    opened.close()
  }
  if (options.json) {
    const command = [
      'heddle bench',
      options.file,
      `--target ${targetName} --len ${lengths.join(',')} --heads ${qHeads} --kv-heads ${kvHeads} --head-dim ${headDim} --dtype ${dtype}`,
    ].join(' ')
    const versions = { heddle: heddleVersion().number, node: process.versions.node }
    io.out(
      `${JSON.stringify({ suite: 'bench', command, date: new Date().toISOString(), device: opened.name, driver: opened.driver, versions, rows }, null, 2)}\n`,
    )
  } else io.out(textOf(rows, opened.name))
  return EXIT.fine
}

/** The library's own dense patterns: what a kernel without sparsity costs on this adapter. */
export async function densePatterns(): Promise<Record<'causal' | 'full', CompiledPattern>> {
  const compiler = await loadCompiler()
  const one = (name: 'causal' | 'full') =>
    compiler.compile(path.join(PACKAGE_ROOT, 'patterns', `${name}.ts`)).patterns[0]!
  return { causal: one('causal'), full: one('full') }
}

/** Seen on a few tokens more than any window is wide would be better; the corner of the first ones shows nearly every pattern. */
function looksAhead(p: CompiledPattern, at: Setting): boolean {
  const small: Setting = { ...at, qLen: Math.min(at.qLen, 256) }
  const heads = readsHead(p.plan) ? Math.min(at.qHeads, 4) : 1
  return Array.from({ length: heads }, (_, head) =>
    mapMask(p.plan, { ...small, head }, { q: 256, kv: 256 }),
  ).some((m) => m.bidirectional)
}

/** Of a head: those whose key does not stand behind the query. */
export const causalPairs = (qLen: number, kvLen: number): number =>
  qLen * (kvLen - qLen) + (qLen * (qLen + 1)) / 2

function countTiles(p: CompiledPattern, at: Setting, tile: { readonly q: number; readonly kv: number }) {
  const distinct = readsHead(p.plan) ? at.qHeads : 1
  if (at.qLen * at.kvLen * distinct > MOST_PAIRS) return null
  const total = { needed: 0, visited: 0, pairs: 0 }
  for (let head = 0; head < distinct; head++) {
    const needed: MaskMap = mapMask(p.plan, { ...at, head }, tile)
    const visited = p.plan.tiles.how === 'list' ? needed : mapPlan(p.plan, { ...at, head }, tile)
    total.needed += needed.counts.partial + needed.counts.full
    total.visited += visited.counts.partial + visited.counts.full
    total.pairs += needed.keptPairs
  }
  const times = at.qHeads / distinct
  return { needed: total.needed * times, visited: total.visited * times, pairs: total.pairs * times }
}

const round = (x: number, digits: number) => Number(x.toFixed(digits))

function textOf(rows: readonly BenchRow[], device: string): string {
  const lines = [`on ${device}`, '']
  for (const r of rows) {
    lines.push(r.case)
    lines.push(`  ${r.ours.ms} ms, ${r.peer.name} ${r.peer.ms} ms: ${r.ratio} x`)
    if (r.tiles)
      lines.push(
        `  tiles needed ${r.tiles.needed}, visited ${r.tiles.visited}; ${r.ours.tflops} TFLOP/s on kept pairs`,
      )
    lines.push(`  ${r.note}`, '')
  }
  return lines.join('\n')
}
