/** Results and the registry of patterns in; the generated sections of README and docs out. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createCompiler, type Compilation } from '../compiler/index.ts'
import { mapMask, type Setting } from '../compiler/mask-map.ts'
import { HOW, printMask } from '../compiler/print.ts'
import { isRowsSpec } from '../dsl/stages/inputs.ts'
import { PATTERNS, SELECTIONS } from '../patterns/index.ts'
import type { Pattern } from '../dsl/index.ts'
import { drawEvaluations, evaluationsIn, evaluationText } from './eval-tables.ts'
import { readSuite, type Row, type Suite } from './results.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const RESULTS = `${ROOT}bench/results`
export const README = `${ROOT}README.md`
export const MEASUREMENTS = `${ROOT}docs/measurements.md`
export const EVALUATING = `${ROOT}docs/evaluating.md`

interface Shown {
  readonly suite: string
  readonly title: string
  /** The command that measures it, where it is none of `npm run bench`. */
  readonly command?: string
  /** Made of its results, in docs/; shown where the file is. */
  readonly picture?: string
  /** The rows that the README has room for; docs/measurements.md has all of them. */
  readonly headline: (rows: readonly Row[]) => readonly Row[]
}

const all = (rows: readonly Row[]): readonly Row[] => rows
/** Rows beside another kernel, without what only one column of prose holds. */
const beside = (rows: readonly Row[]): readonly Row[] =>
  rows.filter((row) => row.peer).map(({ more, ...row }) => ({ ...row, more: numbersOf(more) }))
const numbersOf = (more: Row['more'] = {}) =>
  Object.fromEntries(Object.entries(more).filter(([, value]) => typeof value === 'number'))
const slowest = (rows: readonly Row[]): readonly Row[] =>
  [...rows].sort((a, b) => b.ours.ms - a.ours.ms).slice(0, 1)

const SUITES: readonly Shown[] = [
  {
    suite: 'compile',
    title: 'Source to WGSL: the whole library in a fresh process, and the slowest pattern in a warm one',
    headline: (rows) => [...rows.slice(0, 1), ...slowest(rows.slice(1))],
  },
  {
    suite: 'skipping',
    title: 'Skipping: time against causal, beside visited tiles against causal',
    headline: all,
  },
  { suite: 'gpu', title: 'On a GPU', headline: all },
  {
    suite: 'cuda',
    title:
      'CUDA on an H100 beside the fastest dense kernels and FlexAttention, each case in turns with its peers',
    command: 'bench/cuda/prepare.sh',
    picture: 'roofline.svg',
    headline: (rows) => rows.filter((row) => row.limit !== undefined),
  },
  {
    suite: 'lists',
    title:
      'Causal attention over random lists of blocks on an H100, beside FlexAttention over the same blocks',
    command: 'python3 bench/cuda/lists.py --artifacts out/lists --out bench/results',
    headline: (rows) => rows.filter((row) => row.peer?.name.startsWith('FlexAttention')),
  },
  {
    suite: 'selections',
    title:
      'Patterns that choose by the data on CUDA: all that a call launches, beside our own dense causal attention',
    command: 'node out/bench/cuda.mjs bench/results selections',
    headline: beside,
  },
  {
    suite: 'programs',
    title:
      'Patterns that choose by the data from PyTorch: the whole of a call in turns with dense attention of cuDNN',
    command: 'python3 bench/cuda/programs.py --artifacts out/programs --out bench/results',
    headline: all,
  },
  {
    suite: 'transformers',
    title:
      'Whole prompts of an 8B-shaped model in Hugging Face transformers on an H100, beside sdpa (cuDNN) and flex_attention',
    command: 'python3 bench/cuda/models.py --artifacts out/models --out bench/results',
    headline: all,
  },
  {
    suite: 'gpu-selections',
    title: 'Patterns that choose by the data on WebGPU, sparser and sparser',
    command: 'node out/bench/bench.mjs bench/results gpu-selections',
    headline: beside,
  },
  {
    suite: 'check-gpu',
    title: 'Every pattern against f64 on a GPU: the worst of each storage type',
    headline: (rows) => worstOfTypes(rows, ['f32', 'f16']),
  },
  {
    suite: 'check-gpu-selections',
    title: 'Every pattern that chooses by the data against f64 on WebGPU: the worst of each storage type',
    command: 'node out/bench/bench.mjs bench/results check-gpu-selections',
    headline: (rows) => worstOfTypes(rows, ['f32', 'f16']),
  },
  {
    suite: 'check-cuda-selections',
    title: 'Every pattern that chooses by the data against f64 on CUDA: the worst of each storage type',
    command: 'node out/bench/cuda.mjs bench/results check-cuda-selections',
    headline: (rows) => worstOfTypes(rows, ['bf16', ' f16']),
  },
]

const worstOfTypes = (rows: readonly Row[], types: readonly string[]): readonly Row[] =>
  types.flatMap((type) => worstOf(rows.filter((row) => row.case.endsWith(type))))

const worstOf = (rows: readonly Row[]): readonly Row[] =>
  [...rows]
    .sort((a, b) => Number(b.more?.['error ratio'] ?? 0) - Number(a.more?.['error ratio'] ?? 0))
    .slice(0, 1)

type Line = readonly string[]

function table(head: Line, lines: readonly Line[]): string {
  const row = (cells: Line) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [row(head), `|${head.map(() => '---').join('|')}|`, ...lines.map(row)].join('\n')
}

const short = (n: number): string =>
  Number.isInteger(n) ? String(n) : n >= 100 ? n.toFixed(0) : n.toPrecision(3)

/** The picture of the README's own example: its code block is compiled as it stands. */
function picture(readme: string): string {
  const text = /```ts\n(import[^]*?)```/.exec(readme)?.[1]
  if (text === undefined) throw new Error('the README has no code block that starts with an import')
  const [pattern] = compiled(createCompiler().compile(`${ROOT}readme-example.ts`, { text }))
  const at: Setting = {
    batch: 0,
    batches: 1,
    head: 0,
    qHeads: 1,
    kvHeads: 1,
    qLen: 384,
    kvLen: 384,
    headDim: 64,
    params: {},
    tables: {},
  }
  return `\`\`\`\n${printMask(mapMask(pattern!.plan, at, { q: 32, kv: 32 }))}\n\`\`\``
}

function compiled(compilation: Compilation): Compilation['patterns'] {
  const wrong = compilation.diagnostics.find((d) => d.severity !== 'note')
  if (wrong) throw new Error(`${compilation.file}: ${wrong.text}`)
  return compilation.patterns
}

/** The registry, in its order of reading, and what the suite `tiles` measured of each. */
function patternTable(tiles: Suite | null): string {
  const measured = new Map(tiles?.rows.map((row) => [row.case, row]))
  const lines = PATTERNS.map(({ pattern, file }) => {
    const more = measured.get(pattern.name)?.more
    const how = more?.['how'] as keyof typeof HOW | undefined
    return [
      `[${pattern.name}](${file})`,
      [...paramsOf(pattern), ...inputsOf(pattern)].join(', '),
      pattern.cite,
      how ? HOW[how] : '',
      more ? `${String(more['density'])}${more['of'] === 'all' ? ' of all' : ''}` : '',
      more ? `${String(more['mean'])} (${String(more['worst'])})` : '',
    ]
  })
  const head = [
    'pattern',
    'params (defaults) and tables',
    'from',
    'tiles found by',
    'density',
    'visited / needed',
  ]
  return [table(head, lines), source(tiles, 'tiles', '')].join('\n\n')
}

/** The patterns with a `forward`, in their order of reading. */
function selectionTable(): string {
  const lines = SELECTIONS.map(({ pattern, file }) => [
    `[${pattern.name}](${file})`,
    Object.entries(pattern.consts)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
    [...paramsOf(pattern), ...inputsOf(pattern)].join(', '),
    pattern.cite,
  ])
  return table(['pattern', 'consts', 'params (defaults), tables and rows', 'from'], lines)
}

const paramsOf = ({ params }: Pattern): string[] =>
  Object.entries(params).map(([name, spec]) => `${name} ${spec.default}${spec.perHead ? ' per head' : ''}`)
const inputsOf = ({ tables }: Pattern): string[] =>
  Object.entries(tables).map(([name, spec]) => `${isRowsSpec(spec) ? 'rows' : 'table'} ${name}`)

const place = (suite: Suite): string => {
  const versions = Object.entries(suite.versions).map(([name, version]) => `${name} ${version}`)
  return [suite.device, ...(suite.driver === 'none' ? [] : [suite.driver]), ...versions].join(', ')
}

const source = (
  suite: Suite | null,
  name: string,
  root: string,
  command = `npm run bench -- ${name}`,
): string =>
  suite
    ? `${suite.date}, ${place(suite)}; [bench/results/${name}.json](${root}bench/results/${name}.json).`
    : `Not measured yet: \`${command}\`.`

/** Relative to docs/, where it lies. */
const picturesOf = (picture: string | undefined, title: string): string[] =>
  picture !== undefined && existsSync(`${ROOT}docs/${picture}`) ? [`![${title}](${picture})`] : []

/** Only the columns that some row fills. */
export function suiteTable(rows: readonly Row[]): string {
  const more = [...new Set(rows.flatMap((row) => Object.keys(row.more ?? {})))]
  const columns: readonly (readonly [string, (row: Row) => string | undefined])[] = [
    ['case', (row) => row.case],
    ['target', (row) => row.target],
    ['ms', (row) => short(row.ours.ms)],
    ['TFLOP/s', (row) => number(row.ours.tflops)],
    ['MB', (row) => number(row.ours.mb)],
    ['peer', (row) => row.peer && peerOf(row.peer)],
    ['peer / ours', (row) => number(row.ratio)],
    ['tiles needed', (row) => row.tiles && short(row.tiles.needed)],
    ['visited', (row) => row.tiles && short(row.tiles.visited)],
    ...more.map((name) => [name, (row: Row) => cell(row.more?.[name])] as const),
    ['limit', (row) => row.limit && `${row.limit}${row.ok === false ? ': missed' : ''}`],
    ['note', (row) => row.note],
  ]
  const used = columns.filter(([, of]) => rows.some((row) => of(row)))
  return table(
    used.map(([name]) => name),
    rows.map((row) => used.map(([, of]) => of(row) ?? '')),
  )
}

const peerOf = ({ name, ms, tflops }: NonNullable<Row['peer']>): string =>
  `${name} ${short(ms)} ms${tflops === undefined ? '' : `, ${short(tflops)} TFLOP/s`}`

const number = (n: number | undefined): string | undefined => (n === undefined ? undefined : short(n))
const cell = (value: number | string | undefined): string | undefined =>
  typeof value === 'number' ? short(value) : value

function headlines(): string {
  return SUITES.map(({ suite: name, title, headline, command }) => {
    const suite = readSuite(RESULTS, name)
    return [
      `**${title}.**`,
      ...(suite ? [suiteTable(headline(suite.rows))] : []),
      source(suite, name, '', command),
    ].join('\n\n')
  }).join('\n\n')
}

function measurements(): string {
  const shown: readonly Omit<Shown, 'headline'>[] = [
    { suite: 'tiles', title: 'Tiles found, against brute force over random lengths and params' },
    ...SUITES,
  ]
  return shown
    .map(({ suite: name, title, command, picture }) => {
      const suite = readSuite(RESULTS, name)
      return [
        `## ${name}`,
        `${title}.`,
        ...(suite ? picturesOf(picture, title) : []),
        ...(suite ? [suiteTable(suite.rows)] : []),
        source(suite, name, '../', command),
      ].join('\n\n')
    })
    .join('\n\n')
}

/** Each section between its markers made again. */
function withSections(text: string, sections: Readonly<Record<string, string>>): string {
  return Object.entries(sections).reduce((whole, [name, body]) => {
    const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const [from, to] = [whole.indexOf(open), whole.indexOf(close)]
    if (from < 0 || to < from) throw new Error(`the document lacks the markers ${open} and ${close}`)
    return `${whole.slice(0, from + open.length)}\n${body}\n${whole.slice(to)}`
  }, text)
}

/** The README's text with its sections made again. */
export const withTables = (readme: string): string =>
  withSections(readme, {
    picture: picture(readme),
    patterns: patternTable(readSuite(RESULTS, 'tiles')),
    selections: selectionTable(),
    bench: headlines(),
  })

export const withMeasurements = (text: string): string => withSections(text, { measurements: measurements() })

export const withEvaluations = (text: string): string =>
  withSections(text, { evaluations: evaluationText(evaluationsIn(RESULTS), table) })

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(README, withTables(readFileSync(README, 'utf8')))
  writeFileSync(MEASUREMENTS, withMeasurements(readFileSync(MEASUREMENTS, 'utf8')))
  writeFileSync(EVALUATING, withEvaluations(readFileSync(EVALUATING, 'utf8')))
  await drawEvaluations(evaluationsIn(RESULTS), `${ROOT}docs`)
}
