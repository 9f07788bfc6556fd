import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { REAL_DISK, type Io } from '../../runtime/cli/io.ts'
import { run } from '../../runtime/cli/run.ts'
import { parseArtifact } from '../../runtime/index.ts'
import { BAND, DIVIDES, NEAR, PICKS, TWO } from './fixtures.ts'
import { failingWith, filesIn, temporaryFolder, testIo } from './helpers.ts'
import { CAPABILITY_NAMES } from '../../codegen/index.ts'

const FILES = { 'band.ts': BAND, 'near.ts': NEAR, 'two.ts': TWO, 'divides.ts': DIVIDES }

async function heddle(line: string, cwd: string, more: Partial<Io> = {}) {
  const io = testIo(cwd, more)
  const exit = await run(line.split(' ').filter(Boolean), io)
  return { exit, ...io.text }
}
const read = (cwd: string, name: string) => fs.readFileSync(path.join(cwd, name), 'utf8')
const contentOf = (cwd: string) => filesIn(path.join(cwd, 'out')).map((f) => [f, read(cwd, `out/${f}`)])

describe('heddle build', () => {
  it('writes an artefact, its kernels and a typed wrapper for each pattern', async () => {
    const cwd = temporaryFolder(FILES)
    const { exit, out } = await heddle(
      'build band.ts two.ts --out out --dtype f32,f16 --capability portable',
      cwd,
    )
    expect(exit).toBe(0)
    expect(out).toMatch(
      /^out\/band\.json {2}d64-f32-portable, d64-f16-portable {2}[\d.]+ KiB of wgsl {2}[\d.]+ ms {2}tiles by ranges\n/,
    )
    const perPattern = (name: string) =>
      ['d.ts', 'd64-f16-portable.wgsl', 'd64-f32-portable.wgsl', 'json', 'ts'].map((end) => `${name}.${end}`)
    expect(filesIn(path.join(cwd, 'out'))).toEqual([
      '.heddle-build.json',
      ...perPattern('band'),
      ...perPattern('packed'),
      ...perPattern('spans'),
    ])
    const artifact = parseArtifact(read(cwd, 'out/band.json'))
    expect(artifact.variants.map((v) => v.id)).toEqual(['d64-f32-portable', 'd64-f16-portable'])
    expect(read(cwd, 'out/band.d64-f32-portable.wgsl')).toBe(artifact.variants[0]!.code)
    expect(parseArtifact(read(cwd, 'out/packed.json')).tiles).toBe('list')
  })

  it('gives the same bytes for the same sources, wherever they lie', async () => {
    const [first, second] = [temporaryFolder(FILES), temporaryFolder(FILES)]
    for (const cwd of [first, second])
      expect((await heddle('build band.ts two.ts --out out', cwd)).exit).toBe(0)
    expect(contentOf(second)).toEqual(contentOf(first))
  })

  it('builds again what changed: a source, an import, an option, an output; and nothing else', async () => {
    const cwd = temporaryFolder(FILES)
    const line = 'build band.ts two.ts --out out --capability portable'
    await heddle(line, cwd)
    const times = () =>
      Object.fromEntries(
        filesIn(path.join(cwd, 'out')).map((f) => [f, fs.statSync(path.join(cwd, 'out', f)).mtimeMs]),
      )
    const before = times()
    expect((await heddle(line, cwd)).out).toBe('band.ts: nothing has changed\ntwo.ts: nothing has changed\n')
    expect(times()).toEqual(before)
    const rebuilt = async (other = line) => (await heddle(other, cwd)).out.match(/^out\/\w+\.json/gm)
    fs.appendFileSync(path.join(cwd, 'near.ts'), '// a remark\n')
    expect(await rebuilt()).toEqual(['out/band.json'])
    fs.rmSync(path.join(cwd, 'out/spans.json'))
    expect(await rebuilt()).toEqual(
      ['out/packed.json', 'out/spans.json'].toSorted(
        (a, b) => TWO.indexOf(a.slice(4, 8)) - TWO.indexOf(b.slice(4, 8)),
      ),
    )
    expect(await rebuilt()).toBe(null)
    expect(await rebuilt(`${line} --head-dim 32`)).toHaveLength(3)
    // Kernels that are no longer asked for are gone.
    expect(filesIn(path.join(cwd, 'out')).filter((f) => f.includes('d64'))).toEqual([])
  })

  it('prints rows of the promised shape', async () => {
    const cwd = temporaryFolder(FILES)
    const first = JSON.parse((await heddle('build band.ts --out out --json --capability portable', cwd)).out)
    expect(first).toEqual([
      {
        pattern: 'band',
        target: 'wgsl',
        variant: 'd64-f32-portable',
        file: 'out/band.d64-f32-portable.wgsl',
        bytes: fs.statSync(path.join(cwd, 'out/band.d64-f32-portable.wgsl')).size,
        compileMs: expect.any(Number),
        tiles: 'ranges',
      },
    ])
    expect(first[0].compileMs).toBeGreaterThan(0)
    expect(
      JSON.parse((await heddle('build band.ts --out out --json --capability portable', cwd)).out),
    ).toEqual([{ ...first[0], compileMs: 0 }])
  })

  it('builds the good files beside the bad ones, and exits with 1', async () => {
    const cwd = temporaryFolder(FILES)
    const { exit, err } = await heddle('build divides.ts band.ts --out out', cwd)
    expect(exit).toBe(1)
    expect(err).toContain('error[index-division]')
    expect(filesIn(path.join(cwd, 'out'))).toContain('band.json')
    expect(filesIn(path.join(cwd, 'out')).filter((f) => f.startsWith('chunked'))).toEqual([])
  })

  it('passes over a script that a glob matches, whose types are not those that patterns see', async () => {
    const cwd = temporaryFolder({
      'band.ts': BAND,
      'near.ts': NEAR,
      'use.ts': "import { band } from './band.ts'\nvoid [band, navigator.gpu]\n",
      'forgot.ts': "export const x = pattern({ name: 'x', mask: ({ q, kv }) => kv <= q })\n",
    })
    expect(await heddle('build {band,use}.ts --out out', cwd)).toMatchObject({ exit: 0, err: '' })
    expect((await heddle('build use.ts --out out', cwd)).err).toContain("Cannot find name 'navigator'")
    expect((await heddle('build *.ts --out out', cwd)).err).toMatch(
      /^error\[types\]: Cannot find name 'pattern'/,
    )
  })

  it('counts the kernels of a program', async () => {
    const cwd = temporaryFolder({ 'picks.ts': PICKS })
    expect((await heddle('build picks.ts --out out --capability portable,unrolled', cwd)).out).toMatch(
      /^out\/picks\.json {2}d64-f32-unrolled \(\d kernels\), d64-f32-portable \(\d kernels\) {2}/,
    )
    expect((await heddle('build picks.ts --out out --target cuda --cubins none', cwd)).out).toMatch(
      /^out\/picks\.cuda\.json {2}d64-bf16-stages \(\d+ kernels\) {2}/,
    )
  })

  it('passes over what a glob matches beside the patterns', async () => {
    const cwd = temporaryFolder({ 'band.ts': BAND, 'near.ts': NEAR, 'two.ts': TWO })
    const all = await heddle('build *.ts --out out --capability portable', cwd)
    expect(all).toMatchObject({ exit: 0, err: expect.not.stringContaining('error') })
    expect(all.out.match(/^out\/\w+\.json/gm)).toEqual(['out/band.json', 'out/spans.json', 'out/packed.json'])
    expect((await heddle('build *.ts --out out --capability portable', cwd)).out).toBe(
      'band.ts: nothing has changed\ntwo.ts: nothing has changed\n',
    )
    const one = await heddle('build *.ts --out one --capability portable --pattern spans', cwd)
    expect([one.exit, one.out.match(/^one\/\w+\.json/gm)]).toEqual([0, ['one/spans.json']])
    expect(await heddle('build *.ts --out none --pattern spam', cwd)).toMatchObject({
      exit: 2,
      err: expect.stringContaining(
        'error[unknown-pattern]: what was given has no pattern `spam`; it has band, spans, packed\n',
      ),
    })
    expect(await heddle('build near.ts --out out', cwd)).toMatchObject({
      exit: 1,
      err: expect.stringContaining('error[no-pattern]'),
    })
  })

  it('refuses flags that make no sense', async () => {
    const cwd = temporaryFolder(FILES)
    const cases: [string, string][] = [
      ['--target metal', '--target: expected any of wgsl, cuda, got `metal`'],
      ['--head-dim 0', '--head-dim: expected a whole number from 1 to 256, got `0`'],
      ['--head-dim 4096', '--head-dim: expected a whole number from 1 to 256, got `4096`'],
      [
        '--head-dim 64,32 --value-dim 64',
        'error[value-dims]: --value-dim: expected as many lengths as --head-dim has = 2, got 1',
      ],
      ['--dtype bf16', '--dtype: expected any of f32, f16, got `bf16`'],
      ['--capability fast', `--capability: expected any of ${CAPABILITY_NAMES.join(', ')}, got \`fast\``],
      ['--const block', '--const: expected name=value, got `block`'],
      ['--pattern bend', 'error[unknown-pattern]: band.ts has no pattern `bend`; it has band'],
    ]
    for (const [flags, text] of cases) {
      const { exit, err } = await heddle(`build band.ts --out out ${flags}`, cwd)
      expect(exit).toBe(2)
      expect(err).toContain(text)
    }
    expect(fs.existsSync(path.join(cwd, 'out'))).toBe(false)
    fs.writeFileSync(path.join(cwd, 'again.ts'), BAND)
    expect((await heddle('build band.ts again.ts --out out', cwd)).err).toContain(
      'error[same-output]: band.ts and again.ts both hold a pattern `band`',
    )
  })
})

describe('a disk that does not take the files', () => {
  const line = 'build band.ts --out out'

  it('full: leaves what was there, and nothing cut off', async () => {
    const cwd = temporaryFolder(FILES)
    await heddle(line, cwd)
    const before = contentOf(cwd)
    fs.writeFileSync(path.join(cwd, 'band.ts'), BAND.replace('24', '25').replace('kv <= q', 'kv < q'))
    for (const fails of [1, 2, 4]) {
      let writes = 0
      const disk = {
        ...REAL_DISK,
        write: (file: string, bytes: string | Uint8Array) => {
          if (++writes < fails) return REAL_DISK.write(file, bytes)
          fs.writeFileSync(file, bytes.slice(0, 10))
          return failingWith('ENOSPC')()
        },
      }
      const { exit, err } = await heddle(line, cwd, { disk })
      expect(exit).toBe(3)
      expect(err).toMatch(
        /^error\[cannot-write\]: out\/band\.[^:]+: cannot be written: no space is left on the disk; nothing was left half-written\n$/,
      )
      expect(contentOf(cwd)).toEqual(before)
    }
    expect((await heddle(line, cwd)).exit).toBe(0)
    expect(parseArtifact(read(cwd, 'out/band.json')).params[0]!.default).toBe(25)
  })

  it('read-only, or with a file in the way', async () => {
    const cwd = temporaryFolder({ ...FILES, taken: '' })
    const readOnly = { ...REAL_DISK, mkdir: failingWith('EROFS') }
    expect(await heddle(line, cwd, { disk: readOnly })).toMatchObject({
      exit: 3,
      err: expect.stringContaining('the file system is read-only'),
    })
    expect(await heddle('build band.ts --out taken', cwd)).toMatchObject({
      exit: 3,
      err: expect.stringMatching(/cannot be written: (a file is in the way|a part of the path)/),
    })
    expect(await heddle('show band.ts mask --png taken/mask.png', cwd)).toMatchObject({
      exit: 3,
      err: expect.stringContaining('error[cannot-write]'),
    })
  })
})

describe('heddle build --watch', () => {
  const until = async (holds: () => boolean) => {
    for (let i = 0; i < 600 && !holds(); i++) await new Promise((done) => setTimeout(done, 25))
    expect(holds()).toBe(true)
  }

  it('builds what changes, survives errors, and ends with exit code 0', async () => {
    const cwd = temporaryFolder(FILES)
    const stop = new AbortController()
    const io = testIo(cwd, { signal: stop.signal })
    const running = run(
      ['build', 'band.ts', 'two.ts', '--out', 'out', '--watch', '--capability', 'portable'],
      io,
    )
    await until(() => io.text.err.includes('watching 3 files'))
    const built = () => io.text.out.match(/out\/\w+\.json/g) ?? []
    expect(built()).toHaveLength(3)
    fs.writeFileSync(path.join(cwd, 'near.ts'), NEAR.replace('<', '<='))
    await until(() => built().length === 4)
    fs.writeFileSync(path.join(cwd, 'band.ts'), BAND.replace('kv <= q &&', 'kv / 2 <= q &&'))
    await until(() => io.text.err.includes('error[index-division]'))
    fs.writeFileSync(path.join(cwd, 'band.ts'), BAND)
    await until(() => io.text.err.match(/watching/g)!.length >= 4)
    fs.rmSync(path.join(cwd, 'two.ts'))
    await until(() => io.text.err.includes('error[file-missing]'))
    fs.writeFileSync(path.join(cwd, 'two.ts'), TWO.replace('i32(16', 'i32(17'))
    await until(() => built().length === 6)
    stop.abort()
    expect(await running).toBe(0)
    expect(parseArtifact(read(cwd, 'out/spans.json')).params[0]!.default).toBe(17)
  })
})
