import { pattern } from 'heddle'

// @ts-expect-error: the editor says so too
export const nothing = pattern({ name: 'nothing' })
