import { pattern } from 'heddle'

let reach = 8
const LIST = [1, 2, 3]
LIST.push(4)

export const closures = pattern({
  name: 'closures',
  mask: ({ q, kv }) => {
    let near = 3
    const close = () => q - kv < near
    near += 1
    return close() || q - kv < reach || LIST.includes(kv)
  },
})
