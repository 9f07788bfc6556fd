/** Results of evaluations in; the generated section of docs/evaluating.md, and the pictures that it shows, out. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { SELECTIONS } from '../patterns/index.ts'
import { pictureOf } from './eval/picture.ts'
import { COLUMNS, type EvalReport } from './eval/report.ts'

export interface Found {
  /** `eval-gpu`: the file's name, and the picture's. */
  readonly name: string
  readonly report: EvalReport
}

export const evaluationsIn = (folder: string): Found[] =>
  readdirSync(folder)
    .filter((file) => /^eval-.*\.json$/.test(file))
    .toSorted(new Intl.Collator('en', { numeric: true }).compare)
    .map((file) => ({
      name: basename(file, '.json'),
      report: JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')) as EvalReport,
    }))

type TableOf = (head: readonly string[], lines: readonly (readonly string[])[]) => string

/** A part for each length of each evaluation, and what none of them judged; or that there is none yet. */
export function evaluationText(found: readonly Found[], table: TableOf): string {
  if (found.length === 0)
    return 'Not measured yet: `node out/bench/bench.mjs bench/results eval --model models/needle/model` on a GPU.'
  const refused = new Map(found.flatMap(({ report }) => report.refused.map((r) => [r.name, r.reason])))
  const parts = found.map((one) => partOf(one, table))
  return [...parts, ...(refused.size === 0 ? [] : [table(['not judged', 'since it'], [...refused])])].join(
    '\n\n',
  )
}

function partOf({ name, report }: Found, table: TableOf): string {
  const { rows, model, device, date, chunk } = report
  const lengths = [...new Set(rows.map((row) => row.length))].toSorted((a, b) => a - b)
  const shape = `${model.layers} layers of ${model.qHeads}/${model.kvHeads} heads of ${model.headDim}`
  return [
    `![Answers that are right against kept pairs](${name}.svg)`,
    ...lengths.flatMap((length) => {
      const own = rows.filter((row) => row.length === length)
      const used = COLUMNS.filter(([head, cell]) => head !== 'length' && own.some((row) => cell(row) !== ''))
      const head = used.map(([title]) => (title === '' ? 'verdict' : title))
      const lines = own.map((row) => [
        ...used.map(([, cell]) => cell(row)),
        `${row.about}${row.counted?.startsWith('oracle') ? '; density by the oracle, of samples' : ''}`,
      ])
      return [`### At ${length} tokens`, table([...head, 'setting'], lines)]
    }),
    `${date}, ${device}, ${shape}, steps of ${chunk} tokens; \`${report.command}\`; [bench/results/${name}.json](../bench/results/${name}.json).`,
  ].join('\n\n')
}

export async function drawEvaluations(found: readonly Found[], folder: string): Promise<void> {
  const selecting = new Set(SELECTIONS.map((s) => s.pattern.name))
  for (const { name, report } of found)
    writeFileSync(`${folder}/${name}.svg`, await pictureOf(report.rows, selecting))
}
