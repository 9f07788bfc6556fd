import { i32, pattern } from 'heddle'

export const loops = pattern({
  name: 'loops',
  params: { steps: i32(4, { min: 1, max: 8 }) },
  mask: ({ q, kv, steps }) => {
    for (let i = 0; i < steps; i++) if (q - kv === i) return true
    for (const x of 'abc') if (kv > x.length) return true
    for (;;) return false
  },
})
