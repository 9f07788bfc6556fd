/** The commands that are no build, of the target cuda: on the emulation, or refused where only a GPU will do. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Io } from '../../runtime/cli/io.ts'
import { NOTES } from '../../runtime/cli/messages.ts'
import { run } from '../../runtime/cli/run.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { fakeNvcc } from './fake-nvcc.ts'
import { BAND, LIAR, NEAR } from './fixtures.ts'
import { temporaryFolder, testIo } from './helpers.ts'

const FILES = { 'band.ts': BAND, 'near.ts': NEAR, 'liar.ts': LIAR }

async function heddle(line: string, more: Partial<Io> = {}, cwd = temporaryFolder(FILES)) {
  const io = testIo(cwd, more)
  const exit = await run(line.split(' ').filter(Boolean), io)
  return { exit, ...io.text, cwd }
}

const emulation = await openEmulation().then(
  (driver) => driver.release(),
  (error: unknown) => {
    if (process.env.CI) throw error
    return String(error)
  },
)
const isEmulated = emulation === undefined

describe.skipIf(!isEmulated)('heddle check --target cuda', () => {
  it('without a GPU runs on the emulation, and says so', { timeout: 300_000 }, async () => {
    const { exit, out, err } = await heddle('check band.ts --target cuda --runs 3 --seed 7 --dtype f16')
    expect([exit, err]).toEqual([0, ''])
    expect(out).toMatch(
      /^band: 3 runs on emulation \(.+\) on the CPU, all agree with the oracle, greatest error 0\.\d\d of what is allowed, seed 7\n$/,
    )
  })

  it('finds a kernel that is not its pattern', { timeout: 300_000 }, async () => {
    const { exit, out, err } = await heddle(
      'check liar.ts --target cuda --runs 2 --seed 48 --json --adapter software',
    )
    expect(exit).toBe(1)
    expect(JSON.parse(out)).toEqual([
      {
        pattern: 'liar',
        target: 'cuda',
        device: expect.stringContaining('on the CPU'),
        runs: 2,
        failures: expect.toSatisfy((n: number) => n > 0),
        maxErrorRatio: expect.anything(),
        undecidedRows: 0,
        seed: 48,
      },
    ])
    expect(err).toMatch(
      /the oracle gives .* \(variant d\d+.*-(ampere|decode)\)\nrepeat it with seed \d+ and runs 1\n/,
    )
  })
})

describe('heddle check --target cuda', () => {
  it('ends with 3 where there is neither a GPU nor a compiler for the emulation', async () => {
    const openEmulation = async () => {
      throw new HeddleError('no-emulation', { detail: 'no compiler here' })
    }
    expect(await heddle('check band.ts --target cuda', { openEmulation })).toMatchObject({
      exit: 3,
      err: expect.stringContaining(
        'error[no-emulation]: CUDA kernels cannot be emulated on the CPU: no compiler here',
      ),
    })
  })

  it('does not take the emulation for a GPU that is broken', async () => {
    const openCuda = async () => {
      throw new HeddleError('cuda-error', { step: 'context', name: 'CUDA_ERROR', detail: 'busy', call: '' })
    }
    const { exit, err } = await heddle('check band.ts --target cuda', { openCuda })
    expect([exit === 0, err]).toEqual([false, expect.stringContaining('error[cuda-error]')])
  })

  it('knows which types each target has', async () => {
    expect(await heddle('check band.ts --target cuda --dtype f32')).toMatchObject({
      exit: 2,
      err: 'error[flag-value]: --dtype: expected any of bf16, f16, got `f32`\n',
    })
    expect((await heddle('check band.ts --dtype bf16')).err).toContain('--dtype: expected any of f32, f16')
    expect((await heddle('check band.ts --target metal')).err).toContain(
      '--target: expected any of wgsl, cuda',
    )
  })
})

it('heddle bench --target cuda needs a GPU', async () => {
  expect(await heddle('bench band.ts --target cuda')).toMatchObject({
    exit: 3,
    out: '',
    err: 'error[no-gpu]: heddle bench --target cuda needs a CUDA GPU: there is no CUDA device: none here\n',
  })
  expect((await heddle('bench band.ts --target cuda --dtype f32')).err).toContain('expected any of bf16, f16')
})

describe('heddle explain --target cuda', () => {
  it('says which kernels there are, in which shapes and why', async () => {
    const { exit, out } = await heddle('explain band.ts --kv-len 128 --target cuda --head-dim 100')
    expect(exit).toBe(0)
    const [, kernels] = out.split('\nkernels\n')
    expect(kernels).toMatch(
      / {2}d128-bf16-ampere: tiles of \d+ x \d+, \d+ threads, \d+ KiB of shared memory, capability 8\.0 and later\n {4}\w.*; one of \d+ shapes that --autotune tries\n/,
    )
    expect((await heddle('explain band.ts --kv-len 128')).out).not.toContain('\nkernels\n')
  })

  it('adds the registers of a build of the same text', async () => {
    const cwd = temporaryFolder(FILES)
    const { env } = fakeNvcc(path.join(cwd, 'cuda'))
    expect(
      (await heddle('build band.ts --target cuda --skeleton ampere --arch sm_80 --out out', { env }, cwd))
        .exit,
    ).toBe(0)
    const line = 'explain band.ts --kv-len 128 --target cuda --built out'
    expect((await heddle(line, {}, cwd)).out).toContain('    sm_80 attend: 168 registers, none spilled\n')
    const [row] = JSON.parse((await heddle(`${line} --json`, {}, cwd)).out)
    const ampere = row.kernels.find((k: { variant: string }) => k.variant === 'd64-bf16-ampere')
    expect(ampere).toMatchObject({
      threads: expect.any(Number),
      reason: expect.any(String),
      shapes: expect.any(Number),
    })
    expect(ampere.cubins).toEqual([
      { arch: 'sm_80', entry: 'attend', registers: 168, spillBytes: 0 },
      { arch: 'sm_80', entry: 'combine', registers: 32, spillBytes: 0 },
    ])
    // Of another text nothing is known.
    fs.writeFileSync(path.join(cwd, 'near.ts'), NEAR.replace('<', '<='))
    expect((await heddle(line, {}, cwd)).out).not.toContain('registers')
  })

  it('refuses a folder without a build, and flags of the other target', async () => {
    expect(await heddle('explain band.ts --target cuda --built nowhere')).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/^error\[not-an-artifact\]: .*nowhere\/band\.cuda\.json is not there/),
    })
    expect(await heddle('explain band.ts --built out')).toMatchObject({
      exit: 2,
      err: 'error[flag-target]: --built is a flag of --target cuda; this is --target wgsl\n',
    })
  })
})

it('every note has a test', () => {
  const tests = fs
    .readdirSync('test/cli')
    .filter((f) => f.endsWith('.test.ts'))
    .map((f) => fs.readFileSync(path.join('test/cli', f), 'utf8'))
    .join('\n')
  const said: Readonly<Record<keyof typeof NOTES, string>> = {
    'no-cubins': 'so there are no cubins',
    'nvcc-miscompiles': 'is known to miscompile',
    spill: 'spills 64 bytes',
    stack: 'in local memory',
    tuned: ': took ',
    'ptxas-remark': 'ptxas says',
    'dense-misses': 'no judge of patterns',
    'large-consts': 'shows more of what it chooses',
  }
  expect(Object.keys(said).sort()).toEqual(Object.keys(NOTES).sort())
  expect(Object.values(said).filter((text) => tests.split(text).length < 3)).toEqual([])
})
