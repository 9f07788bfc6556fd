import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Io } from '../../runtime/cli/io.ts'
import { run } from '../../runtime/cli/run.ts'
import { ATTENTIONS, needleAnswers, needleExample } from '../../runtime/cli/start-model.ts'
import { openDevice } from '../../runtime/device-node.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { BAND, LIAR, NEAR, PICKS, PLACES, THROWS, TWO, WEIGHS } from './fixtures.ts'
import { temporaryFolder, testIo } from './helpers.ts'

const FILES = {
  'band.ts': BAND,
  'near.ts': NEAR,
  'two.ts': TWO,
  'liar.ts': LIAR,
  'throws.ts': THROWS,
  'picks.ts': PICKS,
  'weighs.ts': WEIGHS,
  'places.ts': PLACES,
}

async function heddle(line: string, more: Partial<Io> = {}, cwd = temporaryFolder(FILES)) {
  const io = testIo(cwd, more)
  const exit = await run(line.split(' ').filter(Boolean), io)
  return { exit, ...io.text }
}
const noAdapter: Partial<Io> = {
  openDevice: async () => {
    throw new HeddleError('no-adapter', { detail: 'none here' })
  },
}

describe('heddle check', () => {
  it('compares kernels with the pattern run as TypeScript, in packages of both kinds', async () => {
    for (const type of ['module', 'commonjs']) {
      const cwd = temporaryFolder({ ...FILES, 'package.json': JSON.stringify({ type }) })
      const { exit, out, err } = await heddle('check band.ts --runs 4 --seed 7', {}, cwd)
      expect([exit, err]).toEqual([0, ''])
      expect(out).toMatch(
        /^band: 4 runs, all agree with the oracle, greatest error \d\.\d\d of what is allowed, seed 7\n$/,
      )
    }
  })

  it('prints rows of the promised shape, for every pattern of the file', async () => {
    const { exit, out } = await heddle('check two.ts --runs 3 --seed 1 --dtype f32 --json')
    expect(exit).toBe(0)
    expect(JSON.parse(out)).toEqual(
      ['spans', 'packed'].map((pattern) => ({
        pattern,
        target: 'wgsl',
        runs: 3,
        failures: 0,
        maxErrorRatio: expect.any(Number),
        undecidedRows: 0,
        seed: 1,
      })),
    )
  })

  it('exits with 1 and the simplest call that differs', async () => {
    const { exit, out } = await heddle('check liar.ts --runs 3 --seed 5 --dtype f32')
    expect(exit).toBe(1)
    expect(out).toMatch(/^liar: 3 runs, [1-3] DIFFER from the oracle/)
    expect(out).toMatch(/the oracle gives .*\nrepeat it with seed \d+ and runs 1\n/)
    const seed = /repeat it with seed (\d+)/.exec(out)![1]
    const again = await heddle(`check liar.ts --runs 1 --seed ${seed} --dtype f32 --json`)
    expect([again.exit, JSON.parse(again.out)[0].failures]).toEqual([1, 1])
    expect(again.err).toContain(`repeat it with seed ${seed}`)
  })

  it('tells a call that the pattern itself refuses from one that the kernel answers wrongly', async () => {
    const { exit, out, err } = await heddle('check weighs.ts --runs 3 --seed 5 --dtype f32')
    expect([exit, out]).toEqual([1, ''])
    expect(err).toMatch(
      /^error\[refuses\]: weighs, run as TypeScript, refuses a call that it declares to take \(seed \d+\)\n\{ batch: 1, .*\nerror\[negative-mass\]: .*\nhint: give it what softmax\(\) makes\n$/,
    )
  })

  it('says what kernel and oracle agree on, and its author may not mean', async () => {
    const { exit, out, err } = await heddle('check places.ts --runs 3 --seed 5 --dtype f32')
    expect([exit, out]).toEqual([0, expect.stringMatching(/^places: 3 runs, all agree/)])
    expect(err).toMatch(/^note\[table-index-order\]: `q` is an absolute position, .*\n {2}places\.ts:5:/)
  })

  it('tells a file that breaks when it runs', async () => {
    expect(await heddle('check throws.ts')).toMatchObject({
      exit: 1,
      out: '',
      err: 'error[cannot-load]: throws.ts broke while it was loaded: not today\n',
    })
  })

  it('shows its progress on a terminal', async () => {
    const { err } = await heddle('check band.ts --runs 2 --seed 7', { tty: true })
    expect(err).toMatch(/\rband: run 1 of 2 on /)
    expect(err.endsWith('\r')).toBe(true)
  })
})

describe('heddle bench', () => {
  it('times a pattern beside the dense kernel and counts its tiles', async () => {
    const { exit, out } = await heddle('bench band.ts --len 96 --heads 1 --head-dim 16 --runs 2 --json')
    expect(exit).toBe(0)
    const result = JSON.parse(out)
    expect(result).toEqual({
      suite: 'bench',
      command: 'heddle bench band.ts --target wgsl --len 96 --heads 1 --kv-heads 1 --head-dim 16 --dtype f32',
      date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      device: expect.any(String),
      driver: expect.any(String),
      versions: { heddle: expect.any(String), node: process.versions.node },
      rows: [expect.anything()],
    })
    expect(result.rows[0]).toEqual({
      case: 'band N=96 B=1 H=1/1 d=16 f32 window 24',
      target: 'wgsl',
      ours: { ms: expect.any(Number), tflops: expect.any(Number) },
      peer: { name: 'heddle causal', ms: expect.any(Number), tflops: expect.any(Number) },
      ratio: expect.any(Number),
      tiles: { needed: expect.any(Number), visited: expect.any(Number) },
      note: expect.stringMatching(/kernel only, by (timestamps|the clock), median of 2/),
    })
    const { ours, peer, ratio, tiles } = result.rows[0]
    expect(ratio).toBeCloseTo(peer.ms / ours.ms, 1)
    expect(tiles.visited).toBe(tiles.needed)
    expect(
      (await heddle('bench two.ts --len 64 --heads 2 --head-dim 16 --runs 1 --dense full --pattern packed'))
        .out,
    ).toMatch(/ ms, heddle full [\d.]+ ms: [\d.]+ x\n {2}tiles needed/)
  })
})

describe('heddle bench of a program', () => {
  it('times all its kernels, and counts no pairs', async () => {
    const line = 'bench picks.ts --len 64 --heads 1 --head-dim 16 --runs 1 --adapter software'
    const { exit, out } = await heddle(`${line} --json`)
    expect(exit).toBe(0)
    const [row] = JSON.parse(out).rows
    expect(row).toMatchObject({
      case: 'picks N=64 B=1 H=1/1 d=16 f32 k 4',
      ours: { ms: expect.any(Number), tflops: null },
      note: expect.stringMatching(/^variant d16-f32-portable, .* which pairs are kept hangs on the data$/),
    })
    expect(row).not.toHaveProperty('tiles')
    expect((await heddle(line)).out).not.toContain('TFLOP/s')
  })
})

describe('heddle start', () => {
  it('asks the needle model: a window forgets what dense attention finds', async () => {
    const { text, questions } = needleExample()!
    const opened = await openDevice({ adapter: 'software' })
    const rows = []
    // Of the first three, two lie beyond the window.
    for await (const row of needleAnswers(
      opened.device,
      { text, questions: questions.slice(0, 3) },
      ATTENTIONS.slice(0, 2),
    ))
      rows.push(row)
    opened.close()
    const tokens = text.split(' ').length + 7
    expect(rows).toMatchObject([
      { pattern: 'causal', right: 3, asked: 3, prompt: { tokens } },
      { pattern: 'a-shape', asked: 3, prompt: { tokens } },
    ])
    expect(rows[1]!.right).toBeLessThan(3)
  }, 300_000)

  it('ends with 3 where there is no adapter, and so do check and bench', async () => {
    for (const line of ['start', 'check band.ts', 'bench band.ts']) {
      expect(await heddle(line, noAdapter)).toEqual({
        exit: 3,
        out: '',
        err: 'error[no-adapter]: no WebGPU adapter was found: none here\n',
      })
    }
  })

  it('checks patterns of the library, prints the table and writes the page', async () => {
    const cwd = temporaryFolder()
    const { exit, out } = await heddle(
      'start --out report --pattern a-shape,fixed,modality,neighborhood-1d,moba',
      {},
      cwd,
    )
    expect(out).toMatch(/\n5 of 5 patterns agree with the oracle\n/)
    expect(exit).toBe(0)
    const page = fs.readFileSync(path.join(cwd, 'report/index.html'), 'utf8')
    expect(page).toContain('All 5 patterns agree with the oracle.')
    for (const [name, how] of [
      ['a-shape', 'ranges'],
      ['fixed', 'test'],
      ['modality', 'list'],
      ['neighborhood-1d', 'ranges'],
      ['moba', 'data'],
    ] as const) {
      const row = `^${name} +[\\d.]+\\*? +\\d+ +\\d+ +\\d+ +${how} +[\\d.]+ KiB +[\\d.]+ ms +[\\d.]+ +[\\d.]+ ms +[\\d.]+ ms +[\\d.]+ x$`
      expect(out).toMatch(new RegExp(row, 'm'))
      expect(page).toContain(`<figure id="${name}">`)
    }
  })

  it('says what a program keeps as its oracle does: three blocks of eight of 96 tokens for each query', async () => {
    const { out } = await heddle('start --json --pattern moba')
    const [row] = (JSON.parse(out) as { patterns: { density: number }[] }).patterns
    // The blocks behind a query's third, and the part of its own before it.
    const rows = Array.from({ length: 96 }, (_, q) => Math.min(Math.floor(q / 8), 2) * 8 + (q % 8) + 1)
    expect(row!.density).toBeCloseTo(rows.reduce((a, b) => a + b, 0) / ((96 * 97) / 2), 10)
    expect(row).toMatchObject({
      passed: true,
      bidirectional: false,
      tiles: { how: 'data', empty: 12, partial: 24, full: 0 },
    })
  })

  it('speaks JSON, and knows which patterns there are', async () => {
    const { out } = await heddle('start --json --pattern sliding-window')
    const { patterns, needle } = JSON.parse(out) as Record<string, unknown>
    expect(needle).toBeNull()
    expect(patterns).toEqual([
      {
        pattern: 'sliding-window',
        density: expect.closeTo(0.4375, 2),
        bidirectional: false,
        tiles: { how: 'ranges', empty: 102, partial: 21, full: 21 },
        codeBytes: expect.any(Number),
        compileMs: expect.any(Number),
        errorRatio: expect.any(Number),
        passed: true,
        ms: expect.any(Number),
        denseMs: expect.any(Number),
      },
    ])
    expect(await heddle('start --pattern slidingwindow')).toMatchObject({
      exit: 2,
      err: expect.stringContaining('--pattern: expected any of full, causal, '),
    })
  })
})
