/** NVRTC, the compiler library of the CUDA toolkit: where it lies, and CUDA C++ text in, a cubin or the compiler's log out. */

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { inBackground, type Native, type NativeLibrary } from './native.ts'

/** A compiler that turns text into a cubin; both of them fail with the log alone. */
export interface CubinCompiler {
  /** With its version. */
  readonly name: string
  compile(code: string, file: string, arch: string): Promise<Uint8Array | { readonly log: string }>
}

const NAMES: readonly string[] = ['libnvrtc.so.13', 'libnvrtc.so.12', 'libnvrtc.so']
/** Where the wheels of nvidia-cuda-nvrtc put it, below a folder of sys.path. */
const WHEELS: readonly string[] = ['nvidia/cu13/lib', 'nvidia/cuda_nvrtc/lib']

/** Where the toolkit was installed: as the environment says, else where it usually is. */
export const toolkitHome = (env: NodeJS.ProcessEnv): string =>
  env.CUDA_HOME || env.CUDA_PATH || '/usr/local/cuda'

/** Paths and names for the loader, in order of preference; the last ones only once the others have failed. */
export function* nvrtcPlaces(env: NodeJS.ProcessEnv = process.env): Generator<string> {
  if (env.HEDDLE_NVRTC) {
    yield env.HEDDLE_NVRTC
    return
  }
  yield* NAMES
  const folder = join(toolkitHome(env), 'lib64')
  yield* NAMES.map((name) => join(folder, name)).filter(existsSync)
  const found = pythonPath(env).flatMap((path) => WHEELS.map((wheel) => join(path, wheel)))
  yield* found.flatMap((folder) => NAMES.map((name) => join(folder, name))).filter(existsSync)
}

function pythonPath(env: NodeJS.ProcessEnv): string[] {
  for (const python of ['python3', 'python']) {
    const { status, stdout } = spawnSync(python, ['-c', 'import sys; print("\\n".join(sys.path))'], {
      env,
      encoding: 'utf8',
      timeout: 10_000,
    })
    if (status === 0) return stdout.split('\n').filter((line) => line !== '')
  }
  return []
}

/** The first that loads, or what was tried. */
export function findNvrtc(
  native: Native,
  env: NodeJS.ProcessEnv = process.env,
): CubinCompiler | { readonly tried: readonly string[] } {
  const tried: string[] = []
  for (const place of nvrtcPlaces(env)) {
    tried.push(place)
    try {
      const library = native.load(place)
      loadBuiltins(native, dirname(place))
      return new Nvrtc(native, library)
    } catch {
      // Not there, or not a library: the next one may be.
    }
  }
  return { tried }
}

/** Libraries that nothing here calls: what is collected is unloaded. */
const pinned: NativeLibrary[] = []

/** NVRTC opens its second library by its bare name when it first compiles, which finds one that is loaded already. */
function loadBuiltins(native: Native, folder: string): void {
  if (folder === '.') return
  for (const name of readdirSync(folder).filter((file) => /^libnvrtc-builtins\.so\.[\d.]+$/.test(file)))
    pinned.push(native.load(join(folder, name)))
}

const P = 'void *'
const terminated = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`)

class Nvrtc implements CubinCompiler {
  readonly name: string
  readonly #native: Native
  readonly #library: NativeLibrary

  constructor(native: Native, library: NativeLibrary) {
    this.#native = native
    this.#library = library
    const [major, minor] = [new Int32Array(1), new Int32Array(1)]
    this.#call('nvrtcVersion', [P, P], major, minor)
    this.name = `NVRTC ${major[0]}.${minor[0]}`
  }

  #call(name: string, types: string[], ...args: unknown[]): number {
    return Number(this.#library.func(name, 'int', types)(...args))
  }

  #bytes(sizeName: string, name: string, program: bigint): Uint8Array {
    const size = new BigUint64Array(1)
    if (this.#call(sizeName, [P, P], program, size) !== 0) return new Uint8Array(0)
    const bytes = new Uint8Array(Number(size[0]))
    return this.#call(name, [P, P], program, bytes) === 0 ? bytes : new Uint8Array(0)
  }

  async compile(code: string, file: string, arch: string): Promise<Uint8Array | { readonly log: string }> {
    const handle = new BigUint64Array(1)
    const create = ['nvrtcCreateProgram', [P, P, P, 'int', P, P]] as const
    const made = this.#call(
      create[0],
      [...create[1]],
      handle,
      terminated(code),
      terminated(file),
      0,
      null,
      null,
    )
    if (made !== 0) return { log: `nvrtcCreateProgram: ${this.#error(made)}` }
    const program = handle[0]!
    try {
      const options = [`--gpu-architecture=${arch}`, '--std=c++17'].map(terminated)
      const pointers = BigUint64Array.from(options, (o) => this.#native.address(o))
      const compile = this.#library.func('nvrtcCompileProgram', 'int', [P, 'int', P])
      const status = Number(await inBackground(compile, program, options.length, pointers))
      if (status === 0) {
        const cubin = this.#bytes('nvrtcGetCUBINSize', 'nvrtcGetCUBIN', program)
        if (cubin.length > 0) return cubin
      }
      const log = new TextDecoder().decode(
        this.#bytes('nvrtcGetProgramLogSize', 'nvrtcGetProgramLog', program),
      )
      const said = log.replaceAll('\0', '').trim()
      return { log: said === '' ? this.#error(status) : said }
    } finally {
      this.#call('nvrtcDestroyProgram', [P], handle)
    }
  }

  #error(status: number): string {
    const pointer = this.#library.func('nvrtcGetErrorString', P, ['int'])(status)
    return typeof pointer === 'bigint' && pointer !== 0n ? this.#native.text(pointer) : `error ${status}`
  }
}
