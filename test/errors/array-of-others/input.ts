import { mod, pattern } from 'heddle'

const RULES = [(x: number) => x < 4, (x: number) => x > 8]
const ROWS = [[1, 2], [3]]

export const picks = pattern({
  name: 'picks',
  mask: ({ q, kv }) => RULES[mod(q, 2)]!(kv) || ROWS[mod(q, 2)]![0]! > kv,
})
