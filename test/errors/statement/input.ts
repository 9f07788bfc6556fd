import { pattern } from 'heddle'

export const statements = pattern({
  name: 'statements',
  mask: ({ q, kv }) => {
    var reach = 3
    while (reach < 9) reach += 2
    switch (q) {
      case 1: return true
    }
    kv <= q
    for (let i = 0; i < 4; i++) {
      if (i === kv) break
    }
    if (kv > 8) throw new Error('far')
    return q - kv < reach
  },
})
