import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { SKELETONS } from '../../codegen/cuda/emit.ts'
import type { CudaArtifact } from '../../codegen/cuda/manifest.ts'
import type { BuildRow } from '../../runtime/cli/cache.ts'
import type { Io } from '../../runtime/cli/io.ts'
import { findNvcc } from '../../runtime/cli/nvcc.ts'
import { run } from '../../runtime/cli/run.ts'
import { parseCudaArtifact } from '../../runtime/cuda.ts'
import { sha256 } from '../../runtime/cli/version.ts'
import { fakeNvcc, SPILLING, type FakeNvcc } from './fake-nvcc.ts'
import { BAND, NEAR, TWO } from './fixtures.ts'
import { failingWith, filesIn, temporaryFolder, testIo } from './helpers.ts'
import { REAL_DISK } from '../../runtime/cli/io.ts'

const FILES = { 'band.ts': BAND, 'near.ts': NEAR, 'two.ts': TWO }
const NOTE =
  'note: no nvcc was found, so there are no cubins: whoever loads the kernels compiles their text with NVRTC on first use, which takes seconds\n'

async function heddle(line: string, cwd: string, more: Partial<Io> = {}) {
  const io = testIo(cwd, more)
  const exit = await run(line.split(' ').filter(Boolean), io)
  return { exit, ...io.text }
}
/** A folder with pattern files and an nvcc. */
function place(fake: FakeNvcc = {}) {
  const cwd = temporaryFolder(FILES)
  const { env, compiled } = fakeNvcc(path.join(cwd, 'cuda'), fake)
  return { cwd, more: { env }, compiled, again: (other: FakeNvcc) => fakeNvcc(path.join(cwd, 'cuda'), other) }
}
const outOf = (cwd: string) => filesIn(path.join(cwd, 'out')).filter((f) => !f.startsWith('.'))
const bytesOf = (cwd: string) =>
  filesIn(path.join(cwd, 'out')).map((f) => [f, sha256(fs.readFileSync(path.join(cwd, 'out', f)))])
const manifestOf = (cwd: string, pattern = 'band'): CudaArtifact =>
  parseCudaArtifact(fs.readFileSync(path.join(cwd, `out/${pattern}.cuda.json`), 'utf8'))

const LINE = 'build band.ts --target cuda --out out --skeleton ampere'

describe('heddle build --target cuda', () => {
  it('without nvcc writes manifest and texts, and says what that means', async () => {
    const cwd = temporaryFolder(FILES)
    const { exit, out, err } = await heddle(`${LINE} --head-dim 64,128 --dtype bf16,f16`, cwd)
    expect([exit, err]).toEqual([0, NOTE])
    expect(out).toMatch(
      /^out\/band\.cuda\.json {2}d64-bf16-ampere, .*d128-f16-ampere {2}[\d.]+ KiB of cuda {2}[\d.]+ ms {2}tiles by ranges\n$/,
    )
    const ids = ['d128-bf16', 'd128-f16', 'd64-bf16', 'd64-f16']
    expect(outOf(cwd)).toEqual(['band.cuda.json', ...ids.map((id) => `band.${id}-ampere.cu`)])
    const { variants, target, pattern } = manifestOf(cwd)
    expect([target, pattern]).toEqual(['cuda', 'band'])
    for (const v of variants) {
      expect(fs.readFileSync(path.join(cwd, `out/band.${v.id}.cu`), 'utf8')).toBe(v.code)
      expect(v.cubins).toEqual([])
      // NVRTC compiles it as it is.
      expect(v.code).not.toContain('#include')
    }
    expect((await heddle(`${LINE} --cubins none`, cwd)).err).toBe('')
    expect((await heddle(LINE, temporaryFolder(FILES))).exit).toBe(0)
  })

  it('with nvcc writes a cubin for each variant and arch, and what ptxas says of it into the manifest', async () => {
    const { cwd, more, compiled } = place()
    const { exit, out, err } = await heddle(`${LINE} --json`, cwd, more)
    expect([exit, err]).toEqual([0, ''])
    expect(outOf(cwd)).toEqual([
      'band.cuda.json',
      'band.d64-bf16-ampere.cu',
      'band.d64-bf16-ampere.sm_80.cubin',
      'band.d64-bf16-ampere.sm_90a.cubin',
    ])
    expect(compiled().map((line) => line.split(' ')[1])).toEqual(
      expect.arrayContaining([
        '-gencode=arch=compute_80,code=sm_80',
        '-gencode=arch=compute_90a,code=sm_90a',
      ]),
    )
    const [variant] = manifestOf(cwd).variants
    expect(variant!.cubins).toEqual(
      ['sm_80', 'sm_90a'].map((arch) => ({
        arch,
        file: `band.d64-bf16-ampere.${arch}.cubin`,
        sha256: sha256(fs.readFileSync(path.join(cwd, `out/band.d64-bf16-ampere.${arch}.cubin`))),
        resources: [
          { entry: 'attend', registers: 168, spillBytes: 0 },
          { entry: 'combine', registers: 32, spillBytes: 0 },
        ],
      })),
    )
    const row = { pattern: 'band', target: 'cuda', variant: 'd64-bf16-ampere', tiles: 'ranges' }
    const measured = { bytes: expect.any(Number), compileMs: expect.any(Number) }
    const expected = [
      { ...row, ...measured, file: 'out/band.d64-bf16-ampere.cu' },
      ...['sm_80', 'sm_90a'].map((arch) => ({
        ...row,
        ...measured,
        file: `out/band.d64-bf16-ampere.${arch}.cubin`,
        arch,
        registers: 168,
        spillBytes: 0,
      })),
    ]
    expect(JSON.parse(out)).toEqual(expected)
    expect((await heddle(LINE.replace('--out out', '--out other'), cwd, more)).out).toMatch(
      /ms {2}2 cubins for sm_80, sm_90a in \d+\.\d s {2}tiles by ranges\n$/,
    )
  })

  it('builds every skeleton that an arch runs, hopper for sm_90a alone', async () => {
    const { cwd, more } = place()
    expect((await heddle('build band.ts --target cuda --out out', cwd, more)).exit).toBe(0)
    const { variants } = manifestOf(cwd)
    expect(variants.map((v) => v.skeleton)).toEqual(
      SKELETONS.filter((s) => s.walks === 'mask').map((s) => s.name),
    )
    for (const v of variants)
      expect(v.cubins.map((c) => c.arch)).toEqual(v.skeleton === 'hopper' ? ['sm_90a'] : ['sm_80', 'sm_90a'])
    await heddle('build band.ts --target cuda --out out --arch sm_80', cwd, more)
    expect(manifestOf(cwd).variants.map((v) => v.skeleton)).toEqual(['decode', 'ampere'])
  })

  it('gives the same bytes for the same sources, wherever they lie', async () => {
    const [first, second] = [place(), place()]
    for (const { cwd, more } of [first, second]) expect((await heddle(LINE, cwd, more)).exit).toBe(0)
    expect(bytesOf(second.cwd)).toEqual(bytesOf(first.cwd))
  })

  it('builds again what changed: a source, an arch, an output, nvcc; and nothing else', async () => {
    const { cwd, more, compiled, again } = place()
    const build = async (line = LINE) => (await heddle(line, cwd, more)).out
    await build()
    const before = bytesOf(cwd)
    expect(await build()).toBe('band.ts: nothing has changed\n')
    expect([bytesOf(cwd), compiled().length]).toEqual([before, 2])
    fs.rmSync(path.join(cwd, 'out/band.d64-bf16-ampere.sm_80.cubin'))
    // The cubin comes out of the user's cache.
    expect(await build()).toContain('out/band.cuda.json')
    expect([bytesOf(cwd), compiled().length]).toEqual([before, 2])
    expect(await build(`${LINE} --arch sm_89`)).toContain('1 cubins for sm_89')
    expect(outOf(cwd)).toEqual([
      'band.cuda.json',
      'band.d64-bf16-ampere.cu',
      'band.d64-bf16-ampere.sm_89.cubin',
    ])
    await build(`${LINE} --arch sm_89`)
    expect(compiled()).toHaveLength(3)
    fs.writeFileSync(path.join(cwd, 'near.ts'), NEAR.replace('<', '<='))
    expect(await build(`${LINE} --arch sm_89`)).toContain('out/band.cuda.json')
    expect(compiled()).toHaveLength(4)
    again({ release: '13.1, V13.1.20' })
    expect(await build(`${LINE} --arch sm_89`)).toContain('out/band.cuda.json')
    expect(compiled()).toHaveLength(5)
  })

  it('stands beside the build of another target in one folder', async () => {
    const cwd = temporaryFolder(FILES)
    const wgsl = 'build band.ts --out out --capability portable'
    await heddle(wgsl, cwd)
    await heddle(LINE, cwd)
    expect(outOf(cwd)).toEqual([
      'band.cuda.json',
      'band.d.ts',
      'band.d64-bf16-ampere.cu',
      'band.d64-f32-portable.wgsl',
      'band.json',
      'band.ts',
    ])
    for (const line of [wgsl, LINE])
      expect((await heddle(line, cwd)).out).toBe('band.ts: nothing has changed\n')
  })

  it('warns of what spills, also when nothing has changed', async () => {
    const { cwd, more } = place({ report: SPILLING })
    const warnings = ['sm_80', 'sm_90a']
      .map((arch) => `warning: band d64-bf16-ampere ${arch}: entry attend spills 64 bytes of registers\n`)
      .join('')
    expect(await heddle(LINE, cwd, more)).toMatchObject({ exit: 0, err: warnings })
    expect(await heddle(LINE, cwd, more)).toMatchObject({ exit: 0, err: warnings })
    const rows: BuildRow[] = JSON.parse((await heddle(`${LINE} --json`, cwd, more)).out)
    expect(rows.map((r) => r.spillBytes)).toEqual([undefined, 64, 64])
    expect(rows[1]!.remarks).toEqual([warnings.split('\n')[0]])
    expect(manifestOf(cwd).variants[0]!.cubins[0]!.resources[0]!.spillBytes).toBe(64)
  })

  it('tells a kernel that nvcc refuses as our bug, leaves nothing cut off, and builds the other files', async () => {
    const { cwd, more } = place({
      failure: 'kernel.cu(3): error: identifier "y" is undefined\n',
      when: 'grep -q "^// band:" kernel.cu',
    })
    const { exit, err } = await heddle(LINE.replace('band.ts', 'band.ts two.ts'), cwd, more)
    expect(exit).toBe(70)
    expect(err).toMatch(
      /^error\[nvcc-failed\]: nvcc 13\.0\.88 refuses the kernel band d64-bf16-ampere for sm_\w+: line 3: identifier "y" is undefined\n {2}3 \| \/\/.*\n/m,
    )
    fs.rmSync(/please report it with (\S+\.cu);/.exec(err)![1]!)
    expect(outOf(cwd).filter((f) => f.startsWith('band'))).toEqual([])
    expect(outOf(cwd)).toEqual(expect.arrayContaining(['packed.cuda.json', 'spans.cuda.json']))
  })

  it('ends with 3 where nvcc is needed and is not there, is broken, or is too old', async () => {
    const cwd = temporaryFolder(FILES)
    expect(await heddle(`${LINE} --cubins need`, cwd)).toMatchObject({
      exit: 3,
      err: expect.stringMatching(
        /^error\[no-nvcc\]: no nvcc was found; looked at none\nhint: install the CUDA toolkit/,
      ),
    })
    expect(await heddle(LINE, cwd, { env: { HEDDLE_NVCC: '/nowhere/nvcc' } })).toMatchObject({
      exit: 3,
      err: expect.stringContaining(
        'error[nvcc-broken]: /nowhere/nvcc cannot compile here: there is no such program',
      ),
    })
    const old = place({ release: '11.8, V11.8.89' })
    expect(await heddle(LINE, old.cwd, old.more)).toMatchObject({
      exit: 3,
      err: expect.stringMatching(
        /^error\[nvcc-old\]: \S+ is of version 11\.8\.89; kernels for sm_90a need 12\.0 or later\n/,
      ),
    })
    expect(await heddle(`${LINE} --arch sm_80`, old.cwd, old.more)).toMatchObject({ exit: 0 })
    const broken = place({ failure: 'gcc: No such file or directory\n' })
    expect(await heddle(LINE, broken.cwd, broken.more)).toMatchObject({
      exit: 3,
      err: expect.stringContaining('error[nvcc-broken]'),
    })
    expect(fs.existsSync(path.join(cwd, 'out'))).toBe(false)
  })

  it('refuses flags that make no sense', async () => {
    const cwd = temporaryFolder(FILES)
    const all = SKELETONS.map((s) => s.name).join(', ')
    const cases: [string, string][] = [
      ['--target cuda --arch sm_70', '--arch: expected any of sm_80, sm_86, sm_89, sm_90a, got `sm_70`'],
      ['--target cuda --arch sm_90', '--arch: expected any of sm_80, sm_86, sm_89, sm_90a, got `sm_90`'],
      ['--target cuda --dtype f32', '--dtype: expected any of bf16, f16, got `f32`'],
      ['--target cuda --skeleton volta', `--skeleton: expected any of ${all}, got \`volta\``],
      ['--target cuda --cubins maybe', '--cubins: expected any of auto, need, none, got `maybe`'],
      ['--target cuda --head-dim 257', '--head-dim: expected a whole number from 1 to 256, got `257`'],
      [
        '--target cuda --capability portable',
        'error[flag-target]: --capability is a flag of --target wgsl; this is --target cuda\n',
      ],
      ['--arch sm_80', 'error[flag-target]: --arch is a flag of --target cuda; this is --target wgsl\n'],
      ['--debug', 'error[flag-target]: --debug is a flag of --target cuda; this is --target wgsl\n'],
      ['--autotune', 'error[flag-target]: --autotune is a flag of --target cuda'],
      ['--target wgsl --skeleton ampere', 'error[flag-target]: --skeleton is a flag of --target cuda'],
    ]
    for (const [flags, text] of cases) {
      const { exit, err } = await heddle(`build band.ts --out out ${flags}`, cwd)
      expect([exit, err]).toEqual([2, expect.stringContaining(text)])
    }
    expect(fs.existsSync(path.join(cwd, 'out'))).toBe(false)
  })

  it.skipIf(!SKELETONS.some((s) => s.name === 'hopper'))('refuses a skeleton that no arch runs', async () => {
    const { exit, err } = await heddle(
      'build band.ts --out out --target cuda --skeleton hopper --arch sm_80,sm_89',
      temporaryFolder(FILES),
    )
    expect(exit).toBe(2)
    expect(err).toContain(
      'error[skeleton-arch]: --skeleton hopper runs on sm_90a; --arch names sm_80, sm_89 alone\n',
    )
  })

  it('a disk that is full leaves what was there', async () => {
    const { cwd, more } = place()
    await heddle(LINE, cwd, more)
    const before = bytesOf(cwd)
    fs.writeFileSync(path.join(cwd, 'near.ts'), NEAR.replace('<', '<='))
    for (const fails of [1, 2, 4]) {
      let writes = 0
      const disk = {
        ...REAL_DISK,
        write: (file: string, bytes: string | Uint8Array) =>
          ++writes < fails ? REAL_DISK.write(file, bytes) : failingWith('ENOSPC')(),
      }
      expect(await heddle(LINE, cwd, { ...more, disk })).toMatchObject({
        exit: 3,
        err: expect.stringContaining('no space is left on the disk'),
      })
      expect(bytesOf(cwd)).toEqual(before)
    }
  })
})

const real = await findNvcc(process.env)
describe.skipIf(!real)('the nvcc of this machine', () => {
  it('compiles a kernel for each arch in time', { timeout: 120_000 }, async () => {
    const cwd = temporaryFolder(FILES)
    const more = { env: { ...process.env, HEDDLE_CACHE_DIR: path.join(cwd, 'cache') } }
    const { exit, out, err } = await heddle(`${LINE} --json`, cwd, more)
    expect(exit, err).toBe(0)
    const rows: BuildRow[] = JSON.parse(out)
    expect(rows.map((r) => r.arch)).toEqual([undefined, 'sm_80', 'sm_90a'])
    for (const r of rows.slice(1)) {
      expect(fs.readFileSync(path.join(cwd, r.file)).toString('latin1', 1, 4)).toBe('ELF')
      expect(r.registers).toBeGreaterThan(0)
      expect(r.compileMs).toBeLessThan(20_000)
    }
  })
})
