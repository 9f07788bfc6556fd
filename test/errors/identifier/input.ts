import { i32, pattern } from 'heddle'

export const odd = pattern({
  name: 'odd',
  params: { 'my window': i32(8), $reach: i32(2), under__score: i32(1) },
  mask: ({ q, kv }) => kv <= q,
})
