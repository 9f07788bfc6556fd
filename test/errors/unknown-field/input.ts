import { pattern } from 'heddle'

const fields = { name: 'extra', mask: () => true, forward: () => 1 }

export const extra = pattern(fields)
