import { i32, pattern, rename } from 'heddle'

const near = pattern({ name: 'near', params: { a: i32(1), b: i32(2) }, mask: ({ q, kv, a, b }) => q - kv < a + b })
export const merged = rename(near, { a: 'b' } as never)
