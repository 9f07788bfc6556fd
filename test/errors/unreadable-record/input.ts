import { i32, pattern, rename } from 'heddle'

const key = 'size' as string
const some = (): { name: string } => ({ name: 'made' })

export const computed = pattern({
  name: 'computed',
  params: { [key]: i32(1) } as never,
  mask: ({ q, kv }) => kv <= q,
})
export const spread = pattern({ ...some(), mask: ({ q, kv }) => kv <= q })
export const renamed = rename(spread, { get size() { return 'x' } } as never)
