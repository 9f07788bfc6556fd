/** Libraries of emulated kernels: a .cu text in, a shared library from the host's C++ compiler out, kept in the user's cache. */

import { execFile, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HeddleError } from '../../messages.ts'
import { cacheRoot } from '../../swiftshader.ts'

export interface LibraryOptions {
  /** Where libraries are kept; HEDDLE_CACHE_DIR or the user's cache by default. */
  readonly cacheFolder?: string
  /** Of this process by default: CXX, PATH, HEDDLE_CACHE_DIR. */
  readonly env?: NodeJS.ProcessEnv
  /** After the standard ones: ['-g', '-O1', '-fsanitize=undefined']. */
  readonly flags?: readonly string[]
}

/** A text, and how messages call it. */
export interface LibrarySource {
  readonly pattern: string
  readonly id: string
  readonly code: string
}

/** All headers; the first is the one that texts are compiled behind. */
const HEADERS = [
  'emulation',
  'async',
  'barriers',
  'block',
  'boxes',
  'device',
  'faults',
  'fiber',
  'groups',
  'halves',
  'hopper',
  'launch',
  'matrices',
  'memory',
  'products',
  'state',
].map((name) => `${name}.h`)
// nodelete: a signal handler of the library stays installed.
const LINKED = ['-shared', '-fPIC', '-pthread', '-Wl,-Bsymbolic', '-Wl,-z,nodelete']
const FLAGS = process.platform === 'darwin' ? LINKED.slice(0, 3) : LINKED
const MOST_LINES = 60

/** Beside this file, or in the package's sources where this file was compiled away from them. */
function headerFolder(): string {
  const folders = ['./', '../../../../runtime/cuda/emulation/'].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  )
  return folders.find((folder) => existsSync(join(folder, HEADERS[0]!))) ?? folders[0]!
}

interface Result {
  /** Null: the command did not start. */
  readonly status: number | null
  readonly text: string
}

const run = (command: readonly string[], env: NodeJS.ProcessEnv, cwd?: string): Promise<Result> =>
  new Promise((resolve) => {
    const options = { env, cwd, maxBuffer: 64 << 20 }
    execFile(command[0]!, command.slice(1), options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code
      resolve({ status: typeof code === 'number' ? code : null, text: `${stdout}${stderr}`.trim() })
    })
  })

export class LibraryBuilder {
  /** The compiler with its version. */
  readonly compiler: string
  readonly #command: readonly string[]
  readonly #env: NodeJS.ProcessEnv
  readonly #folder: string
  readonly #headers: string

  private constructor(command: readonly string[], compiler: string, options: LibraryOptions) {
    this.compiler = compiler
    this.#env = options.env ?? process.env
    this.#folder =
      options.cacheFolder ?? join(this.#env.HEDDLE_CACHE_DIR || cacheRoot(this.#env), 'emulation')
    this.#headers = headerFolder()
    const included = ['-include', join(this.#headers, HEADERS[0]!)]
    const language = ['-std=c++17', '-O2', '-g1', '-x', 'c++', '-DHEDDLE_EMULATED']
    this.#command = [...command, ...language, ...FLAGS, ...(options.flags ?? []), ...included]
  }

  /** @throws HeddleError `no-emulation` where there is no C++ compiler */
  static async find(options: LibraryOptions = {}): Promise<LibraryBuilder> {
    const env = options.env ?? process.env
    const command = (env.CXX || 'g++').split(' ').filter((word) => word !== '')
    const { status, text } = await run([...command, '--version'], env)
    if (status !== 0) {
      const what = env.CXX ? 'CXX names' : 'PATH has'
      throw new HeddleError('no-emulation', {
        detail: `${what} no C++ compiler: \`${command.join(' ')} --version\` ${status === null ? 'does not start' : 'fails'}`,
      })
    }
    return new LibraryBuilder(command, text.split('\n')[0]!, options)
  }

  /**
   * The library's path; it is compiled unless it lies in the cache. Any number of processes may do so at once: each
   * compiles in a folder of its own and renames the file into place, and who comes second puts the same file there.
   * @throws HeddleError `cuda-compile` with the compiler's words
   */
  async build({ pattern, id, code }: LibrarySource): Promise<string> {
    const hash = createHash('sha256').update(JSON.stringify([this.compiler, this.#command, process.arch]))
    for (const header of HEADERS) hash.update(readFileSync(join(this.#headers, header)))
    const name = `${pattern}.${id}`.replaceAll(/[^\w.-]/g, '_')
    const library = join(this.#folder, `${name}-${hash.update(code).digest('hex').slice(0, 24)}.so`)
    if (existsSync(library)) return library
    await mkdir(this.#folder, { recursive: true })
    const work = await mkdtemp(join(this.#folder, 'compiling-'))
    try {
      await writeFile(join(work, `${name}.cu`), code)
      const made = await run([...this.#command, `${name}.cu`, '-o', 'out.so'], this.#env, work)
      if (made.status !== 0) {
        const log = made.text.split('\n').slice(0, MOST_LINES).join('\n')
        throw new HeddleError('cuda-compile', { pattern, variant: id, compiler: this.compiler, log })
      }
      await rename(join(work, 'out.so'), library)
    } finally {
      await rm(work, { recursive: true, force: true })
    }
    return library
  }
}

/** The line of the .cu text that made the code at an offset of its library; null where that cannot be known. */
export function lineOf(library: string, offset: string): number | null {
  const { status, stdout } = spawnSync('addr2line', ['-i', '-e', library, offset], {
    encoding: 'utf8',
    timeout: 30_000,
  })
  // Innermost first: what the headers are called from is the text's own line.
  const line = status === 0 ? /\.cu:(\d+)/.exec(stdout)?.[1] : undefined
  return line === undefined ? null : Number(line)
}
