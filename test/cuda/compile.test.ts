/** From a variant's text to a cubin: the choice of a cubin, the compilers, their errors, and the cache on disk. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import type { Arch, Cubin } from '../../codegen/cuda/manifest.ts'
import { CubinCache, cubinCacheFolder } from '../../runtime/cuda/cache.ts'
import { Compilers, withSource } from '../../runtime/cuda/compile.ts'
import { archOf, cubinFor } from '../../runtime/cuda/cubin.ts'
import type { ModuleSource } from '../../runtime/cuda/driver.ts'
import { loadNative } from '../../runtime/cuda/native.ts'
import { findNvcc } from '../../runtime/cuda/nvcc.ts'
import { findNvrtc, nvrtcPlaces } from '../../runtime/cuda/nvrtc.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { arrayAt, fakeNative, pointerTo, type Functions } from './fake-native.ts'

const home = mkdtempSync(join(tmpdir(), 'heddle-cuda-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
let folders = 0
const folder = () => {
  const path = join(home, String(folders++))
  mkdirSync(path)
  return path
}

const source = (more: Partial<ModuleSource> = {}): ModuleSource => ({
  pattern: 'causal',
  id: 'd64-bf16-ampere',
  code: 'line one\nline two\n',
  hash: 'aa',
  suffix: '',
  entries: [],
  cubins: [],
  readCubin: () => null,
  ...more,
})

const AMPERE = { major: 8, minor: 6 }
const nothing = { PATH: '/nowhere', CUDA_HOME: '/nowhere' }

const refusal = async (promise: Promise<unknown>): Promise<HeddleError> => {
  const error: unknown = await promise.then(
    () => new Error('it was accepted'),
    (e: unknown) => e,
  )
  if (error instanceof HeddleError) return error
  throw error
}

describe('a cubin', () => {
  const bytes = (arch: string) => new TextEncoder().encode(arch)
  const cubin = (arch: Arch): Cubin => ({
    arch,
    file: arch,
    sha256: createHash('sha256').update(bytes(arch)).digest('hex'),
    resources: [],
  })
  const all = { cubins: (['sm_80', 'sm_86', 'sm_89', 'sm_90a'] as const).map(cubin), readCubin: bytes }

  test.each([
    [8, 0, 'sm_80'],
    [8, 6, 'sm_86'],
    [8, 7, 'sm_86'],
    [8, 9, 'sm_89'],
    [9, 0, 'sm_90a'],
    [10, 0, null],
  ] as const)('for %i.%i is %s', (major, minor, arch) => {
    const found = cubinFor(all, { major, minor })
    expect(found && new TextDecoder().decode(found)).toBe(arch)
  })

  test('whose file is gone makes way for the next', () => {
    const readCubin = (file: string) => (file === 'sm_86' ? null : bytes(file))
    expect(new TextDecoder().decode(cubinFor({ ...all, readCubin }, AMPERE)!)).toBe('sm_80')
  })

  test('is compiled for the device itself, with the suffix that its instructions need', () => {
    expect(archOf({ major: 9, minor: 0 }, 'a')).toBe('sm_90a')
    expect(archOf({ major: 9, minor: 0 }, '')).toBe('sm_90')
    expect(archOf({ major: 12, minor: 0 }, '')).toBe('sm_120')
  })
})

/** An NVRTC that answers every text in the same way. */
function nvrtc(status: number, answer: string): Functions & { readonly options: string[][] } {
  const options: string[][] = []
  const data = new TextEncoder().encode(answer)
  const give = (to: Uint8Array) => {
    to.set(data)
    return 0
  }
  const size = (to: BigUint64Array) => {
    to[0] = BigInt(data.length)
    return 0
  }
  const functions: Functions = {
    nvrtcVersion: (major: Int32Array, minor: Int32Array) => {
      ;[major[0], minor[0]] = [13, 1]
      return 0
    },
    nvrtcCreateProgram: () => 0,
    nvrtcCompileProgram: (_: bigint, count: number, pointers: BigUint64Array) => {
      options.push([...pointers.slice(0, count)].map((p) => Buffer.from(arrayAt(p)).toString().slice(0, -1)))
      return status
    },
    nvrtcGetCUBINSize: (_: bigint, to: BigUint64Array) => size(to),
    nvrtcGetCUBIN: (_: bigint, to: Uint8Array) => give(to),
    nvrtcGetProgramLogSize: (_: bigint, to: BigUint64Array) => size(to),
    nvrtcGetProgramLog: (_: bigint, to: Uint8Array) => give(to),
    nvrtcDestroyProgram: () => 0,
    nvrtcGetErrorString: () => pointerTo('NVRTC_ERROR_COMPILATION'),
  }
  return Object.assign(functions, { options })
}

describe('compiling', () => {
  test('asks NVRTC for the device, and keeps what it made', async () => {
    const library = nvrtc(0, 'the cubin')
    const native = fakeNative({ 'libnvrtc.so.12': library })
    const compilers = new Compilers(native, { cacheFolder: folder(), env: nothing })
    const compile = async () => new TextDecoder().decode(await compilers.compile(source(), AMPERE))
    expect([await compile(), await compile()]).toEqual(['the cubin', 'the cubin'])
    expect(library.options).toEqual([['--gpu-architecture=sm_86', '--std=c++17']])
    expect(native.asked).toEqual(['libnvrtc.so.13', 'libnvrtc.so.12'])
    expect(compilers.versions).toEqual({ 'CUDA compiler': 'NVRTC 13.1' })
  })

  test('a text that does not compile gives the log with pattern, variant and lines', async () => {
    const native = fakeNative({ mine: nvrtc(6, 'causal.d64-bf16-ampere.cu(2): error: something\n\0') })
    const compilers = new Compilers(native, { cacheFolder: folder(), env: { HEDDLE_NVRTC: 'mine' } })
    const error = await refusal(compilers.compile(source(), AMPERE))
    expect(error.code).toBe('cuda-compile')
    expect(error.blame).toBe('heddle')
    expect(error.message).toBe(
      'NVRTC 13.1 does not compile the variant d64-bf16-ampere of causal:\n' +
        'causal.d64-bf16-ampere.cu(2): error: something\n     2 | line two',
    )
  })

  test('a failure without a log gives its name', async () => {
    const native = fakeNative({ mine: nvrtc(6, '') })
    const compilers = new Compilers(native, { cacheFolder: folder(), env: { HEDDLE_NVRTC: 'mine' } })
    expect((await refusal(compilers.compile(source(), AMPERE))).message).toContain('NVRTC_ERROR_COMPILATION')
  })

  test('without NVRTC takes nvcc, whose log is shown too', async () => {
    const bin = folder()
    const script = `#!/bin/sh
if [ "$1" = --version ]; then echo 'Cuda compilation tools, release 13.0, V13.0.88'; exit 0; fi
case "$*" in *sm_80*) echo "$*" > out.cubin;; *) echo 'x.cu(1): error: bad'; exit 2;; esac
`
    writeFileSync(join(bin, 'nvcc'), script)
    chmodSync(join(bin, 'nvcc'), 0o755)
    const env = { PATH: `${bin}:/bin:/usr/bin`, CUDA_HOME: '/nowhere', HEDDLE_NVRTC: '/nowhere/libnvrtc.so' }
    const compilers = new Compilers(fakeNative({}), { cacheFolder: folder(), env })
    const cubin = await compilers.compile(source(), { major: 8, minor: 0 })
    expect(new TextDecoder().decode(cubin)).toBe(
      '-std=c++17 -gencode=arch=compute_80,code=sm_80 -cubin -o out.cubin causal.d64-bf16-ampere.cu\n',
    )
    const error = await refusal(compilers.compile(source(), AMPERE))
    expect(error.message).toContain('nvcc 13.0.88 does not compile')
    expect(error.message).toContain('x.cu(1): error: bad\n     1 | line one')
  })

  test('with neither of them is refused, naming both, the device and the cubins that are there', async () => {
    const compilers = new Compilers(fakeNative({}), {
      cacheFolder: folder(),
      env: { ...nothing, HEDDLE_NVRTC: 'mine' },
    })
    const cubins = [{ arch: 'sm_90a', file: 'x', sha256: '', resources: [] }] as const
    const error = await refusal(compilers.compile(source({ cubins }), AMPERE))
    expect(error.code).toBe('no-cuda-compiler')
    for (const word of ['no cubin for sm_86', 'it has sm_90a', 'NVRTC', 'nvcc', 'looked for mine'])
      expect(error.message).toContain(word)
  })
})

test('NVRTC is looked for by name, in toolkits, and in the packages of a Python', () => {
  const [toolkit, packages, bin] = [folder(), folder(), folder()]
  for (const path of [join(toolkit, 'lib64'), join(packages, 'nvidia/cu13/lib')]) {
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'libnvrtc.so.13'), '')
  }
  writeFileSync(join(bin, 'python3'), `#!/bin/sh\necho '${packages}'\n`)
  chmodSync(join(bin, 'python3'), 0o755)
  const places = [...nvrtcPlaces({ PATH: `${bin}:/bin`, CUDA_HOME: toolkit })]
  expect(places.slice(0, 4)).toEqual([
    'libnvrtc.so.13',
    'libnvrtc.so.12',
    'libnvrtc.so',
    join(toolkit, 'lib64/libnvrtc.so.13'),
  ])
  expect(places.at(-1)).toBe(join(packages, 'nvidia/cu13/lib/libnvrtc.so.13'))
  expect([...nvrtcPlaces({ HEDDLE_NVRTC: '/mine.so' })]).toEqual(['/mine.so'])
})

test('a long log is cut off, and the assembler is shown its lines', () => {
  const log = Array.from({ length: 100 }, (_, i) => `note ${i}`).join('\n')
  expect(withSource(log, '').split('\n').at(-1)).toBe('.. and 40 lines more')
  expect(withSource('ptxas a.ptx, line 1; error', 'first')).toBe('ptxas a.ptx, line 1; error\n     1 | first')
  expect(withSource('a.cu(1): error\n  first', 'first')).toBe('a.cu(1): error\n  first')
})

describe('the cache', () => {
  const key = { hash: 'aa', arch: 'sm_90a', compiler: 'NVRTC 13.1' }
  const data = Uint8Array.of(5, 6, 7)

  test('lies where HEDDLE_CACHE_DIR says, else with the user', () => {
    expect(cubinCacheFolder({ HEDDLE_CACHE_DIR: '/mine' })).toBe('/mine/cuda')
    expect(cubinCacheFolder({ XDG_CACHE_HOME: '/cache' })).toBe('/cache/heddle/cuda')
    expect(cubinCacheFolder({ HOME: '/home/me' })).toBe('/home/me/.cache/heddle/cuda')
  })

  test('gives back what was written, under its own key alone', () => {
    const cache = new CubinCache(join(folder(), 'not/there/yet'))
    expect(cache.read(key)).toBeNull()
    cache.write(key, data)
    expect(cache.read(key)).toEqual(Buffer.from(data))
    for (const other of [{ hash: 'ab' }, { arch: 'sm_90' }, { compiler: 'NVRTC 13.2' }])
      expect(cache.read({ ...key, ...other })).toBeNull()
    expect(readdirSync(cache.folder)).toHaveLength(1)
  })

  test.each<[string, (entry: Buffer) => Uint8Array]>([
    ['changed', (e) => (e.writeUInt8(e.at(-1)! ^ 1, e.length - 1), e)],
    ['cut off', (e) => e.subarray(0, -1)],
    ['empty', () => new Uint8Array(0)],
    ['something else', () => new Uint8Array(200)],
  ])('an entry that was %s is compiled again', async (_, change) => {
    const library = nvrtc(0, 'the cubin')
    const cacheFolder = folder()
    const make = () =>
      new Compilers(fakeNative({ mine: library }), { cacheFolder, env: { HEDDLE_NVRTC: 'mine' } }).compile(
        source(),
        AMPERE,
      )
    await make()
    const [file] = readdirSync(cacheFolder)
    const path = join(cacheFolder, file!)
    writeFileSync(path, change(readFileSync(path)))
    expect(new TextDecoder().decode(await make())).toBe('the cubin')
    expect(library.options).toHaveLength(2)
    await make()
    expect(library.options).toHaveLength(2)
  })

  test('a folder that cannot be written is no error', async () => {
    const file = join(folder(), 'file')
    writeFileSync(file, '')
    const options = { cacheFolder: join(file, 'below'), env: { HEDDLE_NVRTC: 'mine' } }
    const compilers = new Compilers(fakeNative({ mine: nvrtc(0, 'the cubin') }), options)
    expect(await compilers.compile(source(), AMPERE)).toHaveLength(9)
  })

  test('processes that write and read one entry at once see it whole or not at all', async () => {
    const path = folder()
    const module = fileURLToPath(new URL('../../runtime/cuda/cache.ts', import.meta.url))
    const script = `import { CubinCache } from ${JSON.stringify(module)}
      const cache = new CubinCache(${JSON.stringify(path)})
      const key = { hash: 'aa', arch: 'sm_90a', compiler: 'c' }
      let bad = 0
      for (let i = 0; i < 60; i++) {
        cache.write(key, new Uint8Array(300000).fill(Number(process.argv[1])))
        const got = cache.read(key)
        if (got === null || got.length !== 300000 || got.some((x) => x !== got[0])) bad++
      }
      process.exit(bad === 0 ? 0 : 1)`
    const run = (i: number) =>
      new Promise<number | null>((resolve) => {
        const tsx = ['--import', 'tsx', '--input-type=module', '-e', script, String(i)]
        const child = spawn(process.execPath, tsx, {
          stdio: 'inherit',
          cwd: fileURLToPath(new URL('../..', import.meta.url)),
        })
        child.on('close', resolve)
      })
    expect(await Promise.all([1, 2, 3].map(run))).toEqual([0, 0, 0])
    expect(readdirSync(path)).toHaveLength(1)
  })
})

const KERNEL = `extern "C" __global__ void __launch_bounds__(32) f(float* p) { p[threadIdx.x] = 1.0f; }\n`
const real = await (async () => {
  const nvrtcFound = findNvrtc(await loadNative())
  const nvccFound = findNvcc()
  return [nvrtcFound, nvccFound].flatMap((c) => ('name' in c ? [c] : []))
})()

describe.skipIf(real.length === 0).each(real.map((c) => [c.name, c] as const))('%s', (_, compiler) => {
  test.each(['sm_80', 'sm_90a'])('makes a cubin for %s', async (arch) => {
    const cubin = await compiler.compile(KERNEL, 'a.d64.cu', arch)
    if ('log' in cubin) throw new Error(cubin.log)
    expect(Buffer.from(cubin.subarray(0, 4)).toString('latin1')).toBe('\u007fELF')
  })

  test('says where a text is wrong', async () => {
    const made = await compiler.compile(
      `${KERNEL}extern "C" __global__ void g() { nothing(); }\n`,
      'a.d64.cu',
      'sm_80',
    )
    expect('log' in made && made.log).toContain('a.d64.cu(2): error: identifier "nothing" is undefined')
  })
})
