/** Turns of the rotary embedding: as exact far out as at the start, wherever a step begins. */

import { expect, test } from 'vitest'
import { ropeFrequencies } from '../../../runtime/model/config.ts'
import { turnsOf } from '../../../runtime/model/turns.ts'

const HEAD_DIM = 8

test.each([
  [0, 200],
  [131_000, 130],
  [63, 1],
])('from position %i on, %i rows', (position, rows) => {
  const { inverse } = ropeFrequencies({ rope: { kind: 'default', theta: 10_000 }, headDim: HEAD_DIM }, rows)
  const turns = turnsOf({ inverse, attentionFactor: 1.25 }, position, rows)
  expect(turns.length).toBe(rows * HEAD_DIM)
  let worst = 0
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < HEAD_DIM / 2; i++) {
      const angle = (position + row) * inverse[i]!
      const at = row * HEAD_DIM + 2 * (i - (i % 2)) + (i % 2)
      worst = Math.max(
        worst,
        Math.abs(turns[at]! - Math.fround(1.25 * Math.cos(angle))),
        Math.abs(turns[at + 2]! - Math.fround(1.25 * Math.sin(angle))),
      )
    }
  }
  // Of numbers about one, an f32's last place.
  expect(worst).toBeLessThanOrEqual(2 ** -23)
})
