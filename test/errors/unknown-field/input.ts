import { pattern } from 'heddle'

const fields = { name: 'extra', mask: () => true, backward: () => 1 }

export const extra = pattern(fields)
