import { pattern } from 'heddle'

declare const OUTSIDE: number
declare function outside(x: number): number
class Box {}
const loop: number = next()
function next(): number {
  return loop + 1
}

export const names = pattern({
  name: 'names',
  mask: (ix) => ix.q < OUTSIDE || outside(ix.q) > 3 || ix.kv < loop || Box === undefined || [1, 2].indexOf(ix.q) > 0,
})
export const fields = pattern({
  name: 'fields',
  // @ts-expect-error: the editor says so too
  mask: ({ q, key }) => q < key,
})
export const globals = pattern({ name: 'globals', mask: ({ q }) => Number(q) > Number.MAX_VALUE })
