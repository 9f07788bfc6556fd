/** The emulated driver: each mistake that a kernel or a caller makes against its message. */

import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CudaModule } from '../../runtime/cuda/driver.ts'
import { openEmulation, type EmulatedDriver } from '../../runtime/cuda/emulated.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { openTestEmulation, run as runOn, sourceOf, type Emulation, type Run } from './emulation-kernels.ts'

let emulation: Emulation
let driver: EmulatedDriver
let module: CudaModule
beforeAll(async () => {
  emulation = await openTestEmulation()
  driver = emulation.driver
  module = emulation.bf16
})
afterAll(() => emulation?.release())

const run = (r: Omit<Run, 'driver' | 'module'>) => runOn({ driver, module, ...r })

describe('mistakes', () => {
  const AT = /\[block \(0, 0, 0\), thread \(\d+, 0, 0\)\]/
  test.each<[count: number, message: RegExp]>([
    [0, /lane 8 of warp 0 is at syncLanes in line \d+ alone: lanes 0-7 at ballotLanes in line \d+/],
    [1, /lane 5 of warp 1 returned without the others: lanes 0-4 at ballotLanes in line \d+/],
    [2, /lane 1 of warp 0 is at ballotLanes in line (\d+) alone: lane 0 at ballotLanes in line (?!\1)\d+/],
    [3, /lane 16 of warp 0 is at shuffle in line \d+ alone: lanes 0-15 at syncThreads/],
    [4, /loadMatrices in line \d+: shared address 1032 is no multiple of 16/],
    [5, /loadMatrices in line \d+: shared address 5120 lies outside the block's \[1024, 5120\)/],
    [6, /loadMatrices in line \d+: shared address 0 lies outside/],
    [7, /copyAsync16 in line \d+: shared address 5112 is no multiple of 16/],
    [8, /copyAsync16 in line \d+: global address 0x[0-9a-f]+ is no multiple of 16/],
    [9, /sharedAddress in line \d+: 0x[0-9a-f]+ does not lie in the block's 4096 bytes/],
    [10, /a write 0 bytes behind the block's 4096 bytes of shared memory/],
    [11, /in line \d+ the kernel touched memory at 0x[0-9a-f]+.*\n.*case 11/],
    [12, /in line \d+ the kernel touched memory at 0x[0-9a-f]+.*\n.*case 12/],
    [13, /copyAsync16 in line \d+ reads memory at (\(nil\)|0x0),.*\n.*case 13/],
    [14, /the launch takes more than 1 seconds, now in line \d+.*\n.*case 14/],
    [15, /the launch takes more than 1 seconds, .*last meeting ballotLanes in line \d+/],
  ])('mistake %i', (count, message) => {
    let error: unknown
    try {
      run({ name: 'mistakes', words: 64, count, threads: 64 })
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(HeddleError)
    expect(error).toMatchObject({
      code: 'emulated-fault',
      blame: 'heddle',
      args: { kernel: 'test (bf16, mistakes)', call: 'a test' },
    })
    expect((error as Error).message).toMatch(message)
    if (count !== 10) expect((error as Error).message).toMatch(AT)
    // The device goes on.
    expect(run({ name: 'mistakes', words: 64, count: 99, threads: 64 })).toHaveLength(64)
  })

  test('the lines that a message names stand below it', () => {
    expect(() => run({ name: 'mistakes', words: 64, count: 0 })).toThrow(
      /\n +\d+ \| else syncLanes\(\);\n +\d+ \| if \(lane < 8\) ballotLanes\(true\);/,
    )
  })

  test('a write just behind an allocation is told when the memory is given back, or waited for', () => {
    expect(() => run({ name: 'mistakes', words: 61, count: 16 })).not.toThrow()
    expect(() => run({ name: 'mistakes', words: 30, count: 16 })).toThrow(/bytes around the 120 bytes at 0x/)
    const place = driver.alloc(1)
    const call = new BigUint64Array([place, place, 16n])
    const launch = {
      grid: [1, 1, 1],
      threads: 32,
      sharedBytes: 0,
      about: () => 'a test',
      params: [new Uint8Array(call.buffer)],
    } as const
    driver.launch({ ...launch, entry: module.entry('mistakes', 0) })
    expect(() => driver.synchronize()).toThrow(/bytes around the 1 bytes at 0x/)
    expect(() => driver.free(place)).toThrow(/bytes around/)
    driver.synchronize()
  })
})

describe('the driver', () => {
  test('refuses what a device would refuse', () => {
    const fails = (f: () => unknown, message: string | RegExp) => {
      expect(f).toThrow(message)
      expect(f).toThrow(HeddleError)
    }
    fails(() => module.entry('nobody', 0), 'there is no kernel nobody')
    fails(() => module.entry('product', 200_000), '200000 bytes of shared memory')
    fails(() => driver.free(16n), 'nothing was allocated at 0x10')
    fails(() => driver.copyIn(driver.alloc(4), new Uint8Array(5)), 'are not inside what was allocated')
    fails(() => driver.tensorMap({} as never), 'tensor map')
    fails(
      () => run({ name: 'packs', words: 4, threads: 96, grid: [1, 70_000, 1] }),
      'a grid of (1, 70000, 1)',
    )
    fails(() => run({ name: 'packs', words: 4, threads: 48 }), 'whole warps, not 48')
    fails(() => run({ name: 'packs', words: 4, threads: 256 }), 'KERNEL says at most 128')
    const entry = module.entry('packs', 0)
    const launch = { entry, grid: [1, 1, 1], threads: 32, sharedBytes: 0, about: () => 'a test' } as const
    fails(
      () => driver.launch({ ...launch, params: [new Uint8Array(8)] }),
      'takes 24 bytes of parameters, not 8',
    )
    fails(() => driver.launch({ ...launch, params: [] }), 'takes 24 bytes of parameters, not 0')
  })

  test('events and streams', () => {
    const stream = driver.createStream()
    const [from, to] = [driver.createEvent(), driver.createEvent()]
    expect(() => driver.elapsed(from, to)).toThrow(/never recorded/)
    from.record(stream)
    to.record(stream)
    expect(driver.elapsed(from, to)).toBeGreaterThanOrEqual(0)
    driver.synchronize(stream)
    driver.destroyStream(stream)
  })

  test('a text that does not compile comes back with the compiler’s words', async () => {
    const broken = driver.loadModule(sourceOf('broken', 'int f() { return nothing; }'))
    await expect(broken).rejects.toMatchObject({
      code: 'cuda-compile',
      args: { pattern: 'test', variant: 'broken' },
    })
    await expect(broken).rejects.toThrow(/nothing.* was not declared|undeclared identifier/)
  })

  test('without a compiler it says what is missing', async () => {
    const env = { ...process.env, CXX: 'no-such-compiler' }
    await expect(openEmulation({ env })).rejects.toMatchObject({
      code: 'no-emulation',
      blame: 'machine',
      message: expect.stringContaining(
        'CXX names no C++ compiler: `no-such-compiler --version` does not start',
      ),
    })
    const native = { ...process.env, PATH: emulation.folder, CXX: '' }
    await expect(openEmulation({ env: native })).rejects.toThrow('PATH has no C++ compiler: `g++ --version`')
  })

  test('who compiles the same text at the same time gets the same library', async () => {
    const code = 'int answer = 42;'
    const drivers = await Promise.all([1, 2].map(() => openEmulation({ cacheFolder: emulation.folder })))
    await Promise.all(drivers.map((d) => d.loadModule(sourceOf('shared', code))))
    const files = readdirSync(emulation.folder).filter(
      (name) => name.startsWith('test.shared') || name.startsWith('compiling-'),
    )
    expect(files).toHaveLength(1)
    for (const d of drivers) d.release()
  })
})
