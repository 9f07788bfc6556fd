/** The entry of the bundle for a machine with an NVIDIA GPU, Node and koffi: cases beside it in, `check-cuda.json` out. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { brotliDecompressSync } from 'node:zlib'
import { openCuda, type CudaDriver } from '../runtime/cuda.ts'
import { checkCuda, DEFAULT_PLAN, rowsOf, serveUnits } from './check-cuda.ts'
import type { Unit } from './check-cuda-units.ts'
import { suiteOf, writeSuite } from './results.ts'

interface Carried {
  readonly units: readonly Unit[]
  readonly versions: Readonly<Record<string, string>>
}

const USAGE = `node cuda.mjs <folder for results> [--only <word in pattern or variant>] [--cases <n>] [--sets <n>] [--workers <n>] [--emulated]`

const words = process.argv.slice(2)
const flag = (name: string): boolean => words.includes(name)
const value = (name: string): string | undefined => (flag(name) ? words[words.indexOf(name) + 1] : undefined)
const count = (name: string, otherwise: number): number => {
  const given = value(name)
  const n = given === undefined ? otherwise : Number(given)
  if (Number.isInteger(n) && n >= 0) return n
  console.error(USAGE)
  return process.exit(2)
}

const [folder] = words
if (folder === undefined || folder.startsWith('--')) {
  console.error(USAGE)
  process.exit(2)
}

const file = new URL(process.env['HEDDLE_CHECK_CUDA'] ?? 'cuda.json.br', import.meta.url)
const carried = JSON.parse(brotliDecompressSync(readFileSync(file)).toString()) as Carried
const only = value('--only') ?? ''
const units = carried.units.filter(({ pattern, artifact }) =>
  `${pattern} ${artifact.variants[0]!.id}`.includes(only),
)

async function open(): Promise<CudaDriver> {
  if (!flag('--emulated')) return openCuda()
  // By a name that a bundler does not follow: the emulation needs its own sources beside it.
  const path = new URL('../runtime/cuda/emulated.ts', import.meta.url).href
  const { openEmulation } = (await import(path)) as { openEmulation: (o: object) => Promise<CudaDriver> }
  return openEmulation({ multiprocessors: 4 })
}

/** Those that the device has instructions for. */
function runnable({ capability }: CudaDriver): readonly Unit[] {
  const device = 10 * capability.major + capability.minor
  return units.filter(({ artifact }) => {
    const { min, max } = artifact.variants[0]!.capability
    return min <= device && device <= max
  })
}

const driver = await open()
if (flag('--worker')) serveUnits(runnable(driver), driver)
else {
  const plan = {
    ...DEFAULT_PLAN,
    cases: count('--cases', DEFAULT_PLAN.cases),
    sets: count('--sets', DEFAULT_PLAN.sets),
    workers: count('--workers', DEFAULT_PLAN.workers),
  }
  const chosen = runnable(driver)
  const began = performance.now()
  const told = (done: number, failures: readonly string[]): void => {
    for (const failure of failures) console.log(failure)
    if (done % 20 === 0 || done === chosen.length)
      console.log(`${done} of ${chosen.length} units, ${((performance.now() - began) / 1000).toFixed(0)} s`)
  }
  const reports = await checkCuda(chosen, fileURLToPath(import.meta.url), words, plan, told)
  const rows = rowsOf(chosen, reports)
  const machine = { device: driver.name, driver: driver.versions['CUDA driver'] ?? 'emulation' }
  const suite = {
    ...suiteOf('check-cuda', machine, carried.versions, rows),
    command: `node cuda.mjs ${words.join(' ')}`,
  }
  const failed = rows.filter((row) => row.ok === false)
  const runs = reports.reduce((sum, r) => sum + r.cases, 0)
  console.log(`${writeSuite(folder, suite)}: ${runs} runs, ${failed.length} of ${rows.length} rows failed`)
  driver.release()
  process.exit(failed.length === 0 ? 0 : 1)
}
