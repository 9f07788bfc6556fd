import * as fs from 'node:fs'
import * as path from 'node:path'
import { decode } from 'fast-png'
import { describe, expect, it } from 'vitest'
import { COMMANDS, run } from '../../runtime/cli/run.ts'
import type { Io } from '../../runtime/cli/io.ts'
import { explainError } from '../../runtime/cli/errors.ts'
import { MESSAGES } from '../../runtime/cli/messages.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { BAND, DIVIDES, LOUD, MAPS, NEAR, NOTHING, PICKS, SKIPS, SYNTAX, TWO } from './fixtures.ts'
import { filesIn, temporaryFolder, testIo } from './helpers.ts'

const FILES = {
  'band.ts': BAND,
  'near.ts': NEAR,
  'two.ts': TWO,
  'picks.ts': PICKS,
  'skips.ts': SKIPS,
  'maps.ts': MAPS,
  'divides.ts': DIVIDES,
  'syntax.ts': SYNTAX,
  'nothing.ts': NOTHING,
  'loud.ts': LOUD,
}

async function heddle(line: string, more: Partial<Io> = {}, cwd = temporaryFolder(FILES)) {
  const io = testIo(cwd, more)
  const exit = await run(line.split(' ').filter(Boolean), io)
  return { exit, ...io.text, cwd }
}

describe('the command line', () => {
  it('helps: an overview, and for each command flags, examples and exit codes', async () => {
    const overview = await heddle('')
    expect([overview.exit, overview.err]).toEqual([0, ''])
    for (const { name } of COMMANDS) {
      expect(overview.out).toContain(`  ${name} `)
      const { exit, out, err } = await heddle(`${name} --help`)
      expect([exit, err]).toEqual([0, ''])
      for (const part of ['USAGE', 'OPTIONS', 'EXAMPLES', `heddle ${name}`, 'EXIT CODES', '--json'])
        expect(out).toContain(part)
      expect(out).not.toContain('\u001B')
      expect((await heddle(`help ${name}`)).out).toBe(out)
    }
    expect((await heddle('check --help')).out).toMatch(/runs the\s+(author's|pattern's) code/)
    expect((await heddle('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it('refuses what it does not know, with a hint and exit code 2', async () => {
    expect(await heddle('shwo x.ts')).toMatchObject({
      exit: 2,
      out: '',
      err: 'error[unknown-command]: there is no command `shwo`\nhint: did you mean heddle show?\n',
    })
    expect(await heddle('show band.ts --kvlen 3')).toMatchObject({
      exit: 2,
      err: 'error[unknown-flag]: `heddle show` has no flag --kvlen\nhint: did you mean --kv-len?\n',
    })
    expect(await heddle('show')).toMatchObject({
      exit: 2,
      err: 'error[missing-argument]: `heddle show` needs <file>\nhint: heddle show --help\n',
    })
    expect(await heddle('build --out x')).toMatchObject({
      exit: 2,
      err: 'error[missing-argument]: `heddle build` needs <files or globs>\nhint: heddle build --help\n',
    })
    expect((await heddle('build band.ts')).err).toContain('`heddle build` needs --out <dir>')
    expect((await heddle('explain band.ts more')).err).toContain('error[extra-argument]')
  })

  it('turns anything thrown into a sentence, and never shows a stack trace', () => {
    const told = (error: unknown) => {
      const io = testIo('/')
      return { exit: explainError(error, io), err: io.text.err }
    }
    expect(told(new HeddleError('no-adapter', { detail: 'none here' }))).toEqual({
      exit: 3,
      err: 'error[no-adapter]: no WebGPU adapter was found: none here\n',
    })
    expect(told(new HeddleError('scale', { got: 'x' })).exit).toBe(1)
    expect(told(new HeddleError('gpu-error', { step: 'pipeline', detail: 'x' })).exit).toBe(70)
    expect(told(Object.assign(new Error('x'), { code: 'EMFILE', path: '/a' }))).toEqual({
      exit: 3,
      err: 'error[system]: /a: too many files are open\n',
    })
    const bug = told(new TypeError('x is not a function'))
    expect(bug.exit).toBe(70)
    expect(bug.err).toMatch(
      /^error\[bug\]: Heddle broke: x is not a function\nhint: .* please report it with .*heddle-bug-\d+\.txt\n$/,
    )
    fs.rmSync(/with (.*)\n$/.exec(bug.err)![1]!)
    expect(told('a string').exit).toBe(70)
  })
})

describe('heddle show', () => {
  it('prints every stage, in order', async () => {
    const { exit, out, err } = await heddle('show band.ts --kv-len 128')
    expect([exit, err]).toEqual([0, ''])
    const places = ['band lower', 'band simplify', 'band tiles', 'band plan', 'band mask'].map((t) =>
      out.indexOf(`${t}\n`),
    )
    expect(places).toEqual(places.toSorted((a, b) => a - b))
    expect(places[0]).toBe(0)
    expect(out).toContain('and(le(kv, q), lt(sub(q, kv), $window))')
    expect(out).toContain('128 tokens, tiles of 32, window 24\n')
    expect(out).toContain(
      '  0 ░░······\n  1 ░░░░····      empty 9   partial 7   full 0\n  2 ··░░░░··      density 0.34   tileDensity 0.44\n',
    )
  })

  it('prints one stage, at other lengths and params', async () => {
    const { out } = await heddle('show band.ts mask --kv-len 256 --q-len 64 --block 64 --param window=129')
    expect(out).toBe(
      '64 queries, 256 keys, tiles of 64, window 129\n  0 ··░░██░░      empty 1   partial 2   full 1\n                  density 0.57   tileDensity 0.75\n',
    )
    expect((await heddle('show band.ts ir')).out).toContain('band simplify')
    expect((await heddle('show band.ts plan')).out).toMatch(
      /^pattern band\nparam {2}i32 window = 24 {3}1 \.\. 4096\n/,
    )
  })

  it('shows all patterns of a file or one, one head or all', async () => {
    const all = await heddle(
      'show two.ts mask --heads 2 --head all --param span=8,70 --kv-len 96 --pattern spans',
    )
    expect(all.out.match(/head \d of 2/g)).toEqual(['head 0 of 2', 'head 1 of 2'])
    expect(all.out).toContain('span [8 70]')
    const both = await heddle('show two.ts tiles')
    expect(both.out).toContain('tiles by closed-form ranges')
    expect(both.out).toContain('tiles by a list that a kernel builds')
    const one = await heddle('show two.ts mask --pattern packed --kv-len 96')
    expect(one.out).toContain('96 tokens, tiles of 32\n')
    expect((await heddle('show two.ts mask --pattern packed --kv-len 96')).out).toBe(one.out)
    expect((await heddle('show two.ts mask --pattern packed --kv-len 96 --seed 2')).out).not.toBe(one.out)
  })

  it('writes pictures', async () => {
    const { exit, err, cwd } = await heddle('show band.ts mask --png mask.png --svg pics/mask.svg')
    expect([exit, err]).toEqual([0, 'wrote mask.png\nwrote pics/mask.svg\n'])
    expect(decode(fs.readFileSync(path.join(cwd, 'mask.png')))).toMatchObject({ width: 768, height: 768 })
    expect(fs.readFileSync(path.join(cwd, 'pics/mask.svg'), 'utf8')).toContain('>band</text>')
    const many = await heddle('show two.ts mask --head all --heads 2 --svg m.svg --cell tile')
    expect(filesIn(many.cwd).filter((f) => f.endsWith('.svg'))).toEqual([
      'm-packed.svg',
      'm-spans-head0.svg',
      'm-spans-head1.svg',
    ])
  })

  it('speaks JSON', async () => {
    const [first] = JSON.parse((await heddle('show band.ts mask --json --kv-len 128')).out)
    expect(first).toEqual({
      pattern: 'band',
      file: 'band.ts',
      head: 0,
      qLen: 128,
      kvLen: 128,
      block: 32,
      tiles: { how: 'ranges', empty: 9, partial: 7, full: 0 },
      density: 2796 / 8256,
      tileDensity: 7 / 16,
      bidirectional: false,
      stages: {},
    })
  })

  it('refuses values that do not fit', async () => {
    const cases: [string, string][] = [
      [
        'nosuchstage',
        'error[unknown-stage]: there is no stage `nosuchstage`; there are lower, simplify, tiles, plan, graph, kernels, mask, wgsl, ir, expr, blocks, emit\n',
      ],
      ['--pattern bend', 'error[unknown-pattern]: band.ts has no pattern `bend`; it has band\n'],
      [
        '--param windw=3',
        'error[unknown-param]: band has no param `windw`; it has window (did you mean it?)\n',
      ],
      [
        '--param window=0',
        'error[param-range]: param window of band: expected a whole number from 1 to 4096, got 0\n',
      ],
      [
        '--param window=NaN',
        'error[param-range]: param window of band: expected a whole number from 1 to 4096, got NaN\n',
      ],
      [
        '--param window=1,2',
        'error[param-heads]: param window of band: expected one value, got 2; only a perHead param has one per head\n',
      ],
      ['--param window', 'error[flag-value]: --param: expected name=value, got `window`\n'],
      ['--kv-len -1', 'error[flag-value]: --kv-len: expected a whole number from 1 to 16384, got `-1`\n'],
      ['--kv-len 1.5', 'error[flag-value]: --kv-len: expected a whole number from 1 to 16384, got `1.5`\n'],
      [
        '--q-len 9 --kv-len 8',
        "error[lengths-order]: --q-len 9 is more than --kv-len 8: the queries are the last of the keys' positions\n",
      ],
      ['--heads 6 --kv-heads 4', 'error[heads-group]: --heads 6 is no multiple of --kv-heads 4\n'],
      ['--head 4', 'error[head-range]: --head 4: expected 0 to 3, since there are 4 heads\n'],
      ['--head-dim 0', 'error[flag-value]: --head-dim: expected a whole number from 1 to 256, got `0`\n'],
      ['--cell pixel', 'error[flag-value]: --cell: expected any of token, tile, got `pixel`\n'],
    ]
    for (const [flags, err] of cases)
      expect(await heddle(`show band.ts ${flags}`)).toMatchObject({ exit: 2, err, out: '' })
    expect((await heddle('show two.ts --param span=1,2,3')).err).toBe(
      'error[param-heads]: param span of spans: expected one value or one per head = 4, got 3\n',
    )
  })
})

describe('files that cannot be used', () => {
  it('are told by every command that reads one', async () => {
    for (const name of ['show', 'explain', 'check', 'bench', 'build --out o']) {
      expect(await heddle(`${name} gone.ts`)).toMatchObject({
        exit: 2,
        out: '',
        err: 'error[file-missing]: gone.ts: no such file\n',
      })
      expect(await heddle(`${name} .`)).toMatchObject({
        exit: 2,
        err: 'error[file-unreadable]: .: cannot be read: it is a folder\n',
      })
      expect(await heddle(`${name} nothing.ts`)).toMatchObject({
        exit: 1,
        err: expect.stringContaining('error[no-pattern]'),
      })
      const syntax = await heddle(`${name} syntax.ts`)
      expect(syntax.exit).toBe(1)
      expect(syntax.err).toMatch(/error\[syntax.*\]: .*\n {2}syntax\.ts:2:\d+\n/)
      expect(syntax.err).not.toMatch(/\n\s+at /)
    }
    expect((await heddle('build *.md --out o')).err).toBe('error[no-match]: no file matches `*.md`\n')
  })

  it('show the author every error with its frame', async () => {
    const { exit, err, out } = await heddle('show divides.ts')
    expect([exit, out]).toEqual([1, ''])
    expect(err.match(/error\[index-division\]/g)).toHaveLength(2)
    expect(err).toContain('> 2 | export const chunked')
    expect(err).toContain('hint: write `floorDiv(q, 64)`')
  })
})

describe('heddle explain', () => {
  it('says how tiles are found and measures it', async () => {
    const { exit, out } = await heddle('explain band.ts --kv-len 128')
    expect(exit).toBe(0)
    expect(out).toContain('band: tiles are found by closed-form ranges')
    expect(out).toMatch(/visits\n {2}kv from .*qLo.* to .*qHi/)
    expect(out).toContain(
      'measured at qLen 128, kvLen 128, tiles of 32, window 24\n  needed 7 tiles, visited 7 (1.00 x)\n',
    )
    expect(out).toMatch(/q - kv +-?\d+ \.\. \d+/)
  })

  it('gives the reason with its frame when it is not ranges', async () => {
    const { exit, out } = await heddle('explain two.ts --pattern packed --kv-len 128')
    expect(exit).toBe(0)
    expect(out).toContain('note[tiles-by-list]')
    expect(out).toContain('two.ts:12:')
    expect(out).toMatch(/lists exactly those needed/)
  })

  it('speaks JSON', async () => {
    const both = JSON.parse((await heddle('explain two.ts --json --kv-len 64')).out)
    expect(
      both.map((p: { pattern: string; tiles: string; sound: boolean }) => [p.pattern, p.tiles, p.sound]),
    ).toEqual([
      ['spans', 'ranges', true],
      ['packed', 'list', true],
    ])
    expect(both[1].notes).toEqual([
      { code: 'tiles-by-list', text: expect.any(String), hint: expect.any(String) },
    ])
  })
})

describe('a pattern with a forward', () => {
  it('is explained by its kernels, their shapes and what they cost', async () => {
    const { exit, out } = await heddle('explain picks.ts --kv-len 256 --heads 4 --kv-heads 2 --head-dim 8')
    expect(exit).toBe(0)
    expect(out).toMatch(/^picks: tiles of its mask are found by closed-form ranges\n/)
    expect(out).toContain('kernels of forward, in order\n')
    expect(out).toMatch(/rows3 +#3 poolRows: rows3 \[1, 4, 16, 8\]\n/)
    expect(out).toMatch(/rows4 +#4 poolRows: rows4 \[1, 2, 16, 8\]\n/)
    // A product and a sum for each of 16 x 16 cells of 8 channels and 4 heads.
    expect(out).toMatch(/scores5 +#5 dot: scores5 \[1, 4, 16, 16\]\n +16\.4 kFLOP, /)
    expect(out).toMatch(/select7 +#7 topK: counts7 \[1, 4, 16\], ids7 \[1, 4, 16, 4\]\n/)
    expect(out).toMatch(/attend8 +#8 attend: the output\n/)
    expect(out).toMatch(/\nworkspace [\d.]+ KiB\n  4 \* batches \* qHeads .* \* headDim\n  \+ 4 \* batches/)
    expect(out).toMatch(
      /\n  \+ 4 \* batches \* qHeads \* chunk \* floorDiv\(kvLen \+ 15, 16\)\n  chunk = max\(1, min\(/,
    )
  })

  it('is drawn as its mask, and the picture says so', async () => {
    const { out } = await heddle('show picks.ts mask --kv-len 64')
    expect(out).toMatch(
      /^64 tokens, tiles of 32, k 4; the mask alone: what the forward keeps of it is the data's to say\n/,
    )
  })

  it('is explained in JSON with the numbers', async () => {
    const [picks] = JSON.parse((await heddle('explain picks.ts --json --kv-len 64 --head-dim 8')).out)
    expect(picks.stages.kernels.map((k: { name: string }) => k.name)).toEqual([
      'rows3',
      'rows4',
      'scores5',
      'select7',
      'attend8',
    ])
    expect(picks.stages.workspace).toBeGreaterThan(0)
  })

  it('is explained for CUDA by the kernels that take the place of its own', async () => {
    const line = 'explain picks.ts --target cuda --kv-len 256 --heads 4 --kv-heads 2 --head-dim 64'
    const { out } = await heddle(line)
    expect(out).toContain(
      'in place of one, where the device has them\n  scores5: form wgmma, tiles of 128 x 128, 256 threads, capability 9.0\n  select7: form cells64, tiles of 32 x 1, 256 threads, capability 8.0 and later\n  attend8: d64-bf16-rows, tiles of 16 x 16, 128 threads, capability 8.0 and later\n',
    )
    const [picks] = JSON.parse((await heddle(`${line} --json`)).out)
    expect(picks.faster).toMatchObject([
      { kernel: 'scores5', capability: { min: 90, max: 90 } },
      { kernel: 'select7' },
      { kernel: 'attend8', records: null },
    ])
  })

  it('is shown as a graph and as kernels, others are not', async () => {
    const { out } = await heddle('show picks.ts graph')
    expect(out).toContain(
      '#3 poolRows(#0) by=blocks(16) how=mean -> rows of head: blocks(16) of q x headDim\n',
    )
    expect((await heddle('show picks.ts')).out).toContain('picks kernels\n\nrows3 makes #3 poolRows\n')
    expect((await heddle('show band.ts')).out).not.toContain('band graph')
    expect((await heddle('show band.ts graph')).out).toBe('attend(Q, K, V): there is no forward\n')
  })

  it('is built for CUDA kernel by kernel', async () => {
    const { exit, out } = await heddle('build picks.ts --out o --target cuda --cubins none --json')
    expect(exit).toBe(0)
    const texts = (JSON.parse(out) as { variant: string }[]).map(({ variant }) =>
      variant.replace(/^d\d+-bf16-stages\./, ''),
    )
    expect([...new Set(texts)]).toEqual([
      'rows3',
      'rows3.pairs',
      'rows4',
      'rows4.pairs',
      'scores5',
      'scores5.few',
      'scores5.wgmma',
      'select7',
      'select7.cells64',
      'select7.cells256',
      'select7.cells1024',
      'select7.few',
      'attend8',
      'attend8.rows',
    ])
  })

  it('is built for WGSL kernel by kernel', async () => {
    const { exit, out } = await heddle('build picks.ts --out o --target wgsl --capability portable --json')
    expect(exit).toBe(0)
    const files = (JSON.parse(out) as { file: string }[]).map(({ file }) => file.split('.').at(-2))
    expect(files).toEqual(['rows3', 'rows4', 'scores5', 'select7', 'cells256', 'few', 'attend8', 'merged'])
    const text = (await heddle('show picks.ts wgsl')).out
    for (const name of ['rows3', 'rows4', 'scores5', 'select7', 'le(kv, q)'])
      expect(text).toContain(`// picks: ${name}`)
  })

  it('is checked like any other', async () => {
    const line = 'check picks.ts --runs 4 --seed 24 --dtype f32 --adapter software'
    const { exit, out, err } = await heddle(line)
    expect({ exit, out, err }).toMatchObject({
      exit: 0,
      out: expect.stringMatching(/^picks: 4 runs, all agree/),
    })
    const [row] = JSON.parse((await heddle(`${line} --json --const block=200`)).out) as object[]
    expect(row).toMatchObject({ pattern: 'picks', runs: 4, failures: 0, undecidedRows: 0, seed: 24 })
    expect((await heddle(`${line} --const block=200`)).err).toBe(
      'note: picks: calls have at most 600 tokens, and block = 200; --const block=8 shows more of what it chooses\n',
    )
  })

  it('whose vectors do not fit each other at a head dim is refused there, at its place', async () => {
    const refusal = {
      exit: 1,
      out: '',
      err: expect.stringMatching(
        /^error\[stage-channels\]: vectors of 64 channels meet 8\n {2}maps\.ts:8:\d+\n[^]*\^\nhint: this is at head dim 64; /,
      ),
    }
    for (const line of [
      'build maps.ts --out o',
      'build maps.ts --out o --target cuda --cubins none',
      'explain maps.ts',
    ])
      expect(await heddle(line)).toMatchObject(refusal)
    expect((await heddle('check maps.ts --runs 1 --seed 1')).err).toMatch(
      /^error\[stage-channels\]: .*\n {2}maps\.ts:8:/,
    )
    expect(await heddle('build maps.ts --out o --head-dim 8')).toMatchObject({ exit: 0, err: '' })
  })

  it('that no kernel computes says what', async () => {
    expect(await heddle('check skips.ts --runs 1 --adapter software')).toMatchObject({
      exit: 1,
      err: expect.stringMatching(/^error\[no-kernel\]: skips needs tiles of 24 x 24/),
    })
    const { exit, err } = await heddle('build skips.ts --out o --target wgsl --capability portable')
    expect(exit).toBe(1)
    expect(err).toContain(
      'error[no-kernel]: skips needs tiles of 24 x 24, which are 32 x 32 in portable kernels, and wgsl has no kernel for that\n',
    )
  })
})

it("reading commands run none of the pattern's code", async () => {
  const cwd = temporaryFolder(FILES)
  for (const line of ['show loud.ts', 'explain loud.ts', 'build loud.ts --out o'])
    expect((await heddle(line, {}, cwd)).exit).toBe(0)
  expect(process.env.HEDDLE_TEST_RAN).toBeUndefined()
})

it('every message has a test', () => {
  const tests = fs
    .readdirSync('test/cli')
    .filter((f) => f.endsWith('.test.ts'))
    .map((f) => fs.readFileSync(path.join('test/cli', f), 'utf8'))
    .join('\n')
  expect(
    Object.keys(MESSAGES).filter((code) => !new RegExp(`error\\\\?\\[${code}\\b|'${code}'`).test(tests)),
  ).toEqual([])
})
