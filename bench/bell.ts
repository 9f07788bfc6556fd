/** A count and a seed in; random numbers in a bell of variance 1, piece by piece and as fast as memory is written, out. */

/** Elements that are made at a time. */
const PIECE = 1 << 22

/** Four bytes added up: there are only so many sums. */
const SUMS = 4 * 255 + 1
const DEVIATION = Math.sqrt((4 * (256 ** 2 - 1)) / 12)

/** What each sum stands for. */
export const BELL = Float32Array.from({ length: SUMS }, (_, sum) => (sum - 2 * 255) / DEVIATION)

type Values = Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>

/** Xorshift: the same on every machine. `values` has what stands for each sum; what is written is good until the next piece. */
export function* bells(
  count: number,
  seed: number,
  values: Values,
): Generator<{ readonly at: number; readonly bytes: Uint8Array<ArrayBuffer> }> {
  const piece = values instanceof Uint16Array ? new Uint16Array(Math.min(PIECE, count)) : new Float32Array(Math.min(PIECE, count)) // oxfmt-ignore
  const size = values.BYTES_PER_ELEMENT
  let x = Math.imul(seed, 0x9e3779b9) | 1
  for (let at = 0; at < count; at += PIECE) {
    const some = Math.min(PIECE, count - at)
    for (let i = 0; i < some; i++) {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      piece[i] = values[(x & 255) + ((x >>> 8) & 255) + ((x >>> 16) & 255) + (x >>> 24)]!
    }
    yield { at: size * at, bytes: new Uint8Array(piece.buffer, 0, size * some) }
  }
}
