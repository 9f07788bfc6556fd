/**
 * A lowered mask at one setting in; a JavaScript function over a rectangle of pairs out, for counting billions of them. What
 * reads no position is a constant of the text, what reads no key is computed once a row.
 */

import { compileFunction } from 'node:vm'
import { environmentOf, type Setting } from '../../compiler/mask-map.ts'
import type { PatternIr } from '../../compiler/plan.ts'
import { EVALS, write } from './script.ts'

/** First and last position, both inside, of rows and keys that are a step apart. */
export interface Spot {
  readonly qLo: number
  readonly qHi: number
  readonly kvLo: number
  readonly kvHi: number
  readonly step: number
}

export interface MaskProgram {
  /** How many pairs are kept; their keys are marked. */
  readonly count: (spot: Spot, marks: Uint8Array) => number
  readonly keepsAny: (spot: Spot) => boolean
  /** The sum of the kept keys' positions. */
  readonly sum: (spot: Spot) => number
}

const BODIES = {
  count: { kept: 'kept++; marks[kv] = 1', after: 'kept' },
  keepsAny: { kept: 'return true', after: 'false' },
  sum: { kept: 'kept += kv', after: 'kept' },
} as const

export function maskProgram(p: PatternIr, at: Setting): MaskProgram {
  const env = environmentOf(p, at)
  const { levels, results } = write([p.mask], env, [['q'], ['kv']])
  const make = ({ kept, after }: { readonly kept: string; readonly after: string }) => {
    const text = `
      const { qLo, qHi, kvLo, kvHi, step } = spot
      let kept = 0
      for (let q = qLo; q <= qHi; q += step) {
        ${levels[0]!.join('\n')}
        for (let kv = kvLo; kv <= kvHi; kv += step) {
          ${levels[1]!.join('\n')}
          if (${results[0]}) { ${kept} }
        }
      }
      return ${after}`
    const made = compileFunction(text, ['ops', 'load', 'spot', 'marks']) as (...args: unknown[]) => never
    return (spot: Spot, marks?: Uint8Array) => made(EVALS, env.load, spot, marks)
  }
  return { count: make(BODIES.count), keepsAny: make(BODIES.keepsAny), sum: make(BODIES.sum) }
}
