/** A pattern of the testing kit's own tests: it stands in a file, as an author's does. */

import { i32, pattern } from '../../../dsl/index.ts'

export const near = pattern({
  name: 'near',
  consts: { block: 4 },
  params: { window: i32(7, { min: 1, max: 64 }) },
  mask: ({ q, kv, window, block }) => kv <= q && q - kv < window * block,
})
