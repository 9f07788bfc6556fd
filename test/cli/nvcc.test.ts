import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { CudaVariant } from '../../codegen/cuda/manifest.ts'
import { CubinMaker, runsOn } from '../../runtime/cli/cubins.ts'
import { CliError, EXIT } from '../../runtime/cli/messages.ts'
import {
  checkArchs,
  compileCubin,
  findNvcc,
  flagsFor,
  miscompiles,
  placesOf,
} from '../../runtime/cli/nvcc.ts'
import { readPtxas } from '../../runtime/cli/ptxas.ts'
import { fakeNvcc, REPORT, SPILLING, type FakeNvcc } from './fake-nvcc.ts'
import { filesIn, temporaryFolder } from './helpers.ts'

const errorOf = async (run: () => unknown): Promise<CliError> => {
  try {
    await run()
  } catch (error) {
    if (error instanceof CliError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const variantOf = (id: string, more: Partial<CudaVariant> = {}): CudaVariant => ({
  id,
  skeleton: 'ampere',
  headDim: 64,
  valueDim: 64,
  dtype: 'bf16',
  capability: { min: 80, max: 129 },
  suffix: '',
  needs: { vectors: false, qRows: null, pages: false },
  pays: null,
  debug: false,
  tile: { q: 64, kv: 64 },
  units: 1,
  entries: [],
  splits: null,
  workspace: { counters: 0, list: 0, scratch: 0 },
  hash: '',
  code: `// ${id}\nint x;\n`,
  cubins: [],
  ...more,
})
const HOPPER = variantOf('d64-bf16-hopper', { capability: { min: 90, max: 90 }, suffix: 'a' })
const AMPERE = variantOf('d64-bf16-ampere')

describe('what ptxas says', () => {
  it('is read entry by entry, in the order of their names', () => {
    expect(readPtxas(REPORT)).toEqual({
      entries: [
        { entry: 'attend', registers: 168, spillBytes: 0, stackBytes: 0 },
        { entry: 'combine', registers: 32, spillBytes: 0, stackBytes: 0 },
      ],
      remarks: [],
    })
    expect(readPtxas(SPILLING).entries[0]).toEqual({
      entry: 'attend',
      registers: 168,
      spillBytes: 64,
      stackBytes: 24,
    })
    expect(readPtxas('')).toEqual({ entries: [], remarks: [] })
  })

  it('counts functions that were not inlined to the entry before them, and keeps losses of speed', () => {
    const report = `ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry.
ptxas info    : Compiling entry function 'attend' for 'sm_90a'
ptxas info    : Function properties for attend
    8 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 8256 bytes cumulative stack size
ptxas info    : Function properties for _Z6helperfPf
    16 bytes stack frame, 2 bytes spill stores, 1 bytes spill loads
`
    expect(readPtxas(report)).toEqual({
      entries: [{ entry: 'attend', registers: 32, spillBytes: 7, stackBytes: 16 }],
      remarks: [
        "(C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry.",
      ],
    })
  })
})

describe('nvcc', () => {
  it('is looked for where it may lie, and HEDDLE_NVCC alone counts where it is set', async () => {
    const [one, two] = [temporaryFolder(), temporaryFolder()]
    const [first, second] = [fakeNvcc(one), fakeNvcc(two, { release: '12.4, V12.4.131' })]
    expect(placesOf({ PATH: '/a:/b', CUDA_HOME: '/c', CUDA_PATH: '/d' }, '/e')).toEqual([
      '/a/nvcc',
      '/b/nvcc',
      '/c/bin/nvcc',
      '/d/bin/nvcc',
      '/e/nvcc',
    ])
    expect(await findNvcc(first.env)).toMatchObject({ path: first.program, versionText: '13.0.88' })
    expect(await findNvcc({ PATH: process.env.PATH, HEDDLE_NVCC: second.program })).toMatchObject({
      path: second.program,
      versionText: '12.4.131',
    })
    expect(await findNvcc({ PATH: '/nowhere', CUDA_HOME: two })).toMatchObject({ path: second.program })
    expect(await findNvcc({ PATH: '/nowhere' }, path.dirname(first.program))).toMatchObject({
      path: first.program,
    })
    expect(await findNvcc({ PATH: '/nowhere' }, '/nowhere/else')).toBe(null)
    expect(await findNvcc({ ...first.env, HEDDLE_NVCC: '' })).toBe(null)
    // A folder of that name is no program.
    fs.mkdirSync(path.join(one, 'odd/nvcc'), { recursive: true })
    expect(await findNvcc({ PATH: path.join(one, 'odd') }, '/nowhere')).toBe(null)
  })

  it('that is named and is none, or that does not answer, is an error of the machine', async () => {
    const folder = temporaryFolder({ mute: '#!/bin/sh\necho cannot start >&2\nexit 4\n' })
    fs.chmodSync(path.join(folder, 'mute'), 0o755)
    expect(await errorOf(() => findNvcc({ HEDDLE_NVCC: '/nowhere/nvcc' }))).toMatchObject({
      code: 'nvcc-broken',
      exit: EXIT.machine,
      message: '/nowhere/nvcc cannot compile here: there is no such program',
    })
    const mute = path.join(folder, 'mute')
    expect((await errorOf(() => findNvcc({ HEDDLE_NVCC: mute }))).message).toBe(
      `${mute} cannot compile here: cannot start`,
    )
  })

  it('that is too old for an arch is refused with both versions', async () => {
    const folder = temporaryFolder()
    const nvcc = (await findNvcc(fakeNvcc(folder, { release: '11.8, V11.8.89' }).env))!
    expect(() => checkArchs(nvcc, ['sm_80', 'sm_86', 'sm_89'])).not.toThrow()
    expect(await errorOf(() => checkArchs(nvcc, ['sm_80', 'sm_90a']))).toMatchObject({
      code: 'nvcc-old',
      exit: EXIT.machine,
      message: `${nvcc.path} is of version 11.8.89; kernels for sm_90a need 12.0 or later`,
    })
  })

  it.each([
    ['12.6, V12.6.85', false],
    ['12.8, V12.8.61', true],
    ['12.9, V12.9.86', true],
    ['12.9, V12.9.90', false],
    ['13.0, V13.0.88', false],
  ])('%s is known to miscompile: %s', async (release, bad) => {
    const nvcc = (await findNvcc(fakeNvcc(temporaryFolder(), { release }).env))!
    expect([miscompiles(nvcc, 'sm_90a'), miscompiles(nvcc, 'sm_80')]).toEqual([bad, false])
  })

  it('is told the arch and asked for a report', () => {
    expect(flagsFor('sm_90a').join(' ')).toBe(
      '-std=c++17 -gencode=arch=compute_90a,code=sm_90a -cubin -Xptxas -v',
    )
    expect(flagsFor('sm_80')).toContain('-gencode=arch=compute_80,code=sm_80')
  })
})

describe('a kernel that nvcc does not compile', () => {
  const failing = async (fake: FakeNvcc, code = 'int a;\nint x = y;\n') => {
    const folder = temporaryFolder()
    const nvcc = (await findNvcc(fakeNvcc(folder, fake).env))!
    return errorOf(() => compileCubin(nvcc, 'band d64-bf16-hopper', code, 'sm_90a'))
  }

  it('is our bug: told with pattern, variant, arch and the line of the text, which is kept', async () => {
    const error = await failing({
      failure: 'kernel.cu(2): error: identifier "y" is undefined\n  int x = y;\n',
    })
    expect(error).toMatchObject({
      code: 'nvcc-failed',
      exit: EXIT.bug,
      message:
        'nvcc 13.0.88 refuses the kernel band d64-bf16-hopper for sm_90a: line 2: identifier "y" is undefined\n  2 | int x = y;',
    })
    const kept = /please report it with (\S+\.cu);/.exec(error.hint!)![1]!
    expect(fs.readFileSync(kept, 'utf8')).toBe(
      'int a;\nint x = y;\n\n// kernel.cu(2): error: identifier "y" is undefined\n//   int x = y;\n',
    )
    fs.rmSync(kept)
  })

  it('also when ptxas is the one to refuse', async () => {
    const error = await failing({
      failure:
        "ptxas /tmp/tmpxft-6_k3.ptx, line 31; error   : Unknown modifier '.bar'\nptxas error   : Entry function 'attend' uses too much shared data (0x40000 bytes)\nptxas fatal   : Ptx assembly aborted due to errors\n",
    })
    expect(error.exit).toBe(EXIT.bug)
    expect(error.message).toContain(
      "ptxas: Unknown modifier '.bar'\nptxas: Entry function 'attend' uses too much shared data",
    )
    fs.rmSync(/with (\S+\.cu);/.exec(error.hint!)![1]!)
  })

  it('is the fault of the machine where nvcc says so', async () => {
    const gcc = await failing({
      failure: 'gcc: No such file or directory\nnvcc fatal   : Failed to preprocess.\n',
    })
    expect(gcc).toMatchObject({ code: 'nvcc-broken', exit: EXIT.machine })
    expect(gcc.message).toMatch(/cannot compile here: gcc: No such file or directory$/)
    expect((await failing({ failure: '' })).message).toMatch(/cannot compile here: .+/)
    expect(
      await failing({ failure: "nvcc fatal   : Unsupported gpu architecture 'compute_90a'\n" }),
    ).toMatchObject({ code: 'nvcc-old', exit: EXIT.machine })
  })

  it('leaves no folder behind', async () => {
    const before = fs.readdirSync(tmpdir()).filter((f) => f.startsWith('heddle-nvcc-'))
    await failing({ failure: 'gcc: No such file or directory\n' })
    const after = fs.readdirSync(tmpdir()).filter((f) => f.startsWith('heddle-nvcc-'))
    expect(after.filter((f) => !before.includes(f) && !f.endsWith('.cu'))).toEqual([])
  })
})

describe('cubins', () => {
  it('are for every arch that runs the text', () => {
    const archs = ['sm_80', 'sm_86', 'sm_89', 'sm_90a'] as const
    expect(archs.filter((a) => runsOn(HOPPER, a))).toEqual(['sm_90a'])
    expect(archs.filter((a) => runsOn(AMPERE, a))).toEqual(archs)
    expect(runsOn({ capability: { min: 80, max: 80 }, suffix: '' }, 'sm_86')).toBe(false)
  })

  const maker = async (folder: string, fake: FakeNvcc = {}) => {
    const { env, compiled } = fakeNvcc(folder, fake)
    return { maker: new CubinMaker((await findNvcc(env))!), compiled }
  }
  const artifact = { pattern: 'band', stages: null, variants: [HOPPER, AMPERE] }

  it('are made of each variant and arch, and recorded with what ptxas says', async () => {
    const folder = temporaryFolder()
    const { maker: one, compiled } = await maker(folder)
    const made = await one.make(artifact, ['sm_80', 'sm_90a'])
    expect(made.map((c) => c.record.file)).toEqual([
      'band.d64-bf16-hopper.sm_90a.cubin',
      'band.d64-bf16-ampere.sm_80.cubin',
      'band.d64-bf16-ampere.sm_90a.cubin',
    ])
    expect(made[0]!.record).toEqual({
      arch: 'sm_90a',
      file: 'band.d64-bf16-hopper.sm_90a.cubin',
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      resources: [
        { entry: 'attend', registers: 168, spillBytes: 0 },
        { entry: 'combine', registers: 32, spillBytes: 0 },
      ],
    })
    expect(Buffer.from(made[0]!.bytes).toString()).toContain(HOPPER.code)
    expect(made.flatMap((c) => c.remarks)).toEqual([])
    expect(compiled()).toHaveLength(3)
  })

  it('come out of the cache with the same bytes and report, unless text, arch or nvcc differ', async () => {
    const folder = temporaryFolder()
    const { maker: one, compiled } = await maker(folder)
    const made = await one.make(artifact, ['sm_80'])
    const again = await (await maker(folder)).maker.make(artifact, ['sm_80'])
    expect(again.map(({ record, bytes }) => [record, Buffer.from(bytes).toString()])).toEqual(
      made.map(({ record, bytes }) => [record, Buffer.from(bytes).toString()]),
    )
    expect(compiled()).toHaveLength(1)
    await (await maker(folder)).maker.make(artifact, ['sm_80', 'sm_89'])
    expect(compiled()).toHaveLength(2)
    const other = { pattern: 'band', stages: null, variants: [{ ...AMPERE, code: '// other\n' }] }
    await (await maker(folder)).maker.make(other, ['sm_80'])
    expect(compiled()).toHaveLength(3)
    await (await maker(folder, { release: '13.1, V13.1.20' })).maker.make(other, ['sm_80'])
    expect(compiled()).toHaveLength(4)
  })

  it('are made again when the cache has something else', async () => {
    const folder = temporaryFolder()
    const { maker: one, compiled } = await maker(folder)
    const [made] = await one.make(artifact, ['sm_80'])
    const [entry] = filesIn(path.join(folder, 'cache'))
    const file = path.join(folder, 'cache', entry!)
    for (const bad of ['', 'nonsense', fs.readFileSync(file).subarray(0, 90)]) {
      fs.writeFileSync(file, bad)
      const [again] = await one.make(artifact, ['sm_80'])
      expect(again!.record).toEqual(made!.record)
    }
    expect(compiled()).toHaveLength(4)
    // A cache that cannot be written is no reason to fail.
    fs.rmSync(path.join(folder, 'cache'), { recursive: true })
    fs.writeFileSync(path.join(folder, 'cache'), 'a file in the way')
    expect(await one.make(artifact, ['sm_80'])).toHaveLength(1)
  })

  it('tell what spills, by pattern, variant, arch and bytes', async () => {
    const fake = { report: SPILLING, when: 'grep -q ampere kernel.cu' }
    const { maker: one } = await maker(temporaryFolder(), fake)
    const made = await one.make(artifact, ['sm_90a'])
    expect(made.map((c) => c.remarks)).toEqual([
      [],
      ['warning: band d64-bf16-ampere sm_90a: entry attend spills 64 bytes of registers'],
    ])
    expect(made[1]!.record.resources[0]).toEqual({ entry: 'attend', registers: 168, spillBytes: 64 })
  })

  it('tell of local memory, of lost speed and of a compiler that miscompiles', async () => {
    const report = `ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized\n${REPORT.replace('0 bytes stack frame', '128 bytes stack frame')}`
    const { maker: one } = await maker(temporaryFolder(), { report, release: '12.9, V12.9.41' })
    const [hopper, ampere] = await one.make(artifact, ['sm_80', 'sm_90a'])
    expect(hopper!.remarks).toEqual([
      'warning: band d64-bf16-hopper sm_90a: nvcc 12.9.41 is known to miscompile kernels of this kind; releases before 12.8 and after 12.9.1 are not',
      "warning: band d64-bf16-hopper sm_90a: entry combine keeps 128 bytes of a thread's variables in local memory",
      'warning: band d64-bf16-hopper sm_90a: ptxas says (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized',
    ])
    expect(ampere!.remarks).toHaveLength(2)
  })

  it('fail together only after all have ended', async () => {
    const fake = { failure: 'kernel.cu(1): error: no\n', when: 'grep -q hopper kernel.cu' }
    const { maker: one, compiled } = await maker(temporaryFolder(), fake)
    const error = await errorOf(() => one.make(artifact, ['sm_80', 'sm_90a']))
    expect(error.message).toContain('refuses the kernel band d64-bf16-hopper for sm_90a')
    expect(compiled()).toHaveLength(3)
    fs.rmSync(/with (\S+\.cu);/.exec(error.hint!)![1]!)
  })
})

const real = await findNvcc(process.env)
describe.skipIf(!real)('the nvcc of this machine', () => {
  const code = 'extern "C" __global__ void attend(float* p) { p[threadIdx.x] += 1.0f; }\n'

  it.each(['sm_80', 'sm_86', 'sm_89', 'sm_90a'] as const)(
    'compiles for %s, the same bytes each time',
    async (arch) => {
      const [a, b] = [
        await compileCubin(real!, 'one', code, arch),
        await compileCubin(real!, 'two', code, arch),
      ]
      expect(Buffer.from(a.cubin).subarray(1, 4).toString()).toBe('ELF')
      expect(Buffer.from(b.cubin).equals(Buffer.from(a.cubin))).toBe(true)
      expect(readPtxas(a.report).entries).toEqual([
        { entry: 'attend', registers: expect.any(Number), spillBytes: 0, stackBytes: 0 },
      ])
    },
  )

  it('has its errors mapped to lines', async () => {
    const error = await errorOf(() => compileCubin(real!, 'band x', `${code}int x = y;\n`, 'sm_80'))
    expect(error).toMatchObject({ code: 'nvcc-failed' })
    expect(error.message).toMatch(/line 2: identifier "y" is undefined\n {2}2 \| int x = y;/)
    fs.rmSync(/with (\S+\.cu);/.exec(error.hint!)![1]!)
  })
})
