/** reuse: a name and how to make a value in, the value kept under that name, or a new one, out. */

import { describe, patternError } from '../messages.ts'
import type { Rows } from './rows.ts'
import { dotProduct } from './vectors.ts'

/**
 * When a kept value is made anew: every so many calls, in the layers that a profile names, or when queries
 * move away.
 */
export type ReuseRule =
  | { readonly steps: number }
  | { readonly layers: true }
  | { readonly similar: Rows; readonly above: number }

interface Kept {
  readonly value: unknown
  readonly age: number
  readonly seenAs: Float64Array | null
}

/** What one sequence carries from call to call in one layer. */
export type Carried = Map<string, Kept>

let carried: Carried | null = null

/** Runs a program whose reuse() reads and writes these values. */
export function carrying<T>(values: Carried, run: () => T): T {
  const outer = carried
  carried = values
  try {
    return run()
  } finally {
    carried = outer
  }
}

/**
 * The value kept under a name since an earlier call of the same sequence and layer, or a new one: with
 * `steps`, every so many calls; with `similar`, when the cosine between those rows and the ones it was made
 * with falls to `above` or below; with `layers`, when none was published.
 *
 * @throws PatternError `bad-reuse`
 */
export function reuse<T>(name: string, make: () => T, rule: ReuseRule): T {
  const good =
    'steps' in rule ? Number.isInteger(rule.steps) && rule.steps >= 1 : 'layers' in rule || rule.above <= 1
  if (!good) throw patternError('bad-reuse', { got: describe('steps' in rule ? rule.steps : rule) })
  const seenAs = 'similar' in rule ? flat(rule.similar) : null
  const kept = carried?.get(name)
  const stale =
    kept === undefined ||
    ('steps' in rule && kept.age >= rule.steps) ||
    ('similar' in rule && !(cosine(kept.seenAs, seenAs) > rule.above))
  // The name is the author's promise of the type: one pattern uses it for one value.
  const value = stale ? make() : (kept.value as T)
  carried?.set(name, { value, age: stale ? 1 : kept.age + 1, seenAs: stale ? seenAs : kept.seenAs })
  return value
}

const flat = (x: Rows): Float64Array =>
  Float64Array.from(x.vectors.flatMap((units) => units.flatMap((v) => [...v])))

function cosine(a: Float64Array | null, b: Float64Array | null): number {
  if (!a || !b || a.length !== b.length) return -Infinity
  return dotProduct(a, b) / Math.sqrt(dotProduct(a, a) * dotProduct(b, b))
}
