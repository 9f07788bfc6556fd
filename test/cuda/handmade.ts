/** A CUDA artefact written by hand to codegen/cuda/manifest.ts, and a driver that only writes down what it is asked. */

import { createHash } from 'node:crypto'
import { CALL_BYTES, CALL_FIELDS } from '../../codegen/cuda/call.ts'
import type { CudaArtifact, CudaVariant } from '../../codegen/cuda/manifest.ts'
import { cudaContentHash } from '../../runtime/cuda/artifact.ts'
import type {
  Address,
  CudaDriver,
  Launch,
  ModuleSource,
  Stream,
  TensorMapSpec,
} from '../../runtime/cuda/driver.ts'

const v = (name: string) => ({ var: name })
const op = (name: string, ...src: unknown[]) => ({ op: name, src }) as never
const ceilDiv = (a: unknown, b: number) => op('floorDiv', op('add', a, b - 1), b)
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

const perTile = (tile: number) =>
  [ceilDiv(v('qRows'), tile), v('qHeads'), v('batch')] as unknown as CudaVariant['entries'][number]['grid']

function variant(id: string, from: Partial<CudaVariant>): CudaVariant {
  const code = `// ${id}\n`
  return {
    id,
    skeleton: 'ampere',
    headDim: 64,
    valueDim: 64,
    dtype: 'bf16',
    capability: { min: 80, max: 999 },
    suffix: '',
    needs: { vectors: false, qRows: null, pages: false },
    pays: null,
    debug: false,
    tile: { q: 128, kv: 64 },
    units: 1,
    entries: [{ name: 'attend', threads: 128, sharedBytes: 40_000, grid: perTile(128), tensorMaps: [] }],
    splits: null,
    workspace: { counters: 0, list: 0, scratch: 0 },
    hash: sha256(code),
    code,
    cubins: [],
    ...from,
  }
}

const map = (tensor: 'q' | 'k' | 'v') =>
  ({ tensor, columns: 64, rows: 128, swizzle: 128, step: null }) as const

export const VARIANTS: readonly CudaVariant[] = [
  variant('d64-bf16-decode', {
    skeleton: 'decode',
    needs: { vectors: false, qRows: 16, pages: true },
    pays: null,
    debug: false,
    tile: { q: 16, kv: 64 },
    splits: op('max', 1, op('floorDiv', v('multiprocessors'), op('mul', v('batch'), v('kvHeads')))),
    entries: [
      {
        name: 'attend',
        threads: 128,
        sharedBytes: 30_000,
        grid: [v('splits'), v('kvHeads'), v('batch')],
        tensorMaps: [],
      },
      {
        name: 'combine',
        threads: 64,
        sharedBytes: 0,
        grid: [op('select', op('lt', 1, v('splits')), v('qRows'), 0), v('qHeads'), v('batch')],
        tensorMaps: [],
      },
    ],
    workspace: {
      counters: 4,
      list: 0,
      scratch: op('mul', v('splits'), op('mul', v('qHeads'), op('mul', v('batch'), 1024))),
    },
  }),
  variant('d64-bf16-hopper', {
    skeleton: 'hopper',
    capability: { min: 90, max: 90 },
    suffix: 'a',
    needs: { vectors: true, qRows: null, pages: false },
    pays: null,
    debug: false,
    entries: [
      {
        name: 'attend',
        threads: 384,
        sharedBytes: 160_000,
        grid: [v('multiprocessors'), 1, 1],
        tensorMaps: [map('q'), map('k'), map('v')],
      },
    ],
    workspace: { counters: 8, list: 0, scratch: 0 },
  }),
  variant('d64-bf16-ampere', {}),
  variant('d64-f16-ampere', { dtype: 'f16' }),
]

/** With its hash put right. */
export function artifact(changes: Partial<CudaArtifact> = {}): CudaArtifact {
  const record: Omit<CudaArtifact, 'hash'> = {
    version: 5,
    heddle: '0.1.0',
    pattern: 'handmade',
    cite: '',
    target: 'cuda',
    consts: {},
    params: [
      { name: 'window', type: 'i32', default: 4, min: 1, max: 1000, perHead: false },
      { name: 'slope', type: 'f32', default: 0.5, min: 0, max: 1, perHead: true },
      { name: 'cap', type: 'f32', default: 2, min: 0, max: 9, perHead: false },
    ],
    tables: [{ name: 'ids', type: 'i32', dims: ['batch', 'kvLen'], min: 0, max: 9, monotone: false }],
    derived: [{ name: 'last', type: 'i32', value: op('add', v('kvLen'), v('head')) }],
    sinkLogit: false,
    lists: null,
    stages: null,
    tiles: 'ranges',
    sharesLists: true,
    call: { bytes: CALL_BYTES, fields: CALL_FIELDS },
    variants: VARIANTS,
    ...changes,
  }
  return { ...record, hash: cudaContentHash(record) } as CudaArtifact
}

type Powers = Pick<CudaDriver, 'capability' | 'multiprocessors' | 'maxSharedBytes' | 'kind'>

/** Memory is real, so that what was copied can be read; launches and maps are kept in lists. */
export class FakeDriver implements CudaDriver {
  readonly name = 'fake'
  readonly versions = {}
  readonly kind: Powers['kind']
  readonly capability: Powers['capability']
  readonly multiprocessors: number
  readonly maxSharedBytes: number
  readonly launches: (Launch & { readonly stream: Stream })[] = []
  readonly maps: TensorMapSpec[] = []
  readonly sources: ModuleSource[] = []
  readonly memory = new Map<Address, Uint8Array>()
  released = 0
  #next = 0x1000n

  constructor(powers: Partial<Powers> = {}) {
    this.kind = powers.kind ?? 'gpu'
    this.capability = powers.capability ?? { major: 9, minor: 0 }
    this.multiprocessors = powers.multiprocessors ?? 132
    this.maxSharedBytes = powers.maxSharedBytes ?? 232_448
  }

  alloc(bytes: number): Address {
    const address = this.#next
    this.#next += BigInt(Math.ceil(Math.max(1, bytes) / 256) * 256)
    // What was never written is not zero.
    this.memory.set(address, new Uint8Array(bytes).fill(0xaa))
    return address
  }
  free(address: Address): void {
    if (!this.memory.delete(address)) throw new Error(`${address} is not allocated`)
  }
  copyIn(to: Address, from: Uint8Array): void {
    this.memory.get(to)!.set(from)
  }
  copyOut(to: Uint8Array, from: Address): void {
    to.set(this.memory.get(from)!.subarray(0, to.length))
  }
  memset(at: Address, byte: number, count: number): void {
    this.memory.get(at)!.fill(byte, 0, count)
  }
  async loadModule(source: ModuleSource) {
    this.sources.push(source)
    return { entry: (name: string) => ({ name }), release: () => void this.released++ }
  }
  launch(launch: Launch): void {
    this.launches.push({
      ...launch,
      params: launch.params.map((p) => p.slice()),
      stream: launch.stream ?? 0n,
    })
  }
  tensorMap(spec: TensorMapSpec): Uint8Array {
    this.maps.push(spec)
    return new Uint8Array(128).fill(this.maps.length)
  }
  createStream(): Stream {
    return 1n
  }
  destroyStream(): void {}
  synchronize(): void {}
  createEvent() {
    return { record: () => {}, release: () => {} }
  }
  elapsed(): number {
    return 1.5
  }
  release(): void {}

  /** A field of the struct that a launch was given. */
  field(launch: Launch, name: string, index = 0): number | bigint {
    const { type, offset } = CALL_FIELDS.find((f) => f.name === name)!
    const block = launch.params[0]!
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
    if (type === 'pointer') return view.getBigUint64(offset + 8 * index, true)
    if (type === 'i64') return Number(view.getBigInt64(offset + 8 * index, true))
    return type === 'i32'
      ? view.getInt32(offset + 4 * index, true)
      : view.getFloat32(offset + 4 * index, true)
  }

  /** The words that a pointer of the struct leads to. */
  words(launch: Launch, name: string): Int32Array {
    const bytes = this.memory.get(this.field(launch, name) as bigint)!.slice()
    return new Int32Array(bytes.buffer)
  }
}
