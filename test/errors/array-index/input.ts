import { pattern } from 'heddle'

const OFFSETS = [1, 2, 4] as const

export const reads = pattern({
  name: 'reads',
  mask: ({ q, kv }) => OFFSETS[3 as number]! > q || kv > [][0]!,
})
