import { pattern } from 'heddle'

export const broken = pattern({
  name: 'broken',
  mask: ({ q, kv }) => kv <= q &&& kv > 0,
})
