/** The entry of the bundle for a machine that has a GPU and Node but no packages: prepared kernels beside it in, results out. */

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { Prepared } from './cases.ts'
import { DEVICE_SUITES, runOnDevice } from './device.ts'
import { writeSuite } from './results.ts'

interface Carried {
  readonly prepared: Prepared
  readonly versions: Readonly<Record<string, string>>
}

const words = process.argv.slice(2).filter((word) => word !== '--unsafe')
const unsafe = words.length < process.argv.length - 2
const [folder, ...names] = words
if (folder === undefined || names.some((name) => !(name in DEVICE_SUITES))) {
  console.error(`node bench.mjs <folder for results> [${Object.keys(DEVICE_SUITES).join('] [')}] [--unsafe]`)
  process.exit(2)
}
const { prepared, versions } = JSON.parse(
  gunzipSync(readFileSync(new URL('prepared.json.gz', import.meta.url))).toString(),
) as Carried
await runOnDevice(names.length > 0 ? names : ['check-gpu', 'gpu'], unsafe, prepared, versions, (suite) => {
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
})
