import { f32, floorDiv, pattern } from 'heddle'

export const spans = pattern({
  name: 'spans',
  params: { beta: f32(0.25) },
  mask: ({ q, kv, kvLen, beta }) => floorDiv(q + Math.floor(beta * kvLen), 4) === kv,
})
