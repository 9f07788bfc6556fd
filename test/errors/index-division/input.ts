import { floorDiv, i32, pattern } from 'heddle'

export const chunked = pattern({
  name: 'chunked',
  params: { chunk: i32(64, { min: 1 }) },
  mask: ({ q, kv, chunk }) => q / chunk === kv / chunk,
})
export const floored = pattern({
  name: 'floored',
  params: { chunk: i32(64, { min: 1 }) },
  mask: ({ q, kv, chunk }) => Math.floor(q / chunk) === floorDiv(kv, chunk),
  score: (s, { kv, chunk }) => s + Math.floor(kv / chunk),
})
