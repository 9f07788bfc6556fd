import { f32, i32, pattern } from 'heddle'

export const outside = pattern({
  name: 'outside',
  params: { window: i32(0, { min: 1 }), share: f32(2, { min: 0, max: 1 }), part: i32(1.5) },
  mask: ({ q, kv, window, share, part }) => q - kv < window && kv * 2 > part && share > 0.5,
})
