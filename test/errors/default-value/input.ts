import { pattern } from 'heddle'

export const defaults = pattern({
  name: 'defaults',
  mask: ({ q, kv }, window = 4) => q - kv < window,
  score: (s, { head = 2, q } = {} as never) => s + q * head,
})
