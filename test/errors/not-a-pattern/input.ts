import { and, pattern, type Pattern } from 'heddle'

const make = (reach: number): Pattern => pattern({ name: 'near', mask: ({ q, kv }) => q - kv < reach })

export const near = make(8)
export const both = and(make(4), near)
