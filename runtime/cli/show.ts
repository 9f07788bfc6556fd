/** `heddle show`: a pattern file in; its stages as text and the picture of its mask out. None of its code runs. */

import { emit } from '../../codegen/index.ts'
import { mapMask, type MaskMap, type Setting } from '../../compiler/mask-map.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { readsHead } from '../../compiler/plan.ts'
import { printIr, printMask, printPlan, printTiles } from '../../compiler/print.ts'
import { printGraph } from '../../compiler/stages/print-graph.ts'
import { printStagePlan } from '../../compiler/stages/print-plan.ts'
import { namedWholes, wholeOr, wordList, type Options } from './args.ts'
import { command } from './command.ts'
import { shown, writeFiles, type FileToWrite } from './files.ts'
import { generated, textsOf } from './stage-texts.ts'
import { GENERATED } from './inputs.ts'
import type { Io } from './io.ts'
import { loadPatterns } from './load.ts'
import { CliError, EXIT } from './messages.ts'
import { tileCells, tokenCells, toPng, toSvg } from './picture.ts'
import { MANY, printParams, SETTING_FLAGS, settingOf, sizesOf } from './setting.ts'
import * as path from 'node:path'

/** In order; each from what is compiled, or from the mask at the lengths given. */
const STAGES = {
  lower: (p: CompiledPattern) => printIr(p.lowered),
  simplify: (p: CompiledPattern) => {
    const text = printIr(p.simplified)
    return text === printIr(p.lowered) ? '(unchanged)' : text
  },
  tiles: (p: CompiledPattern) => printTiles(p.plan.tiles),
  plan: (p: CompiledPattern) => printPlan(p.plan),
  graph: (p: CompiledPattern) => (p.stages ? printGraph(p.stages.graph) : NO_FORWARD),
  kernels: (p: CompiledPattern) => (p.stages ? printStagePlan(p.stages) : NO_FORWARD),
  wgsl: (p: CompiledPattern, headDim: number) => {
    const { variants, stages } = generated(p, 'wgsl', () =>
      emit(p, { target: 'wgsl', headDims: [headDim], dtypes: ['f32'], capabilities: ['portable'] }),
    )
    const texts = stages ? textsOf(stages.variants[0]!) : variants
    return texts.map(({ code }) => code.trimEnd()).join('\n\n')
  },
} as const
const NO_FORWARD = 'attend(Q, K, V): there is no forward'

type Stage = keyof typeof STAGES | 'mask'
const NAMES: readonly Stage[] = ['lower', 'simplify', 'tiles', 'plan', 'graph', 'kernels', 'mask', 'wgsl']
/** Words of the guide and of habit for one stage or a few. */
const ALIASES: Readonly<Record<string, readonly Stage[]>> = {
  ir: ['lower', 'simplify'],
  expr: ['simplify'],
  blocks: ['mask'],
  emit: ['wgsl'],
}
/** The kernel is long; it is printed when it is asked for. */
const BY_DEFAULT: readonly Stage[] = ['lower', 'simplify', 'tiles', 'plan', 'graph', 'kernels', 'mask']
/** Of these, what a pattern without a forward has nothing of. */
const OF_FORWARD: readonly Stage[] = ['graph', 'kernels']

const FLAGS = {
  file: { type: 'positional', required: true, description: 'The pattern file' },
  stage: {
    type: 'positional',
    required: false,
    description: `${NAMES.join(', ')}; all but wgsl if left out`,
  },
  ...SETTING_FLAGS,
  head: { type: 'string', description: 'The head whose mask is shown, or `all` (default 0)', valueHint: 'n' },
  block: {
    type: 'string',
    description: 'Tokens on each side of a tile (default 32, more where the picture would be too wide)',
    valueHint: 'n',
  },
  png: { type: 'string', description: 'Write the picture as PNG', valueHint: 'file' },
  svg: { type: 'string', description: 'Write the picture as SVG', valueHint: 'file' },
  cell: {
    type: 'string',
    description: 'What a cell of the PNG or SVG stands for: token or tile (default token up to 1,024 keys)',
    valueHint: 'grain',
  },
  json: { type: 'boolean', description: 'Numbers and stages as JSON' },
} as const

export const show = command({
  name: 'show',
  description: 'Print the stages of a pattern and the picture of its mask',
  args: FLAGS,
  many: MANY,
  about: `The picture has a row per tile of queries and a cell per tile of keys: ·· empty, ░░ partial, ██ full, found by looking
at every pair. density is kept pairs / causal pairs (/ all pairs where a query attends later keys), tileDensity is
tiles that are not empty / all tiles. The pattern's code is read, never run.

${GENERATED}

--json prints [{ pattern, file, head, qLen, kvLen, block, tiles: { how, empty, partial, full }, density, tileDensity,
bidirectional, stages: { .. } }].`,
  examples: [
    'heddle show patterns/a-shape.ts',
    'heddle show patterns/a-shape.ts mask --kv-len 1024 --param window=128 --param sinkTokens=16',
    'heddle show patterns/streaming-heads.ts mask --head all',
    'heddle show mine.ts --pattern banded --kv-len 512 --png mask.png --svg mask.svg',
    'heddle show mine.ts wgsl --head-dim 128 > kernel.wgsl',
  ],
  run: showPatterns,
})

async function showPatterns(options: Options<typeof FLAGS>, io: Io) {
  const stages = stagesOf(options.stage)
  sizesOf(options)
  const given = wholeOr('block', options.block, null, 1, 4096)
  const all = options.head === 'all'
  const head = all ? 0 : wholeOr('head', options.head, 0, 0, 1023)
  const grain = options.cell === undefined ? null : wordList('cell', options.cell, [], ['token', 'tile'])[0]

  const { file, patterns } = await loadPatterns(io, options.file, {
    pattern: options.pattern,
    consts: namedWholes('const', options.const),
  })
  const pictures: FileToWrite[] = []
  const json: unknown[] = []
  for (const p of patterns) {
    const sizes = sizesOf(options, p)
    if (head >= sizes.qHeads) throw new CliError('head-range', { head, heads: sizes.qHeads })
    const block = given ?? blockFor(sizes.kvLen, io.columns)
    const heads = all && readsHead(p.plan) ? Array.from({ length: sizes.qHeads }, (_, i) => i) : [head]
    const text: Record<string, string> = {}
    const shownOf =
      p.stages || options.stage !== undefined ? stages : stages.filter((s) => !OF_FORWARD.includes(s))
    for (const stage of shownOf) if (stage !== 'mask') text[stage] = STAGES[stage](p, sizes.headDim)
    for (const at of heads) {
      const setting = settingOf(p, sizes, options, at)
      const map = mapMask(p.plan, setting, { q: block, kv: block })
      const caption = captionOf(p, setting, block)
      const cells = () =>
        (grain ?? (sizes.kvLen <= 1024 ? 'token' : 'tile')) === 'token'
          ? tokenCells(p.plan, setting, map)
          : tileCells(map)
      const place = (given: string) =>
        placeOf(io, given, [patterns.length > 1 ? p.name : '', heads.length > 1 ? `head${at}` : ''])
      if (options.png !== undefined) pictures.push({ path: place(options.png), bytes: toPng(cells()) })
      if (options.svg !== undefined)
        pictures.push({ path: place(options.svg), bytes: toSvg(cells(), map, p.name, caption) })
      if (options.json) json.push(jsonOf(p, shown(io, file), setting, map, text))
      else
        printStages(io, p, stages, patterns.length > 1, {
          ...(at === heads[0] ? text : {}),
          ...(stages.includes('mask') ? { mask: `${caption}\n${printMask(map)}` } : {}),
        })
    }
  }
  if (options.json) io.out(`${JSON.stringify(json, null, 2)}\n`)
  writeFiles(io, pictures)
  for (const picture of pictures) io.err(`wrote ${shown(io, picture.path)}\n`)
  return EXIT.fine
}

function stagesOf(given: string | undefined): readonly Stage[] {
  if (given === undefined) return BY_DEFAULT
  const found = ALIASES[given] ?? NAMES.filter((n) => n === given)
  if (found.length === 0)
    throw new CliError('unknown-stage', { got: given, stages: [...NAMES, ...Object.keys(ALIASES)] })
  return found
}

/** At most 64 tiles across, fewer in a narrow terminal: a tile takes two characters. */
function blockFor(kvLen: number, columns: number): number {
  const most = Math.max(8, Math.min(64, Math.floor((columns - 50) / 2)))
  let block = 32
  while (kvLen / block > most) block *= 2
  return block
}

function printStages(
  io: Io,
  p: CompiledPattern,
  stages: readonly Stage[],
  titled: boolean,
  text: Readonly<Record<string, string>>,
): void {
  for (const stage of stages) {
    const body = text[stage]
    if (body === undefined) continue
    io.out(stages.length === 1 && !titled ? `${body}\n` : `${p.name} ${stage}\n\n${body}\n\n`)
  }
}

function captionOf(p: CompiledPattern, at: Setting, block: number): string {
  const lengths = at.qLen === at.kvLen ? `${at.kvLen} tokens` : `${at.qLen} queries, ${at.kvLen} keys`
  const head = readsHead(p.plan) ? [`head ${at.head} of ${at.qHeads}`] : []
  const caption = [lengths, `tiles of ${block}`, ...head, ...[printParams(p, at)].filter(Boolean)].join(', ')
  return p.stages ? `${caption}; the mask alone: what the forward keeps of it is the data's to say` : caption
}

function placeOf(io: Io, given: string, parts: readonly string[]): string {
  const at = path.resolve(io.cwd, given)
  const extension = path.extname(at)
  return [at.slice(0, at.length - extension.length), ...parts.filter(Boolean)].join('-') + extension
}

function jsonOf(
  p: CompiledPattern,
  file: string,
  at: Setting,
  map: MaskMap,
  stages: Readonly<Record<string, string>>,
) {
  return {
    pattern: p.name,
    file,
    head: at.head,
    qLen: at.qLen,
    kvLen: at.kvLen,
    block: map.tile.kv,
    tiles: { how: p.plan.tiles.how, ...map.counts },
    density: map.density,
    tileDensity: map.tileDensity,
    bidirectional: map.bidirectional,
    stages,
  }
}
