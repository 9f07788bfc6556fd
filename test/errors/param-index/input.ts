import { attend, i32, pattern, perHead, where } from 'heddle'

export const windows = pattern({
  name: 'windows',
  params: { window: perHead(i32(64, { min: 1, max: 4096 })) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, window }) =>
    attend(
      Q,
      K,
      V,
      where(({ q, kv, kvHead }) => q - kv < window.at(kvHead)),
    ),
})
