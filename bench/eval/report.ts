/** What an evaluation found in; its JSON's shape, and the table that a terminal shows, out. */

import { shareOf, type Count } from './scores.ts'
import type { EvalRow } from './evaluate.ts'
import type { Refusal } from './subject.ts'

export interface EvalReport {
  readonly suite: string
  readonly command: string
  readonly date: string
  readonly device: string
  readonly driver: string
  readonly versions: Readonly<Record<string, string>>
  readonly model: {
    readonly name: string
    readonly layers: number
    readonly qHeads: number
    readonly kvHeads: number
    readonly headDim: number
    readonly positions: number
  }
  /** Tokens of a prompt that go through the layers together. */
  readonly chunk: number
  readonly seed: number
  readonly rows: readonly EvalRow[]
  /** What was asked for and cannot be judged. */
  readonly refused: readonly Refusal[]
}

/** What a table shows of a row: a head and a cell. */
export const COLUMNS: readonly (readonly [head: string, cell: (row: EvalRow) => string])[] = [
  ['pattern', (r) => r.pattern],
  ['length', (r) => String(r.length)],
  ['accuracy', (r) => share(r.accuracy)],
  ['near', (r) => counted(r.near)],
  ['far', (r) => counted(r.far)],
  ['perplexity', (r) => (r.perplexity === null ? '' : r.perplexity.toPrecision(4))],
  ['KL', (r) => (r.kl < 0.0005 ? '0' : r.kl.toPrecision(2))],
  ['density', (r) => share(r.density)],
  ['tiles', (r) => share(r.tiles)],
  ['recall', (r) => share(r.recall)],
  ['prefill ms', (r) => milliseconds(r.times.prefill.kernels ?? r.times.prefill.ms)],
  ['attention ms', (r) => milliseconds(r.times.prefill.attention)],
  ['decode ms', ({ times: { decode } }) => (decode ? milliseconds(decode.kernels ?? decode.ms) : '')],
  ['', (r) => r.verdict],
]

const share = (x: number | null): string => (x === null ? '' : x.toFixed(3))
const milliseconds = (x: number | null): string =>
  x === null ? '' : x >= 100 ? x.toFixed(0) : x.toPrecision(3)
const counted = (count: Count): string => {
  const part = shareOf(count)
  return part === null ? '' : `${part.toFixed(2)} of ${count.answers}`
}

/** Only the columns that some row fills; each as wide as its longest cell. */
export function reportText({ rows, refused, chunk, device }: EvalReport): string {
  const used = COLUMNS.filter(([, cell]) => rows.some((row) => cell(row) !== ''))
  const lines = [used.map(([head]) => head), ...rows.map((row) => used.map(([, cell]) => cell(row)))]
  const widths = used.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  // Words stand to the left, numbers to the right.
  const isWord = (i: number) => i === 0 || i === used.length - 1
  const table = lines.map((line) =>
    line
      .map((text, i) => (isWord(i) ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
  return [
    ...table,
    '',
    ...refused.map(({ name, reason }) => `${name}: not judged, since it ${reason}`),
    ...(refused.length > 0 ? [''] : []),
    ...notesOf(rows, chunk, device),
    '',
  ].join('\n')
}

function notesOf(rows: readonly EvalRow[], chunk: number, device: string): string[] {
  const sampled = rows.filter((r) => r.counted !== null && r.counted !== 'kernels')
  const uncounted = rows.filter((r) => r.counted === null)
  const onDevice = rows.every((r) => r.times.prefill.kernels !== null)
  return [
    `Steps of ${chunk} tokens on ${device}. Times are ${onDevice ? "sums of kernels on the device's clock" : "the host's, of whole calls"}.`,
    'Density, tiles of 64 x 64 and recall are of one text, all layers, heads and rows.',
    ...sampled.map((r) => `Density and tiles of ${r.pattern} at ${r.length}: ${r.counted}.`),
    ...uncounted.map(
      (r) =>
        `Density and tiles of ${r.pattern} at ${r.length} were not counted: too much for the oracle, or unknown to it.`,
    ),
  ]
}
