/**
 * `heddle start`: the library in; each pattern compiled, run on the adapter found, checked, timed, and the needle model asked under
 * three of them; tables and a page out.
 */

import * as path from 'node:path'
import { PATTERNS, SELECTIONS } from '../../patterns/index.ts'
import { ADAPTER_FLAG, openAdapter, type Opened } from './adapter.ts'
import { wordList, type Options } from './args.ts'
import { command } from './command.ts'
import { shown, writeFiles } from './files.ts'
import { progressOn, type Io } from './io.ts'
import { EXIT, type Exit } from './messages.ts'
import { HEADS, reportPage, type ReportRow } from './report.ts'
import { ATTENTIONS, needleAnswers, needleExample, type Answers } from './start-model.ts'
import { Bench, cellsOf, jsonOf, line } from './start-patterns.ts'
import { heddleVersion } from './version.ts'

const FLAGS = {
  pattern: {
    type: 'string',
    description: 'Only these patterns of the library (default: all)',
    valueHint: 'list',
  },
  out: { type: 'string', default: 'heddle-report', description: 'The folder for the page', valueHint: 'dir' },
  ...ADAPTER_FLAG,
  json: { type: 'boolean', description: 'The tables as JSON' },
} as const

export const start = command({
  name: 'start',
  description: 'Compile, run and check every pattern of the library',
  args: FLAGS,
  about: `Compiles each pattern of the library to WGSL, runs it on the adapter found (a GPU if there is one, else a software
adapter), compares it with dense attention in f64 and with the dense kernel's time, prints a table and writes a page
with the pictures of what they keep. Patterns that look at the data have small consts here, so that a short text is many
blocks. Then, unless patterns are named, a small language model answers questions about a text under dense attention, a
window, and a choice by the data. Runs the library's own code only. The exit code is 1 if a pattern fails its check or
the model, with dense attention, an answer.

--json prints { patterns: [{ pattern, density, bidirectional, tiles: { how, empty, partial, full }, codeBytes, compileMs,
errorRatio, passed, ms, denseMs }], needle: [{ pattern, params, right, asked, prompt: { tokens, ms } }] | null }.`,
  examples: ['heddle start', 'heddle start --out /tmp/report --json', 'npm start'],
  run: runLibrary,
})

const LIBRARY = [...PATTERNS, ...SELECTIONS]
const NAMES = LIBRARY.map((e) => e.pattern.name)

async function runLibrary(options: Options<typeof FLAGS>, io: Io): Promise<Exit> {
  const names = wordList('pattern', options.pattern, NAMES, NAMES)
  const entries = LIBRARY.filter((e) => names.includes(e.pattern.name))
  const progress = progressOn(io)
  progress.show('opening an adapter')
  const opened = await openAdapter(io, options)
  const rows: ReportRow[] = []
  const answers: Answers[] = []
  let exit: Exit = EXIT.fine
  try {
    progress.show('compiling the dense patterns')
    const bench = await Bench.open(opened)
    progress.clear()
    if (!options.json) io.out(`${entries.length} patterns on ${opened.name}\n\n${line(HEADS)}\n`)
    for (const [i, entry] of entries.entries()) {
      progress.show(`${i + 1} of ${entries.length}: ${entry.pattern.name}`)
      const row = await bench.run(entry, io)
      progress.clear()
      if (typeof row === 'number') {
        exit = Math.max(exit, row) as Exit
        continue
      }
      if (!row.passed) exit = Math.max(exit, EXIT.failed) as Exit
      rows.push(row)
      if (!options.json) io.out(`${line(cellsOf(row))}\n`)
    }
    bench.release()
    if (!options.json) io.out(`\n${agreement(rows, entries.length)}\n`)
    if (options.pattern === undefined) {
      answers.push(...(await askModel(options, opened, io)))
      if (answers.some((a) => a.pattern === 'causal' && a.right < a.asked)) exit = EXIT.failed
    }
  } finally {
    progress.clear()
    opened.close()
  }
  const page = path.resolve(io.cwd, options.out, 'index.html')
  const head = {
    version: heddleVersion().number,
    device: opened.name,
    date: new Date().toISOString().slice(0, 10),
  }
  writeFiles(io, [{ path: page, bytes: reportPage(head, rows) }])
  if (options.json) {
    const needle = answers.length > 0 ? answers : null
    io.out(`${JSON.stringify({ patterns: rows.map(jsonOf), needle }, null, 2)}\n`)
  } else io.out(`\nthe pictures are in ${shown(io, page)}\n`)
  return exit
}

const STARRED =
  '\n* some query attends later keys: density is kept pairs / all pairs, and dense is the full kernel'

function agreement(rows: readonly ReportRow[], entries: number): string {
  const failed = rows.filter((r) => !r.passed).map((r) => r.pattern)
  const missing = entries - rows.length
  return `${rows.length - failed.length} of ${entries} patterns agree with the oracle${failed.length > 0 ? `; not: ${failed.join(', ')}` : ''}${missing > 0 ? `; ${missing} did not compile` : ''}${rows.some((r) => r.bidirectional) ? STARRED : ''}`
}

/** The needle model's answers, each line as it is known. */
async function askModel({ json }: Options<typeof FLAGS>, { device }: Opened, io: Io): Promise<Answers[]> {
  const example = needleExample()
  const say = (text: string) => json || io.out(text)
  if (example === null) {
    say('\nthe needle model is not in this package: its questions are left out\n')
    return []
  }
  const tokens = example.text.split(' ').length
  say(
    `\nthe needle model (5.7 M weights), ${example.questions.length} questions about a text of ${tokens} tokens\n`,
  )
  const progress = progressOn(io)
  progress.show('loading the model')
  const found: Answers[] = []
  for await (const each of needleAnswers(device, example)) {
    progress.clear()
    found.push(each)
    const params = Object.entries(each.params).map(([name, value]) => ` ${name} ${String(value)}`)
    const rate = (1000 * each.prompt.tokens) / each.prompt.ms
    say(
      `${`${each.pattern}${params.join(',')}`.padEnd(40)}${each.right} of ${each.asked} right   prompt ${(each.prompt.ms / 1000).toFixed(1)} s (${rate.toFixed(0)} tokens/s)\n`,
    )
    progress.show(`asking: ${found.length} of ${ATTENTIONS.length} attentions`)
  }
  progress.clear()
  return found
}
