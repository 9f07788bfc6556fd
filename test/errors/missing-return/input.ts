import { pattern } from 'heddle'

const sign = (x: number): number | undefined => {
  if (x > 0) return 1
  if (x < 0) return -1
  return
}
function side(x: number): number | void {
  if (x > 3) return 1
}

export const paths = pattern({
  name: 'paths',
  mask: ({ q, kv }) => sign(q - kv) === 1 || side(q) === 1,
})
