import { pattern } from 'heddle'

export const noFunction = pattern({ name: 'no-function', mask: 3 as never })
