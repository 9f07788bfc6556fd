import { i32, pattern, rename } from 'heddle'

const near = pattern({ name: 'near', params: { window: i32(8) }, mask: ({ q, kv, window }) => q - kv < window })

// @ts-expect-error: the editor says so too
export const other = rename(near, { widow: 'reach' })
