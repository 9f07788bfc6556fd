import { f32, floorDiv, mod, pattern } from 'heddle'

export const bits = pattern({
  name: 'bits',
  params: { share: f32(0.5) },
  mask: ({ q, kv, share, kvLen }) => (share & 3) === kv % (share * kvLen) || floorDiv(q, share) > ~share,
  score: (s, { kv }) => s % 2 + mod(s, 4) * kv,
})
