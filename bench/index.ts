/** Names of suites in, their results in bench/results/ out: `npm run bench -- compile tiles skipping`. */

import { fileURLToPath } from 'node:url'
import { SKIPPING } from './cases.ts'
import { compileSuite } from './compile.ts'
import { DEVICE_SUITES, runOnDevice } from './device.ts'
import { prepare } from './kernels.ts'
import { prepareSelections } from './selection-units.ts'
import { suiteOf, thisMachine, writeSuite, type Row, type Suite } from './results.ts'
import { tilesSuite } from './tiles.ts'
import { versionsHere } from './versions.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const HOST_SUITES: Readonly<Record<string, () => Row[]>> = { compile: compileSuite, tiles: tilesSuite }

function report(folder: string, suite: Suite): void {
  const missed = suite.rows.filter((row) => row.ok === false)
  console.log(`${writeSuite(folder, suite)}: ${suite.rows.length} rows, ${missed.length} beyond their limit`)
  for (const row of missed) console.log(`  ${row.case}: ${row.ours.ms.toFixed(1)} ms, limit ${row.limit}`)
}

async function main(names: readonly string[]): Promise<void> {
  const known = [...Object.keys(HOST_SUITES), ...Object.keys(DEVICE_SUITES)]
  const wrong = names.filter((name) => !known.includes(name))
  if (names.length === 0 || wrong.length > 0) {
    console.error(`npm run bench -- <suite ..>: ${known.join(', ')}`)
    process.exitCode = 2
    return
  }
  const folder = `${ROOT}bench/results`
  const versions = versionsHere()
  for (const name of names.filter((n) => n in HOST_SUITES)) {
    report(folder, suiteOf(name, thisMachine(), versions, HOST_SUITES[name]!()))
  }
  const onDevice = names.filter((n) => n in DEVICE_SUITES)
  if (onDevice.length === 0) return
  const prepared = prepare(
    onDevice.every((n) => n === 'skipping') ? SKIPPING.map((c) => c.pattern) : undefined,
  )
  const { units, timed } = prepareSelections(onDevice.some((n) => n.endsWith('selections')) ? undefined : [])
  await runOnDevice(
    onDevice,
    process.argv.includes('--unsafe'),
    { prepared, selections: { units: units.wgsl, timed: timed.wgsl } },
    versions,
    (suite) => report(folder, suite),
  )
}

await main(process.argv.slice(2).filter((word) => word !== '--unsafe'))
