import { pattern } from 'heddle'

export const first = pattern({ name: 'near', mask: ({ q, kv }) => q - kv < 4 })
export const second = pattern({ name: 'near', mask: ({ q, kv }) => q - kv < 8 })
