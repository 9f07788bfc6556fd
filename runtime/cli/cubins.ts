/** A CUDA artefact and archs in; the cubin of each variant that an arch can run, out of the cache or of nvcc, out. */

import { availableParallelism } from 'node:os'
import type { Arch, Cubin, CudaArtifact, CudaVariant } from '../../codegen/cuda/manifest.ts'
import { CubinCache, cubinCacheFolder } from '../cuda/cache.ts'
import { textsOf, type CudaText } from './cuda-texts.ts'
import { note } from './messages.ts'
import { ARCHS, compileCubin, flagsFor, miscompiles, type Compiled, type Nvcc } from './nvcc.ts'
import { readPtxas } from './ptxas.ts'
import { sha256 } from './version.ts'

export interface BuiltCubin {
  readonly variant: string
  readonly record: Cubin
  readonly bytes: Uint8Array
  /** Of this run; next to nothing where the cache had it. */
  readonly ms: number
  /** What a reader of the build should know: spills, losses of speed. */
  readonly remarks: readonly string[]
}

/** Whether a variant's text is one for the arch: wgmma needs the arch's own suffix, everything else runs on later archs too. */
export function runsOn(
  { capability, suffix }: Pick<CudaVariant, 'capability' | 'suffix'>,
  arch: Arch,
): boolean {
  const given = ARCHS[arch]
  return (
    capability.min <= given.capability &&
    given.capability <= capability.max &&
    (suffix === '' || suffix === given.suffix)
  )
}

/** Compiles as many kernels at a time as there are cores, over all patterns of a build. */
export class CubinMaker {
  readonly #nvcc: Nvcc
  readonly #cache: CubinCache
  readonly #waiting: (() => void)[] = []
  #free = availableParallelism()

  constructor(nvcc: Nvcc, cache = new CubinCache(cubinCacheFolder(nvcc.env))) {
    this.#nvcc = nvcc
    this.#cache = cache
  }

  async make(
    artifact: Pick<CudaArtifact, 'pattern' | 'variants' | 'stages'>,
    archs: readonly Arch[],
  ): Promise<BuiltCubin[]> {
    const jobs = textsOf(artifact).flatMap((variant) =>
      archs.filter((arch) => runsOn(variant, arch)).map((arch) => ({ variant, arch })),
    )
    const settled = await Promise.allSettled(
      jobs.map(({ variant, arch }) => this.#inTurn(() => this.#one(artifact.pattern, variant, arch))),
    )
    // All have ended: a kernel that failed leaves no other running behind it.
    return settled.map((s) => {
      if (s.status === 'rejected') throw s.reason
      return s.value
    })
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((go) => this.#waiting.push(go))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }

  async #one(pattern: string, variant: CudaText, arch: Arch): Promise<BuiltCubin> {
    const started = performance.now()
    // What is kept is the report too, so the flags, which ask for it, are a part of the compiler's name.
    const compiler = [`nvcc ${this.#nvcc.versionText}`, ...flagsFor(arch)].join(' ')
    const key = { hash: sha256(variant.code), arch, compiler }
    const known = unpack(this.#cache.read(key))
    const made = known ?? (await compileCubin(this.#nvcc, `${pattern} ${variant.id}`, variant.code, arch))
    if (!known) this.#cache.write(key, pack(made))
    const { entries, remarks } = readPtxas(made.report)
    const kernel = `${pattern} ${variant.id} ${arch}`
    const spills = entries.filter((e) => e.spillBytes > 0)
    const stacks = entries.filter((e) => e.spillBytes === 0 && e.stackBytes > 0)
    return {
      variant: variant.id,
      bytes: made.cubin,
      ms: performance.now() - started,
      record: {
        arch,
        file: `${pattern}.${variant.id}.${arch}.cubin`,
        sha256: sha256(made.cubin),
        resources: entries.map(({ entry, registers, spillBytes }) => ({ entry, registers, spillBytes })),
      },
      remarks: [
        ...(miscompiles(this.#nvcc, arch)
          ? [note('nvcc-miscompiles', { kernel, version: this.#nvcc.versionText })]
          : []),
        ...spills.map(({ entry, spillBytes }) => note('spill', { kernel, entry, bytes: spillBytes })),
        ...stacks.map(({ entry, stackBytes }) => note('stack', { kernel, entry, bytes: stackBytes })),
        ...remarks.map((said) => note('ptxas-remark', { kernel, said })),
      ],
    }
  }
}

/** One file of the cache: the report's length in four bytes, the report, the cubin. */
function pack({ cubin, report }: Compiled): Uint8Array {
  const text = Buffer.from(report)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return Buffer.concat([length, text, cubin])
}

function unpack(bytes: Uint8Array | null): Compiled | null {
  if (bytes === null || bytes.length < 4) return null
  const buffer = Buffer.from(bytes)
  const end = 4 + buffer.readUInt32LE(0)
  return { report: buffer.toString('utf8', 4, end), cubin: buffer.subarray(end) }
}
