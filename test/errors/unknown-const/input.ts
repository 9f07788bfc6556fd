import { pattern } from 'heddle'

export const blocks = pattern({
  name: 'blocks',
  consts: { block: 64 },
  mask: ({ q, kv, block }) => q - kv < block,
})
