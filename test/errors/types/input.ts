import { i32, pattern } from 'heddle'

export const typo = pattern({
  name: 'typo',
  params: { window: i32(8, { min: 1 }) },
  mask: ({ q, kv, windw }) => q - kv < windw && kv <= near(q),
})
