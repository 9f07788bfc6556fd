/** The entry of the bundle for a machine that has a GPU and Node but no packages: prepared kernels beside it in, results out. */

import { readFileSync } from 'node:fs'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { DEVICE_SUITES, runOnDevice, WHOLE, type Carried } from './device.ts'
import { evalOnDevice } from './eval-gpu.ts'
import type { PreparedEval } from './eval-units.ts'
import { writeSuite, type Suite } from './results.ts'

const USAGE = `node bench.mjs <folder for results> [${Object.keys(DEVICE_SUITES).join('] [')}] [eval --model <folder> --lengths <list>] [--unsafe]
  [--only <word in a case>] [--minutes <n>]`
const EVAL = 'eval'

const words = process.argv.slice(2)
const value = (name: string): string | undefined =>
  words.includes(name) ? words[words.indexOf(name) + 1] : undefined
const unsafe = words.includes('--unsafe')
const [folder, ...rest] = words
const names = rest.slice(
  0,
  [...rest, '--'].findIndex((word) => word.startsWith('--')),
)
const minutes = Number(value('--minutes') ?? WHOLE.minutes)
if (
  folder === undefined ||
  folder.startsWith('--') ||
  names.some((name) => !(name in DEVICE_SUITES) && name !== EVAL) ||
  (names.includes(EVAL) && value('--model') === undefined) ||
  !(minutes > 0)
) {
  console.error(USAGE)
  process.exit(2)
}
const { versions, ...carried } = JSON.parse(
  gunzipSync(readFileSync(new URL('prepared.json.gz', import.meta.url))).toString(),
) as Carried & { readonly versions: Readonly<Record<string, string>> }
const report = (suite: Suite): void => {
  console.log(writeSuite(folder, suite))
  console.table(
    suite.rows.map((row) => ({
      case: row.case,
      target: row.target,
      ...row.ours,
      ...row.more,
      ok: row.ok,
      note: row.note,
    })),
  )
}
const beside = (name: string): Buffer => readFileSync(new URL(name, import.meta.url))
const narrowed = { only: value('--only') ?? WHOLE.only, minutes }
const suites = names.filter((name) => name !== EVAL)
if (suites.length > 0 || names.length === 0)
  await runOnDevice(
    suites.length > 0 ? suites : ['check-gpu', 'gpu'],
    unsafe,
    carried,
    versions,
    report,
    narrowed,
  )
if (names.includes(EVAL)) {
  const prepared = JSON.parse(brotliDecompressSync(beside('eval.json.br')).toString()) as PreparedEval
  const lengths = value('--lengths')?.split(',').map(Number) ?? []
  await evalOnDevice(prepared, { ...narrowed, model: value('--model')!, folder, unsafe, lengths }, versions)
}
