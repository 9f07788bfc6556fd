import { pattern } from 'heddle'

export const scan = pattern({
  name: 'scan',
  mask: ({ q, kv }) => {
    for (let i = 0; i < 100; i++) {
      for (let j = 0; j < 100; j++) if (q - kv === i * j) return true
    }
    return false
  },
})
