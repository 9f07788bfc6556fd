import { describe, expect, it } from 'vitest'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { emitCuda } from '../../codegen/cuda/emit.ts'
import type { Shape } from '../../codegen/cuda/skeleton.ts'
import { causal } from '../../patterns/index.ts'
import { fastest, LEAST_GAIN, shapesFor } from '../../runtime/cli/autotune.ts'
import { timeCudaKernel } from '../../runtime/cli/cuda-timer.ts'
import { run } from '../../runtime/cli/run.ts'
import { loadCudaKernel, parseCudaArtifact, type CudaDriver } from '../../runtime/cuda.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { compilePattern } from '../../runtime/testing/subject.ts'
import { FakeDriver } from '../cuda/handmade.ts'
import { BAND, NEAR } from './fixtures.ts'
import { temporaryFolder, testIo } from './helpers.ts'

/** A GPU without memory, whose kernels take as long as a test says of their text. */
class TimedDriver extends FakeDriver {
  readonly #msOf: (code: string) => number
  held = 0
  #next = 0x1000n

  constructor(msOf: (code: string) => number, powers: ConstructorParameters<typeof FakeDriver>[0] = {}) {
    super(powers)
    this.#msOf = msOf
  }
  override alloc(bytes: number): bigint {
    const address = this.#next
    this.#next += BigInt(Math.ceil(bytes / 256) * 256)
    this.held++
    return address
  }
  override free(): void {
    this.held--
  }
  override copyIn(): void {}
  override memset(): void {}
  override elapsed(): number {
    const ms = this.#msOf(this.sources.at(-1)!.code)
    if (Number.isNaN(ms))
      throw new HeddleError('cuda-error', {
        step: 'launch',
        name: 'CUDA_ERROR',
        detail: 'too large',
        call: '',
      })
    return ms
  }
}

const compiled = compilePattern(causal)
const WISH = { headDims: [64], dtypes: ['bf16'], skeletons: ['ampere'] } as const
/** The shapes of the one variant. */
const shapes: readonly Shape[] = (() => {
  let found: readonly Shape[] = []
  emitCuda(compiled, { ...WISH, shapes: (_spec, _request, all) => (found = all)[0]! })
  return found
})()
const textOf = (shape: Shape) => emitCuda(compiled, { ...WISH, shapes: () => shape }).variants[0]!.code
/** Milliseconds of each shape, in the table's order. */
const driverOf = (times: readonly number[], powers = {}) => {
  const texts = shapes.map(textOf)
  return new TimedDriver((code) => times[texts.indexOf(code)] ?? 9, powers)
}

describe('the choice among shapes', () => {
  it('takes the fastest, and the earlier one of those that are about alike', () => {
    expect(fastest([2, 1, 3])).toBe(1)
    expect(fastest([1, 1 - LEAST_GAIN / 2])).toBe(0)
    expect(fastest([1, 1 - 2 * LEAST_GAIN])).toBe(1)
    expect(fastest([1, 0.99, 0.97])).toBe(2)
  })
  it('passes over what does not run', () => {
    expect(fastest([Infinity, 5, 4])).toBe(2)
    expect(fastest([Infinity, Infinity])).toBe(null)
    expect(fastest([])).toBe(null)
  })
})

describe('autotuning', () => {
  const tune = async (driver: CudaDriver) => {
    const io = testIo('/')
    const choose = await shapesFor(driver, io, compiled, WISH)
    const { variants } = emitCuda(compiled, { ...WISH, shapes: choose })
    return { code: variants[0]!.code, err: io.text.err }
  }

  it('has alternatives to try', () => expect(shapes.length).toBeGreaterThan(2))

  it('leads emitCuda to the fastest shape, and says what was tried', async () => {
    const driver = driverOf(shapes.map((_, i) => (i === 2 ? 1 : 2)))
    const { code, err } = await tune(driver)
    expect(code).toBe(textOf(shapes[2]!))
    const { q, kv } = shapes[2]!.tile
    expect(err).toMatch(
      new RegExp(
        `^note: causal d64-bf16-ampere: took ${q} x ${kv} by \\d+ threads in \\d+ KiB; .*: 2\\.000 ms; `,
      ),
    )
    expect(err.match(/ ms/g)).toHaveLength(shapes.length)
    // Each alternative was loaded once and given back; what calls share stays with the driver.
    expect([driver.sources.length, driver.released]).toEqual([shapes.length, shapes.length])
  })

  it('passes over a shape that the GPU refuses, and keeps the first if all are refused', async () => {
    const { code, err } = await tune(driverOf(shapes.map((_, i) => (i === 0 ? NaN : 3 + i))))
    expect(code).toBe(textOf(shapes[1]!))
    expect(err).toContain('KiB: does not run;')
    const none = await tune(driverOf(shapes.map(() => NaN)))
    expect([none.code, none.err]).toEqual([textOf(shapes[0]!), ''])
  })

  it('leaves kernels for other GPUs as they are', async () => {
    const old = driverOf(
      shapes.map((_, i) => 9 - i),
      { capability: { major: 7, minor: 5 } },
    )
    expect((await tune(old)).code).toBe(textOf(shapes[0]!))
    expect(old.sources).toEqual([])
  })
})

it('a timed kernel runs the number of times that was asked for, and gives its memory back', async () => {
  let launches = 0
  const driver = new TimedDriver(() => ++launches)
  const kernel = loadCudaKernel(emitCuda(compiled, WISH), driver)
  const call = {
    batch: 1,
    qHeads: 2,
    kvHeads: 1,
    qLen: 128,
    kvLen: 256,
    headDim: 64,
    valueDim: 64,
    dtype: 'bf16',
    params: {},
    tables: {},
  } as const
  const timing = await timeCudaKernel(kernel, call, { runs: 5, budgetMs: 1000 })
  // Three to warm up; of the fourth to the eighth the median.
  expect(timing).toEqual({ ms: 6, runs: 5, variant: 'd64-bf16-ampere' })
  const before = driver.held
  await timeCudaKernel(kernel, call, { runs: 1, budgetMs: 1000 })
  expect(driver.held).toBe(before)
})

describe('heddle build --autotune', () => {
  const FILES = { 'band.ts': BAND, 'near.ts': NEAR }
  const words = 'build band.ts --target cuda --out out --skeleton ampere --autotune'.split(' ')

  it('ends with 3 where there is no GPU', async () => {
    const io = testIo(temporaryFolder(FILES))
    expect(await run(words, io)).toBe(3)
    expect(io.text.err).toBe(
      'error[no-gpu]: --autotune needs a CUDA GPU: there is no CUDA device: none here\n',
    )
  })

  it('writes the winner into the manifest and the text', async () => {
    const cwd = temporaryFolder(FILES)
    const wanted = shapes[1]!.tile
    const driver = new TimedDriver((code) => (code.includes(`TILE_KV = ${wanted.kv};`) ? 1 : 2))
    const io = testIo(cwd, { openCuda: async () => driver })
    expect(await run(words, io)).toBe(0)
    expect(io.text.err).toContain(`note: band d64-bf16-ampere: took ${wanted.q} x ${wanted.kv} by `)
    const { variants } = parseCudaArtifact(fs.readFileSync(path.join(cwd, 'out/band.cuda.json'), 'utf8'))
    expect(variants[0]!.tile).toEqual(wanted)
    // The same GPU has nothing to measure again.
    const [sources, again] = [driver.sources.length, testIo(cwd, { openCuda: async () => driver })]
    await run(words, again)
    expect([again.text.out, driver.sources.length]).toEqual(['band.ts: nothing has changed\n', sources])
  })
})
