import { pattern } from 'heddle'

export const masked = pattern({
  name: 'masked',
  mask: ({ q, kv }) => q < 1 / 0 || kv > NaN,
  score: (s, { q, kv }) => (kv > q ? -Infinity : s),
})
export const large = pattern({ name: 'large', mask: () => true, score: (s) => s + 1e300 })
