import { pattern } from 'heddle'

export const half = pattern({
  name: 'half',
  consts: { share: 0.5, huge: 2 ** 40 },
  mask: ({ q, kv, share, huge }) => q - kv < share * huge,
})
