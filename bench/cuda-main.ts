/** The entry of the bundle for a machine with an NVIDIA GPU, Node and koffi: kernels beside it in, results of suites out. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { brotliDecompressSync } from 'node:zlib'
import { openCuda, type CudaDriver } from '../runtime/cuda.ts'
import { checkCuda, DEFAULT_PLAN, rowsOf, serve, serveUnits } from './check-cuda.ts'
import type { UnitReport } from './check-cuda-cases.ts'
import type { Unit } from './check-cuda-units.ts'
import { checkCudaSelection, selectionRows } from './check-selections.ts'
import { suiteOf, writeSuite, type Row, type Suite } from './results.ts'
import type { PreparedSelections } from './selection-cases.ts'
import { SELECTION_TIMES, timeSelections } from './time-selections.ts'

interface Carried {
  readonly units: readonly Unit[]
  readonly selections: {
    readonly units: PreparedSelections['units']['cuda']
    readonly timed: PreparedSelections['timed']['cuda']
  }
  readonly versions: Readonly<Record<string, string>>
}

const SUITES = ['check-cuda', 'check-cuda-selections', 'selections'] as const
type SuiteName = (typeof SUITES)[number]

const USAGE = `node cuda.mjs <folder for results> [${SUITES.join('] [')}] [--only <word in pattern or variant>]
  [--minutes <n>] [--cases <n>] [--sets <n>] [--workers <n>] [--emulated] [--plain]`

const words = process.argv.slice(2)
const flag = (name: string): boolean => words.includes(name)
const value = (name: string): string | undefined => (flag(name) ? words[words.indexOf(name) + 1] : undefined)
const refuse = (): never => {
  console.error(USAGE)
  return process.exit(2)
}
const count = (name: string, otherwise: number): number => {
  const given = value(name)
  const n = given === undefined ? otherwise : Number(given)
  return Number.isInteger(n) && n >= 0 ? n : refuse()
}
const minutesOf = (): number => {
  const given = value('--minutes')
  const n = given === undefined ? Infinity : Number(given)
  return n > 0 ? n : refuse()
}

const isSuite = (word: string): word is SuiteName => SUITES.some((name) => name === word)
const [folder = refuse(), ...rest] = words
if (folder.startsWith('--')) refuse()
const named = rest.slice(
  0,
  [...rest, '--'].findIndex((word) => word.startsWith('--')),
)
if (!named.every(isSuite)) refuse()
const suites: readonly SuiteName[] = named.length > 0 ? named.filter(isSuite) : ['check-cuda']
const flags = rest.slice(named.length)

const file = new URL(process.env['HEDDLE_CHECK_CUDA'] ?? 'cuda.json.br', import.meta.url)
const carried = JSON.parse(brotliDecompressSync(readFileSync(file)).toString()) as Carried
const only = value('--only') ?? ''

async function open(): Promise<CudaDriver> {
  if (!flag('--emulated')) return openCuda()
  // By a name that a bundler does not follow: the emulation needs its own sources beside it.
  const path = new URL('../runtime/cuda/emulated.ts', import.meta.url).href
  const { openEmulation } = (await import(path)) as { openEmulation: (o: object) => Promise<CudaDriver> }
  return openEmulation({ multiprocessors: 4 })
}

const driver = await open()

/** Those that the device has instructions for. */
function runnable(): readonly Unit[] {
  const device = 10 * driver.capability.major + driver.capability.minor
  return carried.units.filter(({ pattern, artifact }) => {
    const { id, capability } = artifact.variants[0]!
    return `${pattern} ${id}`.includes(only) && capability.min <= device && device <= capability.max
  })
}

const selected = carried.selections.units.filter((u) => `${u.pattern} ${u.grain} ${u.dtype}`.includes(only))
const script = fileURLToPath(import.meta.url)

async function reportsOf<U extends { readonly extra: readonly unknown[] }>(
  suite: SuiteName,
  units: readonly U[],
  patience: number,
): Promise<(UnitReport | null)[]> {
  const plan = {
    cases: count('--cases', DEFAULT_PLAN.cases),
    sets: count('--sets', DEFAULT_PLAN.sets),
    workers: count('--workers', DEFAULT_PLAN.workers),
    patience,
    minutes: minutesOf(),
  }
  const began = performance.now()
  const told = (done: number, failures: readonly string[]): void => {
    for (const failure of failures) console.log(failure)
    if (done % 20 === 0 || done === units.length)
      console.log(`${done} of ${units.length} units, ${((performance.now() - began) / 1000).toFixed(0)} s`)
  }
  return checkCuda(units, script, [folder, suite, ...flags], plan, told)
}

/** Kernels of a program are a dozen texts to compile; the oracle runs each call several times. */
const PATIENCE = 400_000

async function rowsOfSuite(name: SuiteName): Promise<Row[]> {
  switch (name) {
    case 'check-cuda': {
      const units = runnable()
      return rowsOf(units, await reportsOf(name, units, DEFAULT_PLAN.patience))
    }
    case 'check-cuda-selections':
      return selectionRows('cuda', selected, await reportsOf(name, selected, PATIENCE), 0)
    case 'selections':
      return timeSelections(
        driver,
        carried.selections.timed,
        { ...SELECTION_TIMES, only, plain: flag('--plain'), minutes: minutesOf() },
        (text) => console.log(text),
        (rows) => write(name, rows),
      )
  }
}

function write(name: SuiteName, rows: readonly Row[]): string {
  const machine = { device: driver.name, driver: driver.versions['CUDA driver'] ?? 'emulation' }
  // Where the results go in the end, not where this machine has them.
  const command = `node cuda.mjs ${['bench/results', name, ...flags].join(' ')}`
  const suite: Suite = { ...suiteOf(name, machine, carried.versions, rows), command }
  return writeSuite(folder, suite)
}

if (flag('--worker')) {
  if (suites[0] === 'check-cuda') serveUnits(runnable(), driver)
  else serve(selected, (unit, counts) => checkCudaSelection(driver, unit, counts))
} else {
  let missed = 0
  for (const name of suites) {
    const rows = await rowsOfSuite(name)
    const failed = rows.filter((row) => row.ok === false)
    missed += failed.length
    const runs = rows.reduce((sum, row) => sum + Number(row.more?.['runs'] ?? 0), 0)
    console.log(`${write(name, rows)}: ${runs} runs, ${failed.length} of ${rows.length} rows failed`)
  }
  driver.release()
  process.exit(missed === 0 ? 0 : 1)
}
