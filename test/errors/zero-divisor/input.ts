import { floorDiv, i32, pattern } from 'heddle'

export const blocks = pattern({
  name: 'blocks',
  params: { block: i32(64) },
  mask: ({ q, kv, block }) => floorDiv(q, block) === floorDiv(kv, block),
})
