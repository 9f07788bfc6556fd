/** What calls on one device share: room for lists, partial results and counters, and small tables of words that come again. */

import type { Address, CudaDriver, Stream } from './driver.ts'

export interface Room {
  readonly counters: number
  readonly list: number
  readonly scratch: number
}

type Part = keyof Room
const PARTS: readonly Part[] = ['counters', 'list', 'scratch']

interface Piece {
  readonly address: Address
  readonly bytes: number
}

/** Tables of words that are kept at most: those of recent calls. */
const MOST_TABLES = 256
/** Row of the widest tensor, for maps of tensors without rows. */
const EMPTY_BYTES = 8192

export class Workspace {
  readonly #driver: CudaDriver
  /** Calls of one stream take turns, so they share; those of two streams do not. */
  readonly #rooms = new Map<Stream, Partial<Record<Part, Piece>>>()
  readonly #tables = new Map<string, Piece>()
  #empty: Address = 0n

  constructor(driver: CudaDriver) {
    this.#driver = driver
  }

  /** At least the bytes wanted of each part; counters are zero before the first call that uses them. */
  room(stream: Stream, wanted: Room): Readonly<Record<Part, Address>> {
    let room = this.#rooms.get(stream)
    if (room === undefined) this.#rooms.set(stream, (room = {}))
    const addresses: Record<Part, Address> = { counters: 0n, list: 0n, scratch: 0n }
    for (const part of PARTS) {
      if (wanted[part] === 0) continue
      const kept = room[part]
      addresses[part] = (
        kept && kept.bytes >= wanted[part] ? kept : this.#grow(room, part, wanted[part], stream)
      ).address
    }
    return addresses
  }

  #grow(room: Partial<Record<Part, Piece>>, part: Part, wanted: number, stream: Stream): Piece {
    const old = room[part]
    const bytes = Math.max(wanted, Math.ceil((old?.bytes ?? 0) * 1.5))
    if (old) {
      this.#driver.synchronize(stream)
      delete room[part]
      this.#driver.free(old.address)
    }
    const piece = { address: this.#driver.alloc(bytes), bytes }
    if (part === 'counters') this.#driver.memset(piece.address, 0, bytes, stream)
    return (room[part] = piece)
  }

  /** The words on the device; the same ones are copied once. 0n where there are none. */
  words(words: Int32Array, stream: Stream): Address {
    if (words.length === 0) return 0n
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
    const key = `${stream} ${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')}`
    const kept = this.#tables.get(key)
    // The order of a Map is that of insertion: what is used again moves to its end.
    if (kept) this.#tables.delete(key)
    const piece = kept ?? { address: this.#driver.alloc(bytes.length), bytes: bytes.length }
    if (!kept) this.#driver.copyIn(piece.address, bytes, stream)
    this.#tables.set(key, piece)
    if (this.#tables.size > MOST_TABLES) this.#forget()
    return piece.address
  }

  /** The older half: kernels that read them may still run. */
  #forget(): void {
    this.#driver.synchronize()
    for (const [key, { address }] of [...this.#tables].slice(0, MOST_TABLES / 2)) {
      this.#tables.delete(key)
      this.#driver.free(address)
    }
  }

  /** A row of zeros. */
  empty(): Address {
    if (this.#empty === 0n) {
      this.#empty = this.#driver.alloc(EMPTY_BYTES)
      this.#driver.memset(this.#empty, 0, EMPTY_BYTES)
      this.#driver.synchronize()
    }
    return this.#empty
  }
}

const workspaces = new WeakMap<CudaDriver, Workspace>()

/** The device's own: kernels of all artefacts share it. */
export function workspaceOf(driver: CudaDriver): Workspace {
  let workspace = workspaces.get(driver)
  if (workspace === undefined) workspaces.set(driver, (workspace = new Workspace(driver)))
  return workspace
}
