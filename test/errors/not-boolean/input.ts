import { pattern } from 'heddle'

export const truthy = pattern({
  name: 'truthy',
  mask: ({ q, kv }) => {
    if (q & 1) return !(kv % 3)
    return (q && kv) ? kv <= q : true
  },
})
export const result = pattern({ name: 'result', mask: ({ q, kv }) => (q - kv) as never })
