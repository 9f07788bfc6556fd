/** turnsOf(): frequencies and positions in; what each pair of components is turned by at each of them, as the kernel reads it, out. */

import type { RopeFrequencies } from './rope.ts'

/** Rows from one exact cosine to the next: in between, turning on by one position errs by 2 ** -53 a row. */
const ANEW = 64

/**
 * Cosines and sines in f64: WGSL's are of no use for large angles. For each row, two components at a time: two cosines, two sines.
 * A cosine takes as long as ten products, and a prompt has millions.
 */
export function turnsOf(
  { inverse, attentionFactor }: RopeFrequencies,
  position: number,
  rows: number,
): Float32Array<ArrayBuffer> {
  const pairs = inverse.length
  const [stepCos, stepSin] = [inverse.map(Math.cos), inverse.map(Math.sin)]
  const [cos, sin] = [new Float64Array(pairs), new Float64Array(pairs)]
  const turns = new Float32Array(2 * rows * pairs)
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < pairs; i++) {
      if (row % ANEW === 0) {
        const angle = (position + row) * inverse[i]!
        cos[i] = Math.cos(angle)
        sin[i] = Math.sin(angle)
      } else {
        const before = cos[i]!
        cos[i] = before * stepCos[i]! - sin[i]! * stepSin[i]!
        sin[i] = before * stepSin[i]! + sin[i]! * stepCos[i]!
      }
      const at = 2 * (row * pairs + i - (i % 2)) + (i % 2)
      turns[at] = attentionFactor * cos[i]!
      turns[at + 2] = attentionFactor * sin[i]!
    }
  }
  return turns
}
