import { pattern } from 'heddle'

export const causal = pattern({ name: 'causal', mask: ({ q, kv }) => kv <= q })
