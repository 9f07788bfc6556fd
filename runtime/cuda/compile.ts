/** A variant's text in, a cubin for the device out: from the cache on disk, else from NVRTC, else from nvcc. */

import { HeddleError } from '../messages.ts'
import { CubinCache } from './cache.ts'
import { archOf, type Capability } from './cubin.ts'
import type { ModuleSource } from './driver.ts'
import type { Native } from './native.ts'
import { findNvcc } from './nvcc.ts'
import { findNvrtc, type CubinCompiler } from './nvrtc.ts'

export interface CompilerOptions {
  /** Where compiled cubins are kept; see cubinCacheFolder(). */
  readonly cacheFolder?: string
  /** Of this process by default: HEDDLE_NVRTC, CUDA_HOME, PATH. */
  readonly env?: NodeJS.ProcessEnv
}

export class Compilers {
  readonly #native: Native
  readonly #env: NodeJS.ProcessEnv
  readonly #cache: CubinCache
  #found: CubinCompiler | { readonly tried: readonly string[] } | null = null

  constructor(native: Native, { cacheFolder, env = process.env }: CompilerOptions) {
    this.#native = native
    this.#env = env
    this.#cache = new CubinCache(cacheFolder)
  }

  /** Of the compiler that was used, if one was. */
  get versions(): Readonly<Record<string, string>> {
    return this.#found && 'name' in this.#found ? { 'CUDA compiler': this.#found.name } : {}
  }

  #find(): CubinCompiler | { readonly tried: readonly string[] } {
    if (this.#found) return this.#found
    const nvrtc = findNvrtc(this.#native, this.#env)
    if ('name' in nvrtc) return (this.#found = nvrtc)
    const nvcc = findNvcc(this.#env)
    return (this.#found = 'name' in nvcc ? nvcc : { tried: [...nvrtc.tried, ...nvcc.tried] })
  }

  async compile(source: ModuleSource, capability: Capability): Promise<Uint8Array> {
    const { pattern, id, code, hash, suffix, cubins } = source
    const arch = archOf(capability, suffix)
    const compiler = this.#find()
    if ('tried' in compiler) {
      const present = cubins.map((c) => c.arch)
      throw new HeddleError('no-cuda-compiler', {
        pattern,
        variant: id,
        arch,
        present,
        tried: compiler.tried,
      })
    }
    const key = { hash, arch, compiler: compiler.name }
    const kept = this.#cache.read(key)
    if (kept) return kept
    const made = await compiler.compile(code, `${pattern}.${id}.cu`, arch)
    if ('log' in made) {
      const log = withSource(made.log, code)
      throw new HeddleError('cuda-compile', { pattern, variant: id, compiler: compiler.name, log })
    }
    this.#cache.write(key, made)
    return made
  }
}

const MOST_LINES = 60

/** The compiler's log, and under each line that names one of the text's, that line of the text. */
export function withSource(log: string, code: string): string {
  const text = code.split('\n')
  const lines = log.split('\n')
  const shown = lines.slice(0, MOST_LINES).flatMap((line, i) => {
    const number = Number(
      /\.cu\((\d+)\)|line (\d+)/
        .exec(line)
        ?.slice(1)
        .find((n) => n) ?? Number.NaN,
    )
    const source = text[number - 1]
    // The front end shows the line itself, the assembler does not.
    const known = source === undefined || lines[i + 1]?.includes(source.trim())
    return known ? [line] : [line, `${String(number).padStart(6)} | ${source}`]
  })
  const left = lines.length - MOST_LINES
  return [...shown, ...(left > 0 ? [`.. and ${left} lines more`] : [])].join('\n')
}
