import { and, causal } from './patterns.ts'

// @ts-expect-error: the editor says so too
export const alone = and(causal)
