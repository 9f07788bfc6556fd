import { pattern } from 'heddle'

const halve = (x: number): number => (x < 2 ? 0 : 1 + halve(x >> 1))
const even = (x: number): boolean => x === 0 || odd(x - 1)
const odd = (x: number): boolean => x !== 0 && even(x - 1)

export const depth = pattern({
  name: 'depth',
  mask: ({ q, kv }) => halve(q) === kv || even(q),
})
