import { pattern } from 'heddle'

const seen = [0, 0]
let count = 0

export const assigns = pattern({
  name: 'assigns',
  mask: ({ q, kv }) => {
    let a = 0
    const b = (a = 4)
    seen[0] = q
    count += 1
    q = kv
    let f = (x: number): number => x
    f = (x) => x + 1
    return a++ < kv && b > f(q)
  },
})
