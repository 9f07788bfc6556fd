import { pattern, rename } from 'heddle'

export const slidingWindow = pattern({ name: 'slidingWindow', mask: ({ q, kv }) => kv <= q })
export const other = rename(pattern({ name: 'other', mask: () => true }), {}, 'Other one')
