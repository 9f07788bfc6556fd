import { i32, or, pattern } from 'heddle'

const near = pattern({ name: 'near', params: { window: i32(8) }, mask: ({ q, kv, window }) => q - kv < window })
const far = pattern({ name: 'far-away', params: { window: i32(64, { min: 1 }) }, mask: ({ q, kv, window }) => q - kv > window })

export const both = or(near, far)
