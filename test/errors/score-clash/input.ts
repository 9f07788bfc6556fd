import { and, pattern } from 'heddle'

const soft = pattern({ name: 'soft', mask: () => true, score: (s) => 5 * Math.tanh(s / 5) })
const biased = pattern({ name: 'biased', mask: () => true, score: (s, { q, kv }) => s - 0.5 * (q - kv) })

export const both = and(soft, biased)
