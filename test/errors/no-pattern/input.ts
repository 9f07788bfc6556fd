export const near = (a: number, b: number): boolean => a - b < 8
