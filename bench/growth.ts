/** What kernels took at some lengths in; what they would take at another, and which of them would take too long, out. */

import type { KernelTime } from './traced.ts'

export interface Measured {
  readonly length: number
  readonly kernels: readonly KernelTime[]
}

/** Between what grows with the length and what grows with its square: times of short calls tell little of long ones. */
const LEAST = 1
const MOST = 2.2

/** By name. Of one length alone, as the square. */
export function predicted(measured: readonly Measured[], length: number): Map<string, number> {
  const last = measured.at(-1)
  const before = measured.at(-2)
  return new Map(
    last?.kernels.map(({ name, ms }) => {
      const earlier = before?.kernels.find((k) => k.name === name)
      const grown = earlier && Math.log(ms / earlier.ms) / Math.log(last.length / before!.length)
      const power = grown === undefined ? 2 : Math.min(MOST, Math.max(LEAST, grown))
      return [name, ms * (length / last.length) ** power] as const
    }),
  )
}

/** Why a length is not run, in words; null if it may be. */
export function tooLong(
  measured: readonly Measured[],
  length: number,
  limits: { readonly kernelMs: number; readonly wholeMs: number },
): string | null {
  const times = predicted(measured, length)
  const about = (ms: number) => `${(ms / 1000).toPrecision(2)} s`
  const last = measured.at(-1)?.length
  const slow = [...times].find(([, ms]) => ms > limits.kernelMs)
  if (slow)
    return `N ${length} is not run: by its growth up to N ${last}, ${slow[0]} would take ${about(slow[1])}`
  const whole = [...times.values()].reduce((a, b) => a + b, 0)
  return whole > limits.wholeMs
    ? `N ${length} is not run: by its growth up to N ${last}, it would take ${about(whole)}`
    : null
}
