/** NVIDIA's compiler: where it lies and which one it is; a kernel's text in, a cubin and ptxas' report out. */

import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import type { Arch } from '../../codegen/cuda/manifest.ts'
import { CliError } from './messages.ts'

type Environment = Readonly<Record<string, string | undefined>>
type Version = readonly [major: number, minor: number, build: number]

export interface Nvcc {
  readonly path: string
  readonly version: Version
  /** `13.0.88`. */
  readonly versionText: string
  readonly env: Environment
}

export interface Compiled {
  readonly cubin: Uint8Array
  /** What ptxas said. */
  readonly report: string
}

/** What the text is compiled for; the first release of nvcc whose PTX has the instructions of the skeletons. */
export const ARCHS: Readonly<
  Record<Arch, { readonly capability: number; readonly suffix: '' | 'a'; readonly since: Version }>
> = {
  sm_80: { capability: 80, suffix: '', since: [11, 4, 0] },
  sm_86: { capability: 86, suffix: '', since: [11, 4, 0] },
  sm_89: { capability: 89, suffix: '', since: [11, 8, 0] },
  sm_90a: { capability: 90, suffix: 'a', since: [12, 0, 0] },
}
export const ARCH_NAMES = Object.keys(ARCHS) as Arch[]

/** Releases whose ptxas is known to compile warp-specialised wgmma kernels wrongly: 12.8.0 to 12.9.1. */
const MISCOMPILES: readonly [from: Version, to: Version] = [
  [12, 8, 0],
  [12, 9, 86],
]

const USUAL_PLACE = '/usr/local/cuda/bin'
const FILE = 'kernel.cu'

/** Everything nvcc is told; it is a part of what cubins are cached by. */
export const flagsFor = (arch: Arch): readonly string[] => [
  '-std=c++17',
  `-gencode=arch=${arch.replace('sm_', 'compute_')},code=${arch}`,
  '-cubin',
  '-Xptxas',
  '-v',
]

/** Where nvcc is looked for, in order; HEDDLE_NVCC alone where it is set, and nowhere where it is empty. */
export function placesOf(env: Environment, usual: string = USUAL_PLACE): string[] {
  const { HEDDLE_NVCC: chosen, PATH = '', CUDA_HOME, CUDA_PATH } = env
  if (chosen !== undefined) return chosen === '' ? [] : [chosen]
  const program = process.platform === 'win32' ? 'nvcc.exe' : 'nvcc'
  const homes = [CUDA_HOME, CUDA_PATH].filter(Boolean).map((home) => path.join(home!, 'bin'))
  const folders = [...PATH.split(path.delimiter).filter(Boolean), ...homes, usual]
  return [...new Set(folders)].map((folder) => path.join(folder, program))
}

/** The nvcc of this machine, or null; one that is named and is not there is an error. */
export async function findNvcc(env: Environment, usual?: string): Promise<Nvcc | null> {
  const found = placesOf(env, usual).find(isProgram)
  if (found === undefined) {
    if (env.HEDDLE_NVCC)
      throw new CliError('nvcc-broken', { path: env.HEDDLE_NVCC, why: 'there is no such program' })
    return null
  }
  const { status, said } = await execute(found, ['--version'], env, tmpdir())
  const match = /release (\d+)\.(\d+)(?:, V\d+\.\d+\.(\d+))?/.exec(said)
  if (status !== 0 || !match) throw new CliError('nvcc-broken', { path: found, why: firstLine(said) })
  const version = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)] as const
  return { path: found, version, versionText: version.join('.'), env }
}

function isProgram(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK)
    return fs.statSync(file).isFile()
  } catch {
    return false
  }
}

/** An arch that this nvcc is too old for ends the build, before anything is compiled. */
export function checkArchs({ path, version, versionText }: Nvcc, archs: readonly Arch[]): void {
  for (const arch of archs) {
    const { since } = ARCHS[arch]
    if (compare(version, since) < 0)
      throw new CliError('nvcc-old', { path, version: versionText, arch, since: since.slice(0, 2).join('.') })
  }
}

export const miscompiles = ({ version }: Nvcc, arch: Arch): boolean =>
  arch === 'sm_90a' && compare(version, MISCOMPILES[0]) >= 0 && compare(version, MISCOMPILES[1]) <= 0

const compare = (a: Version, b: Version): number => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]

/** @param name the kernel's, for messages: pattern and variant */
export async function compileCubin(nvcc: Nvcc, name: string, code: string, arch: Arch): Promise<Compiled> {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'heddle-nvcc-'))
  try {
    fs.writeFileSync(path.join(folder, FILE), code)
    const output = path.join(folder, 'kernel.cubin')
    const args = [...flagsFor(arch), '-o', output, FILE]
    // Its own temporary files lie in the folder too, so that nothing is left behind whatever becomes of it.
    const { status, said } = await execute(nvcc.path, args, { ...nvcc.env, TMPDIR: folder }, folder)
    if (status === 0 && fs.existsSync(output)) return { cubin: fs.readFileSync(output), report: said }
    throw failure(nvcc, name, code, arch, status, said.replaceAll(`${folder}/`, ''))
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** Errors in the text are ours; anything else that stops nvcc is the machine's. */
function failure(
  nvcc: Nvcc,
  name: string,
  code: string,
  arch: Arch,
  status: number | string,
  said: string,
): CliError {
  const { path: program, versionText: version } = nvcc
  if (/Unsupported gpu architecture/.test(said))
    return new CliError('nvcc-old', {
      path: program,
      version,
      arch,
      since: ARCHS[arch].since.slice(0, 2).join('.'),
    })
  const errors = errorsIn(said, code)
  if (errors === null) {
    const why =
      firstLine(said) ||
      (typeof status === 'number' ? `it ended with ${status}` : `it was ended by ${status}`)
    return new CliError('nvcc-broken', { path: program, why })
  }
  return new CliError('nvcc-failed', { kernel: name, arch, version, errors, where: keepText(code, said) })
}

/** Each error with its line of the text; null if nvcc complains of something else. */
function errorsIn(said: string, code: string): string | null {
  const source = code.split('\n')
  const found: string[] = []
  for (const line of said.split(/\r?\n/)) {
    const [, at, what] = /^kernel\.cu\((\d+)\): (?:catastrophic )?error\S*\s*:?\s*(.*)$/.exec(line) ?? []
    if (at !== undefined) found.push(`line ${at}: ${what}\n  ${at} | ${source[Number(at) - 1]?.trim() ?? ''}`)
    const [, assembler] = /^ptxas .*?\berror\s*:\s*(.*)$/.exec(line) ?? []
    if (assembler !== undefined) found.push(`ptxas: ${assembler}`)
  }
  return found.length === 0 ? null : found.slice(0, 3).join('\n')
}

/** What helps whoever mends the bug: the text and all that nvcc said. */
function keepText(code: string, said: string): string {
  const file = path.join(tmpdir(), `heddle-nvcc-${process.pid}.cu`)
  const remark = said
    .trimEnd()
    .split('\n')
    .map((line) => `// ${line}`)
    .join('\n')
  try {
    fs.writeFileSync(file, `${code}\n${remark}\n`)
    return file
  } catch {
    return ''
  }
}

const firstLine = (text: string): string => text.trim().split(/\r?\n/)[0]!.trim()

/** Never rejects: what a program says and how it ended, a number, a signal or a system's code. */
function execute(
  program: string,
  args: readonly string[],
  env: Environment,
  cwd: string,
): Promise<{ readonly status: number | string; readonly said: string }> {
  return new Promise((resolve) => {
    execFile(
      program,
      [...args],
      { cwd, env: { ...env }, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 },
      (error, out, err) => {
        const status = error === null ? 0 : (error.signal ?? error.code ?? 1)
        const said = err + out
        resolve({ status, said: said.trim() === '' && error ? error.message : said })
      },
    )
  })
}
