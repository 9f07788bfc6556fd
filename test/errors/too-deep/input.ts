import { pattern } from 'heddle'

export const sums = pattern({
  name: 'sums',
  mask: ({ q, kv }) => {
    let sum = 0
    for (let i = 0; i < 4000; i++) sum = (sum ^ q) + i
    return sum > kv
  },
})
