/** CudaDriver: what kernels of CUDA artefacts need of a device; a GPU behind libcuda, or the emulation on the CPU. */

import type { Cubin, CudaVariant } from '../../codegen/cuda/manifest.ts'

/** A place in the device's memory; 0n is none. */
export type Address = bigint

/** A handle of a stream; 0n is the default stream. */
export type Stream = bigint

/** A variant's text and what was compiled of it; the driver takes what it can run. */
export interface ModuleSource {
  /** For messages and for the emulation's files. */
  readonly pattern: string
  readonly id: string
  readonly code: string
  /** SHA-256, hex, of `code`. */
  readonly hash: string
  readonly suffix: CudaVariant['suffix']
  readonly entries: readonly {
    readonly name: string
    readonly threads: number
    readonly sharedBytes: number
  }[]
  readonly cubins: readonly Cubin[]
  /** A cubin's bytes by its file name, or null: it is not there. */
  readonly readCubin: (file: string) => Uint8Array | null
}

export interface CudaFunction {
  readonly name: string
}

export interface CudaModule {
  /** An entry that may use as much dynamic shared memory as `sharedBytes` says. */
  entry(name: string, sharedBytes: number): CudaFunction
  release(): void
}

export interface Launch {
  readonly entry: CudaFunction
  readonly grid: readonly [x: number, y: number, z: number]
  readonly threads: number
  readonly sharedBytes: number
  /** The bytes of each parameter, in order: the struct Call, then 128 bytes for each tensor map. */
  readonly params: readonly Uint8Array[]
  readonly stream?: Stream | undefined
  /** The call in words (pattern, shapes), for messages: asked for only where something went wrong. */
  readonly about: () => string
}

/** Four or five dimensions, the innermost first; elements of two bytes; zeros outside; L2 promotion of 256 bytes; no interleave. */
export interface TensorMapSpec {
  readonly address: Address
  readonly dtype: 'bf16' | 'f16'
  /** Columns, rows, (residues,) heads, batch entries. */
  readonly sizes: readonly number[]
  /** In bytes, of all but the columns, which are neighbours. */
  readonly strides: readonly number[]
  /** Columns and rows; one of every other dimension. */
  readonly box: readonly [columns: number, rows: number]
  readonly swizzle: 64 | 128
}

export interface CudaEvent {
  record(stream?: Stream): void
  release(): void
}

/** Every method but loadModule is synchronous on the host; launches and copies take their turn on a stream. */
export interface CudaDriver {
  readonly name: string
  readonly kind: 'gpu' | 'emulated'
  readonly capability: { readonly major: number; readonly minor: number }
  readonly multiprocessors: number
  /** Of dynamic shared memory, in bytes, at most, in one block. */
  readonly maxSharedBytes: number
  /** Versions of the driver and of what compiles, for reports. */
  readonly versions: Readonly<Record<string, string>>
  /** Aligned to 256 bytes. */
  alloc(bytes: number): Address
  free(address: Address): void
  copyIn(to: Address, from: Uint8Array, stream?: Stream): void
  /** Waits for the stream. */
  copyOut(to: Uint8Array, from: Address, stream?: Stream): void
  memset(at: Address, byte: number, count: number, stream?: Stream): void
  /** Rejects with a HeddleError that names the pattern and the variant. */
  loadModule(source: ModuleSource): Promise<CudaModule>
  launch(launch: Launch): void
  /** The 128 bytes of a tensor map; throws where the device has none, or for a spec that no map can hold. */
  tensorMap(spec: TensorMapSpec): Uint8Array
  createStream(): Stream
  destroyStream(stream: Stream): void
  /** Waits for a stream, or for all of them. */
  synchronize(stream?: Stream): void
  createEvent(): CudaEvent
  /** Milliseconds between two recorded events; waits for the later one. */
  elapsed(from: CudaEvent, to: CudaEvent): number
  /** Gives everything back; the driver is of no use afterwards. */
  release(): void
}
