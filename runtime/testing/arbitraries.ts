/** fast-check's module and a generator of this kit in, a fast-check arbitrary with shrinking out. */

import type * as FastCheck from 'fast-check'
import { drawSeeded, simplerThan, type Drawn, type Generator } from './draw.ts'

/** fast-check is the caller's: this kit works without it, so it is handed in and not imported. */
export type FastCheckModule = Pick<typeof FastCheck, 'Arbitrary' | 'Value' | 'stream'>

/**
 * An arbitrary of what `generate` makes.
 *
 * @example
 * import fc from 'fast-check'
 * await fc.assert(fc.asyncProperty(arbitrary(fc, (d) => drawCase(mine, variant, d)), async (c) => ..))
 */
export function arbitrary<T>(fc: FastCheckModule, generate: Generator<T>): FastCheck.Arbitrary<T> {
  const wrap = ({ value, tape }: Drawn<T>) => new fc.Value(value, tape)
  class Drawing extends fc.Arbitrary<T> {
    override generate(random: FastCheck.Random): FastCheck.Value<T> {
      return wrap(drawSeeded(generate, random.nextInt()))
    }
    // Without its tape a value cannot be made simpler.
    override canShrinkWithoutContext(_value: unknown): _value is T {
      return false
    }
    override shrink(_value: T, tape: unknown): FastCheck.Stream<FastCheck.Value<T>> {
      const simpler = function* () {
        for (const drawn of simplerThan(generate, tape as readonly number[])) yield wrap(drawn)
      }
      return fc.stream(simpler())
    }
  }
  return new Drawing()
}

/** Gives a value the text that fast-check prints for it. */
export function readable<T extends object>(value: T, text: () => string): T {
  return Object.defineProperty(value, Symbol.for('fast-check/toStringMethod'), {
    value: text,
    enumerable: false,
  })
}
