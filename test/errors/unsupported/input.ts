import { pattern } from 'heddle'

export const syntax = pattern({
  name: 'syntax',
  mask: (ix) => {
    const { q, ...rest } = ix
    return `${q}` === '3' || new Date() > new Date(0) || (ix?.kv ?? 1) > q || typeof q === 'number' || rest.kv > 1n
  },
})
export const later = pattern({ name: 'later', mask: (async () => true) as never })
export const iterated = pattern({ name: 'iterated', mask: (function* () { yield true }) as never })
