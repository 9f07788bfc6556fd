/** A seed or a tape of choices in, random values out: every value drawn can be drawn again, and made simpler. */

/** Numbers in [0, 1) from a 32-bit seed (splitmix32): the same on every machine. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let z = state ^ (state >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z ^= z >>> 15
    z = Math.imul(z, 0x735a2d97)
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32
  }
}

/**
 * What a generator draws from. Each draw is a choice of one of `size` values; 0 is the simplest of them. The choices
 * are kept on a tape: playing it again gives the same value, playing a lesser tape gives a simpler one.
 */
export class Draw {
  readonly tape: number[] = []
  readonly #next: (size: number, at: number) => number

  private constructor(next: (size: number, at: number) => number) {
    this.#next = next
  }

  static fromSeed(seed: number): Draw {
    const random = seededRandom(seed)
    return new Draw((size) => Math.floor(random() * size))
  }

  static fromTape(tape: readonly number[]): Draw {
    return new Draw((size, at) => Math.min(tape[at] ?? 0, size - 1))
  }

  /** A whole number in [0, size). */
  choose(size: number): number {
    const value = this.#next(size, this.tape.length)
    this.tape.push(value)
    return value
  }

  /** A whole number in [lo, hi]; the one nearest 0 is the simplest. */
  int(lo: number, hi: number): number {
    const start = Math.min(Math.max(0, lo), hi)
    const up = hi - start
    const down = start - lo
    const c = this.choose(hi - lo + 1)
    const both = Math.min(up, down)
    if (c <= 2 * both) return start + (c % 2 === 1 ? (c + 1) / 2 : -c / 2)
    return up > down ? start + (c - both) : start - (c - both)
  }

  /** As int, but values near the simplest are far more likely than others. */
  smallInt(lo: number, hi: number): number {
    const start = Math.min(Math.max(0, lo), hi)
    const reach = [4, 16, 64, Infinity][this.choose(8) >> 1]!
    return this.int(Math.max(lo, start - reach), Math.min(hi, start + reach))
  }

  /** One in `n`. */
  oneIn(n: number): boolean {
    return this.choose(n) === n - 1
  }

  /** One of a list; the first is the simplest. */
  pick<const T>(list: readonly T[]): T {
    return list[this.choose(list.length)]!
  }

  /** A multiple of 1/64 in [lo, hi], so that it is the same number in f32 and f16. */
  float(lo: number, hi: number): number {
    return this.int(Math.ceil(lo * 64), Math.floor(hi * 64)) / 64
  }

  list<T>(length: number, item: (i: number) => T): T[] {
    return Array.from({ length }, (_, i) => item(i))
  }
}

/** A function that makes a value out of choices. */
export type Generator<T> = (d: Draw) => T

export interface Drawn<T> {
  readonly value: T
  readonly tape: readonly number[]
}

export function drawSeeded<T>(generate: Generator<T>, seed: number): Drawn<T> {
  const d = Draw.fromSeed(seed)
  const value = generate(d)
  return { value, tape: d.tape }
}

const simpler = (a: readonly number[], b: readonly number[]): boolean => {
  if (a.length !== b.length) return a.length < b.length
  const at = a.findIndex((x, i) => x !== b[i])
  return at >= 0 && a[at]! < b[at]!
}

/** Values simpler than the one that a tape made: the most different first, none twice. */
export function* simplerThan<T>(generate: Generator<T>, tape: readonly number[]): Lazily<Drawn<T>> {
  const tried = new Set<string>([tape.join()])
  const attempt = (choices: readonly number[]): Drawn<T> | null => {
    const d = Draw.fromTape(choices)
    const value = generate(d)
    const key = d.tape.join()
    if (tried.has(key) || !simpler(d.tape, tape)) return null
    tried.add(key)
    return { value, tape: d.tape }
  }
  for (const choices of lesserTapes(tape)) {
    const made = attempt(choices)
    if (made) yield made
  }
}
type Lazily<T> = globalThis.Generator<T, void, void>

/** How far behind its length the item of a list is looked for. */
const MOST_ITEMS = 16

function* lesserTapes(tape: readonly number[]): Lazily<number[]> {
  const n = tape.length
  for (let size = n; size >= 1; size = size >> 1) {
    for (let at = 0; at < n; at += size) {
      const end = Math.min(n, at + size)
      if (size > 1 || tape[at]! > 0) {
        yield tape.map((c, i) => (i >= at && i < end ? 0 : c))
        yield [...tape.slice(0, at), ...tape.slice(end)]
      }
    }
  }
  for (let at = 0; at < n; at++) {
    const c = tape[at]!
    for (const less of new Set([c >> 1, c - 2, c - 1])) {
      if (less > 0) yield tape.map((x, i) => (i === at ? less : x))
    }
  }
  // A list's length and one of its items: neither can go alone.
  for (let at = 0; at < n; at++) {
    if (tape[at] === 0) continue
    for (let item = at + 1; item < Math.min(n, at + MOST_ITEMS); item++) {
      yield tape.flatMap((c, i) => (i === item ? [] : [i === at ? c - 1 : c]))
    }
  }
}

/** Goes to ever simpler values for which `fails` still holds, in at most `attempts` tries. */
export async function shrink<T>(
  generate: Generator<T>,
  found: Drawn<T>,
  fails: (value: T) => Promise<boolean>,
  attempts: number,
): Promise<Drawn<T>> {
  let best = found
  let left = attempts
  for (let again = true; again && left > 0;) {
    again = false
    for (const candidate of simplerThan(generate, best.tape)) {
      if (left-- <= 0) break
      if (await fails(candidate.value)) {
        best = candidate
        again = true
        break
      }
    }
  }
  return best
}
