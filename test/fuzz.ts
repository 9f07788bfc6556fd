/** `npm run fuzz -- --runs N --seed S`: random programs and random calls of the library, as many as asked, on the adapter found. */

import { parseArgs } from 'node:util'
import { PATTERNS } from '../patterns/index.ts'
import { openDevice } from '../runtime/device-node.ts'
import { examinePattern } from '../runtime/testing/index.ts'
import { checkProgram } from './program-check.ts'

const USAGE = `npm run fuzz -- [--runs N] [--seed S]

  --runs N   random calls of compiled kernels (default 2000)
  --seed S   where to start (default: another place each time); a run that failed or ended early goes on from
             the seed that it printed`

/** One seed is one random program, or one stretch of calls of a library pattern. */
const CALLS = { program: 4, library: 12 } as const

interface Step {
  readonly what: string
  readonly calls: number
  readonly failure: string | null
}

async function step(device: GPUDevice, seed: number, most: number): Promise<Step> {
  if (seed % 3 !== 0) {
    const calls = Math.min(CALLS.program, most)
    const { failure } = await checkProgram(device, seed, calls)
    return { what: 'a random program', calls, failure }
  }
  const { pattern } = PATTERNS[Math.floor(seed / 3) % PATTERNS.length]!
  const runs = Math.min(CALLS.library, most)
  const { counterExample } = await examinePattern(pattern, {
    runs,
    seed: seed * CALLS.library,
    adapter: { device },
  })
  return {
    what: pattern.name,
    calls: runs,
    failure: counterExample ? `${pattern.name}: ${counterExample.text}` : null,
  }
}

function wholeNumber(text: string | undefined, least: number): number | null {
  const n = Number(text)
  return text !== undefined && /^\d+$/.test(text) && Number.isSafeInteger(n) && n >= least ? n : null
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { runs: { type: 'string' }, seed: { type: 'string' }, help: { type: 'boolean' } },
  })
  const runs = wholeNumber(values.runs ?? '2000', 1)
  const first = wholeNumber(values.seed ?? String(Math.floor(Math.random() * 2 ** 31)), 0)
  if (values.help || runs === null || first === null) {
    process.stdout.write(`${USAGE}\n`)
    return values.help ? 0 : 2
  }
  const opened = await openDevice()
  process.stdout.write(`${runs} runs from seed ${first} on ${opened.name}\n`)
  let done = 0
  let failures = 0
  let seed = first
  let said = Date.now()
  for (; done < runs; seed++) {
    const { what, calls, failure } = await step(opened.device, seed, runs - done)
    done += calls
    if (failure !== null) {
      failures++
      process.stdout.write(`\nseed ${seed}, ${what}:\n${failure}\n\n`)
    }
    if (Date.now() - said > 5000) {
      said = Date.now()
      process.stdout.write(`${done} of ${runs} runs, ${failures} failures; the next seed is ${seed + 1}\n`)
    }
  }
  opened.close()
  process.stdout.write(`${done} runs, ${failures} failures; go on with --seed ${seed}\n`)
  return failures > 0 ? 1 : 0
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 3
}
