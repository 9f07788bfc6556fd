import { pattern } from 'heddle'

export const loose = pattern({ name: 'loose', mask: ({ q, kv }) => q == kv || q - kv != 3 })
