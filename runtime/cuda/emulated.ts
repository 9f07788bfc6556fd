/** The CUDA driver without a GPU: kernel texts run on the CPU, lane by lane, behind the emulation's headers. */

import { HeddleError } from '../messages.ts'
import type {
  Address,
  CudaDriver,
  CudaEvent,
  CudaFunction,
  CudaModule,
  Launch,
  ModuleSource,
  Stream,
  TensorMapSpec,
} from './driver.ts'
import { bind, inLines, type Library } from './emulation/bindings.ts'
import { LibraryBuilder, type LibraryOptions } from './emulation/library.ts'
import { mapBytes, mapFault } from './emulation/maps.ts'
import { loadNative, type Native } from './native.ts'

export interface EmulationOptions extends LibraryOptions {
  /** 8.0 by default; 9.0 has barriers in shared memory, tensor maps, warpgroup products, and more shared memory. */
  readonly capability?: CudaDriver['capability']
  /** What kernels' grids and splits are sized by; the host's cores do the work. 8 by default. */
  readonly multiprocessors?: number
  /** Of warps and lanes between barriers: 0 ascending, 1 descending, else the seed of a random one. */
  readonly order?: number
  /** Host threads, one per core by default. */
  readonly threads?: number
  /** After which a launch fails; 300 by default. */
  readonly seconds?: number
  /** Loads libraries; the optional package koffi by default. */
  readonly native?: Native
}

/** Of one launch; the first two count what whole warps do. */
export interface LaunchStatistics {
  readonly multiplyAdds: number
  readonly matrixLoads: number
  /** Cycles that matrix loads take beyond the four of each. */
  readonly bankConflicts: number
  /** Of sixteen bytes. */
  readonly copies: number
  readonly barriers: number
}

export interface EmulatedDriver extends CudaDriver {
  readonly kind: 'emulated'
  /** Of the last launch, null before the first. */
  readonly statistics: LaunchStatistics | null
  /** For the launches that follow, of modules loaded before and after; see EmulationOptions. */
  setOrder(order: number): void
}

/** Of sm_80 and sm_90. */
const SHARED_BYTES = { 8: 163 * 1024, 9: 227 * 1024 } as const
const ERROR_BYTES = 4096

/**
 * Opens the emulation, an sm_80 device unless `capability` says otherwise.
 * @throws HeddleError `no-emulation`
 */
export async function openEmulation(options: EmulationOptions = {}): Promise<EmulatedDriver> {
  const builder = await LibraryBuilder.find(options)
  const native = options.native ?? (await loadNative().catch(missingPackage))
  // Memory is there before the first kernel: a library of an empty text holds it.
  const path = await builder.build({ pattern: 'heddle', id: 'memory', code: '' })
  return new Emulation(builder, native, bind(native.load(path)), options)
}

function missingPackage(cause: unknown): never {
  throw new HeddleError('no-emulation', { detail: 'the optional package koffi is not installed' }, { cause })
}

interface Entry extends CudaFunction {
  readonly library: Library
  readonly path: string
  readonly source: ModuleSource
}

interface Event extends CudaEvent {
  readonly at: { time: number }
}

class Emulation implements EmulatedDriver {
  readonly kind = 'emulated'
  readonly capability: CudaDriver['capability']
  readonly maxSharedBytes: number
  readonly name: string
  readonly multiprocessors: number
  readonly versions: Readonly<Record<string, string>>
  statistics: LaunchStatistics | null = null
  readonly #builder: LibraryBuilder
  readonly #native: Native
  readonly #memory: Library
  readonly #settings: Map<string, number>
  /** Bytes by address. */
  readonly #blocks = new Map<Address, number>()
  readonly #libraries = new Map<string, Library>()
  #last = { kernel: 'a kernel', call: () => '' }
  #streams = 0n

  constructor(builder: LibraryBuilder, native: Native, memory: Library, options: EmulationOptions) {
    this.name = `emulation (${builder.compiler})`
    this.capability = options.capability ?? { major: 8, minor: 0 }
    this.maxSharedBytes = this.capability.major >= 9 ? SHARED_BYTES[9] : SHARED_BYTES[8]
    this.multiprocessors = options.multiprocessors ?? 8
    this.versions = { 'CUDA emulation': builder.compiler }
    this.#builder = builder
    this.#native = native
    this.#memory = memory
    const { order = 0, threads = 0, seconds = 300 } = options
    this.#settings = new Map(Object.entries({ order, threads, seconds }))
  }

  setOrder(order: number): void {
    this.#settings.set('order', order)
  }

  alloc(bytes: number): Address {
    const wanted = Math.max(1, bytes)
    const address = BigInt(this.#memory.heddle_alloc(wanted) as bigint | number)
    if (address === 0n) throw new HeddleError('out-of-memory', { bytes })
    this.#blocks.set(address, wanted)
    return address
  }

  free(address: Address): void {
    if (address === 0n) return
    const bytes = this.#blocks.get(address)
    if (bytes === undefined) throw refused('free', `nothing was allocated at ${hex(address)}`)
    const damaged = this.#memory.heddle_damaged(address, bytes) !== 0
    this.#memory.heddle_free(address, bytes)
    this.#blocks.delete(address)
    if (damaged) throw this.#damage(address, bytes)
  }

  #damage(address: Address, bytes: number): HeddleError {
    return new HeddleError('emulated-fault', {
      kernel: this.#last.kernel,
      call: this.#last.call(),
      detail: `bytes around the ${bytes} bytes at ${hex(address)} were written`,
    })
  }

  /** The host's own memory lies beside the device's: an address that is not the device's is refused. */
  #check(step: string, address: Address, bytes: number): void {
    for (const [start, size] of this.#blocks) {
      if (start <= address && address + BigInt(bytes) <= start + BigInt(size)) return
    }
    if (bytes > 0) throw refused(step, `${bytes} bytes at ${hex(address)} are not inside what was allocated`)
  }

  copyIn(to: Address, from: Uint8Array): void {
    this.#check('copy', to, from.length)
    if (from.length > 0) this.#memory.heddle_copy_in(to, from, from.length)
  }

  copyOut(to: Uint8Array, from: Address): void {
    this.#check('copy', from, to.length)
    if (to.length > 0) this.#memory.heddle_copy_out(to, from, to.length)
  }

  memset(at: Address, byte: number, count: number): void {
    this.#check('memset', at, count)
    if (count > 0) this.#memory.heddle_fill(at, byte, count)
  }

  async loadModule(source: ModuleSource): Promise<CudaModule> {
    const path = await this.#builder.build(source)
    let library = this.#libraries.get(path)
    if (library === undefined) {
      library = bind(this.#native.load(path))
      this.#libraries.set(path, library)
    }
    return new Module(library, path, source, this.maxSharedBytes)
  }

  launch({ entry, grid, threads, sharedBytes, params, about }: Launch): void {
    const { library, path, source, name } = entry as Entry
    const given = Buffer.concat(params)
    for (const [setting, value] of this.#settings) library.heddle_set(setting, value)
    const error = new Uint8Array(ERROR_BYTES)
    this.#last = { kernel: `${source.pattern} (${source.id}, ${name})`, call: about }
    const [x, y, z] = grid
    const status = library.heddle_launch(
      name,
      x,
      y,
      z,
      threads,
      sharedBytes,
      given,
      given.length,
      error,
      ERROR_BYTES, // oxfmt-ignore
    )
    const five = new Float64Array(5)
    library.heddle_statistics(five)
    const [multiplyAdds, matrixLoads, bankConflicts, copies, barriers] = [...five] as [
      number,
      number,
      number,
      number,
      number,
    ]
    this.statistics = { multiplyAdds, matrixLoads, bankConflicts, copies, barriers }
    if (status === 0) return
    const told = new TextDecoder().decode(error.subarray(0, error.indexOf(0)))
    const detail = inLines(told, path, source.code)
    throw new HeddleError('emulated-fault', { kernel: this.#last.kernel, call: about(), detail })
  }

  tensorMap(spec: TensorMapSpec): Uint8Array {
    const { major, minor } = this.capability
    const fault = major < 9 ? `a device of capability ${major}.${minor} has none` : mapFault(spec)
    if (fault !== null) throw refused('tensor map', fault)
    return mapBytes(spec)
  }

  createStream(): Stream {
    return ++this.#streams
  }

  /** Everything is done when it is launched; streams are numbers. */
  destroyStream(): void {}

  /** Also asks whether kernels wrote beside their memory. */
  synchronize(): void {
    for (const [address, bytes] of this.#blocks) {
      if (this.#memory.heddle_damaged(address, bytes) !== 0) throw this.#damage(address, bytes)
    }
  }

  createEvent(): CudaEvent {
    const at = { time: Number.NaN }
    const event: Event = {
      at,
      record: () => {
        at.time = performance.now()
      },
      release: () => {},
    }
    return event
  }

  elapsed(from: CudaEvent, to: CudaEvent): number {
    const time = (to as Event).at.time - (from as Event).at.time
    if (Number.isNaN(time)) throw refused('elapsed time', 'an event was never recorded')
    return time
  }

  release(): void {
    for (const [address, bytes] of this.#blocks) this.#memory.heddle_free(address, bytes)
    this.#blocks.clear()
  }
}

class Module implements CudaModule {
  readonly #library: Library
  readonly #path: string
  readonly #source: ModuleSource
  readonly #maxSharedBytes: number

  constructor(library: Library, path: string, source: ModuleSource, maxSharedBytes: number) {
    this.#library = library
    this.#maxSharedBytes = maxSharedBytes
    this.#path = path
    this.#source = source
  }

  entry(name: string, sharedBytes: number): CudaFunction {
    if (this.#library.heddle_has_entry(name) === 0) throw refused('entry', `there is no kernel ${name}`)
    const most = this.#maxSharedBytes
    if (sharedBytes > most)
      throw refused('entry', `${name} wants ${sharedBytes} bytes of shared memory, a block has ${most}`)
    const entry: Entry = { name, library: this.#library, path: this.#path, source: this.#source }
    return entry
  }

  /** The library stays in the process. */
  release(): void {}
}

const hex = (address: Address) => `0x${address.toString(16)}`

const refused = (step: string, detail: string) =>
  new HeddleError('cuda-error', { step, name: 'CUDA_ERROR_INVALID_VALUE', detail, call: '' })
