/** What files of calls for the PyTorch package are put together of: what artefacts are built for, and the bytes beside the calls. */

export const BUILT = { headDims: [64, 128], dtypes: ['bf16', 'f16'] } as const

/** The bytes of a pattern's file, each piece at a multiple of 16. */
export class Pieces {
  readonly #parts: Uint8Array[] = []
  #length = 0

  add(data: ArrayBufferView): number {
    const at = this.#length
    const padded = new Uint8Array(Math.ceil(data.byteLength / 16) * 16)
    padded.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    this.#parts.push(padded)
    this.#length += padded.length
    return at
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts)
  }
}
