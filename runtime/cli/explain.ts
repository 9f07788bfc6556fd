/** `heddle explain`: a pattern file in; how its tiles are found, and why, in sentences and numbers out. None of its code runs. */

import * as path from 'node:path'
import type { CompiledPattern, Compilation } from '../../compiler/index.ts'
import { formatDiagnostic, type Diagnostic } from '../../compiler/diagnostics.ts'
import { checkWidths } from '../../codegen/head-dim.ts'
import { Bounds } from '../../compiler/interval.ts'
import { nodesOf, type Expr } from '../../compiler/ir.ts'
import { mapMask, mapPlan, type Setting } from '../../compiler/mask-map.ts'
import { HOW, readable, readTerm } from '../../compiler/print.ts'
import { namedWholes, wholeOr, wordList, type Options } from './args.ts'
import { command } from './command.ts'
import { kernelsOf, kernelText, type KernelLine } from './explain-cuda.ts'
import { fasterKernels, fasterText, type FasterLine } from './explain-faster.ts'
import { stageCost, stageLines } from './explain-stages.ts'
import { shown } from './files.ts'
import { GENERATED } from './inputs.ts'
import type { Io } from './io.ts'
import { loadPatterns } from './load.ts'
import { CliError, EXIT } from './messages.ts'
import { MANY, printParams, SETTING_FLAGS, settingOf, sizesOf } from './setting.ts'
import { readsHead } from '../../compiler/plan.ts'

const FLAGS = {
  file: { type: 'positional', required: true, description: 'The pattern file' },
  ...SETTING_FLAGS,
  block: { type: 'string', description: 'Tokens on each side of a tile (default 32)', valueHint: 'n' },
  target: {
    type: 'string',
    default: 'wgsl',
    description: 'cuda: also its kernels for --head-dim, their shapes and the reason for each',
    valueHint: 'target',
  },
  built: {
    type: 'string',
    description: 'cuda: a folder that heddle build wrote, for the registers that its kernels take',
    valueHint: 'dir',
  },
  json: { type: 'boolean', description: 'As JSON' },
} as const

export const explain = command({
  name: 'explain',
  description: 'Say how the tiles of a pattern are found, and why so',
  args: FLAGS,
  many: MANY,
  about: `Tiles of keys are found, best first: by closed-form ranges in terms of the query tile; by a test that a kernel asks of
each tile; by a list that a kernel builds from every pair. The counts are measured: needed are the tiles in which some
pair is kept, found by looking at every pair; visited are those that the plan leads a kernel to. All heads are counted.
The pattern's code is read, never run.

${GENERATED}

--json prints [{ pattern, file, tiles, visit, notFull, notes, bounds, qLen, kvLen, block, needed, visited, full, fullFound,
sound }]; for tiles: "list" visited counts the candidates that the list's kernel looks at. With --target cuda there are
also kernels: [{ variant, tile, threads, sharedBytes, reason, capability, shapes, cubins: [{ arch, entry, registers,
spillBytes }] }].`,
  examples: [
    'heddle explain patterns/a-shape.ts',
    'heddle explain patterns/dilated-window.ts --kv-len 1024 --param window=32 --param dilation=4',
    'heddle explain mine.ts --json',
    'heddle explain mine.ts --target cuda --head-dim 128 --built kernels',
  ],
  run: explainPatterns,
})

async function explainPatterns(options: Options<typeof FLAGS>, io: Io) {
  sizesOf(options)
  const block = wholeOr('block', options.block, 32, 1, 4096)
  const target = wordList('target', options.target, ['wgsl'], ['wgsl', 'cuda'])[0]!
  if (target !== 'cuda' && options.built !== undefined)
    throw new CliError('flag-target', { flag: 'built', target, other: 'cuda' })
  const built = options.built === undefined ? null : path.resolve(io.cwd, options.built)
  const { file, compilation, patterns } = await loadPatterns(io, options.file, {
    pattern: options.pattern,
    consts: namedWholes('const', options.const),
  })
  const json: unknown[] = []
  let sound = true
  for (const pattern of patterns) {
    const p = target === 'cuda' ? await asOnCuda(pattern) : pattern
    const sizes = sizesOf(options, p)
    const at = settingOf(p, sizes, options)
    const measured = measure(p, at, block)
    sound &&= measured.sound
    const notes = notesOf(compilation, pattern, patterns)
    const { headDim } = sizes
    checkWidths(p.stages, [headDim])
    const kernels = target === 'cuda' ? await kernelsOf(p, { headDim, valueDim: headDim, built }) : null
    const faster = target === 'cuda' && p.stages ? await fasterKernels(p, at) : null
    if (options.json) {
      json.push({
        pattern: p.name,
        file: shown(io, file),
        tiles: p.plan.tiles.how,
        visit: p.plan.tiles.kept.map((t) => readTerm(t)),
        notFull: p.plan.tiles.dropped.map((t) => readTerm(t)),
        notes: notes.map((n) => ({ code: n.code, text: n.text, hint: n.hint ?? null })),
        bounds: boundsOf(p),
        qLen: at.qLen,
        kvLen: at.kvLen,
        block,
        ...measured,
        ...(kernels ? { kernels } : {}),
        ...(p.stages ? { stages: stageCost(p, p.stages, at) } : {}),
        ...(faster ? { faster } : {}),
      })
    } else
      io.out(
        textOf(
          p,
          at,
          block,
          measured,
          notes.map((n) => formatDiagnostic(n, (f) => shown(io, f))),
          kernels ?? [],
          faster ?? [],
        ),
      )
  }
  if (options.json) io.out(`${JSON.stringify(json, null, 2)}\n`)
  if (!sound)
    throw new CliError('bug', {
      detail: 'the plan leaves out a tile that holds a kept pair',
      where: 'the pattern file and the flags',
    })
  return EXIT.fine
}

/** A program with the plan that its kernels for CUDA have. */
async function asOnCuda(p: CompiledPattern): Promise<CompiledPattern> {
  const { cudaPlan } = await import('../../codegen/cuda/stages.ts')
  return { ...p, stages: p.stages && cudaPlan(p.stages) }
}

interface Measured {
  readonly needed: number
  readonly visited: number
  readonly full: number
  readonly fullFound: number
  /** No tile with a kept pair is left out, and no tile is called full that is not. */
  readonly sound: boolean
}

/** Over all heads, or over one where they are all the same. */
function measure(p: CompiledPattern, at: Setting, block: number): Measured {
  const tile = { q: block, kv: block }
  const total = { needed: 0, visited: 0, full: 0, fullFound: 0, sound: true }
  for (let head = 0; head < (readsHead(p.plan) ? at.qHeads : 1); head++) {
    const brute = mapMask(p.plan, { ...at, head }, tile)
    const found = mapPlan(p.plan, { ...at, head }, tile)
    total.needed += brute.counts.partial + brute.counts.full
    total.visited += found.counts.partial + found.counts.full
    total.fullFound += found.counts.full
    for (let i = 0; i < brute.rows; i++) {
      for (let j = 0; j < brute.columns; j++) {
        // A tile cut by the end of the keys always takes the mask.
        const whole = (j + 1) * block <= at.kvLen
        if (whole && brute.classOf(i, j) === 'full') total.full++
        if (found.classOf(i, j) === 'empty' && brute.classOf(i, j) !== 'empty') total.sound = false
        if (found.classOf(i, j) === 'full' && brute.classOf(i, j) !== 'full') total.sound = false
      }
    }
  }
  return total
}

/** A file with one pattern has all its notes; else those between this pattern's words and the next one's. */
function notesOf(
  compilation: Compilation,
  p: CompiledPattern,
  all: readonly CompiledPattern[],
): readonly Diagnostic[] {
  const notes = compilation.diagnostics.filter((d) => d.severity === 'note')
  if (all.length === 1 && compilation.patterns.length === 1) return notes
  return notes.filter((d) =>
    nodesOf(p.lowered.mask).some(
      (e) =>
        e.span.source.file === d.span.source.file && d.span.start <= e.span.start && e.span.end <= d.span.end,
    ),
  )
}

/** The range of each integer term that is no leaf, as proven for any lengths and params within their bounds. */
function boundsOf(p: CompiledPattern): { term: string; least: number; most: number }[] {
  const bounds = new Bounds(p.plan)
  const leaves: readonly Expr['op'][] = ['const', 'var', 'param', 'derived']
  return nodesOf(p.plan.mask)
    .filter((e) => e.type === 'i32' && !leaves.includes(e.op))
    .map((e) => {
      const [least, most] = bounds.numeric(e)
      return { term: readable(e), least, most }
    })
}

function textOf(
  p: CompiledPattern,
  at: Setting,
  block: number,
  m: Measured,
  notes: readonly string[],
  kernels: readonly KernelLine[],
  faster: readonly FasterLine[],
): string {
  const { how, kept, dropped } = p.plan.tiles
  const lines = [`${p.name}: tiles ${p.stages ? 'of its mask ' : ''}are found by ${HOW[how]}`, '']
  if (how === 'ranges')
    lines.push('  every condition of the mask bounds the keys in terms of the query tile', '')
  for (const note of notes) lines.push(note, '')
  lines.push('a query tile from qLo to qHi visits')
  for (const term of kept) lines.push(`  ${readTerm(term, '    ')}`)
  if (kept.length === 0) lines.push('  nothing')
  if (how === 'list') lines.push("  and of these the tiles in which the list's kernel finds a kept pair")
  lines.push('', 'a visited tile takes the mask if it touches')
  for (const term of dropped) lines.push(`  ${readTerm(term, '    ')}`)
  lines.push('  keys at or beyond kvLen')
  const bounds = boundsOf(p)
  if (bounds.length > 0)
    lines.push('', "integers stay inside 32 bits, for any lengths up to 2^22 and the params' bounds")
  const width = Math.max(0, ...bounds.map((b) => b.term.length))
  for (const b of bounds) lines.push(`  ${b.term.padEnd(width)}  ${b.least} .. ${b.most}`)
  const params = printParams(p, at)
  lines.push(
    '',
    `measured at qLen ${at.qLen}, kvLen ${at.kvLen}, tiles of ${block}${readsHead(p.plan) ? `, ${at.qHeads} heads` : ''}${params ? `, ${params}` : ''}`,
  )
  const ratio = m.needed === 0 ? (m.visited === 0 ? 1 : Infinity) : m.visited / m.needed
  lines.push(
    how === 'list'
      ? `  needed ${m.needed} tiles; the list's kernel looks at ${m.visited} candidates and lists exactly those needed`
      : `  needed ${m.needed} tiles, visited ${m.visited} (${ratio.toFixed(2)} x)`,
  )
  lines.push(`  full ${m.full} tiles, of which ${m.fullFound} leave out the mask`, '')
  if (kernels.length > 0) lines.push('kernels', ...kernelText(kernels), '')
  if (p.stages) lines.push(...stageLines(p.ir, p.stages, stageCost(p, p.stages, at)), '')
  if (faster.length > 0) lines.push('in place of one, where the device has them', ...fasterText(faster), '')
  lines.push('')
  return lines.join('\n')
}
