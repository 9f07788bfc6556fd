import { pattern } from 'heddle'

const f1 = (x: number): number => x + 1
const f4 = (x: number): number => f1(x) + f1(x) + f1(x) + f1(x)
const f5 = (x: number): number => f4(x) + f4(x) + f4(x) + f4(x) + f4(x) + f4(x) + f4(x) + f4(x)
const f6 = (x: number): number => f5(x) + f5(x) + f5(x) + f5(x) + f5(x) + f5(x) + f5(x) + f5(x)
const f7 = (x: number): number => f6(x) + f6(x) + f6(x) + f6(x) + f6(x) + f6(x) + f6(x) + f6(x)
const f8 = (x: number): number => f7(x) + f7(x) + f7(x) + f7(x) + f7(x) + f7(x) + f7(x) + f7(x)
const f9 = (x: number): number => f8(x) + f8(x) + f8(x) + f8(x) + f8(x) + f8(x) + f8(x) + f8(x)

export const towers = pattern({ name: 'towers', mask: ({ q, kv }) => f9(q) > f9(kv) })
