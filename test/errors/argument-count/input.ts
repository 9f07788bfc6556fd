import { floorDiv, pattern } from 'heddle'

export const counts = pattern({
  name: 'counts',
  // @ts-expect-error: the editor says so too
  mask: ({ q, kv }) => floorDiv(q) === kv || Math.max() < q,
})
