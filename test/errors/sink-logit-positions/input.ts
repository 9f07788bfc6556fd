import { pattern } from 'heddle'

export const sinks = pattern({
  name: 'sinks',
  mask: ({ q, kv }) => kv <= q,
  // @ts-expect-error: the editor says so too
  sinkLogit: ({ head, q }) => head + q,
})
