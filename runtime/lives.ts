/** Lives: stored values with the steps between which they are there in; where each lies, those that never meet in one place, out. */

export interface Life {
  readonly bytes: number
  /** The steps that first and last speak of the value. */
  readonly first: number
  readonly last: number
}

export interface Packed {
  /** Of each value, in order. */
  readonly offsets: readonly number[]
  readonly bytes: number
}

/** The largest first, each as low as those allow that it meets; `granule`: what offsets are multiples of. */
export function pack(lives: readonly Life[], granule: number): Packed {
  const offsets = lives.map(() => 0)
  const placed: { readonly from: number; readonly to: number; readonly life: Life }[] = []
  const order = lives.map((_, i) => i).sort((a, b) => lives[b]!.bytes - lives[a]!.bytes || a - b)
  for (const i of order) {
    const life = lives[i]!
    const size = Math.ceil(life.bytes / granule) * granule
    const met = placed.filter((p) => p.life.first <= life.last && life.first <= p.life.last)
    let at = 0
    for (const { from, to } of met.toSorted((a, b) => a.from - b.from)) {
      if (at + size <= from) break
      at = Math.max(at, to)
    }
    offsets[i] = at
    placed.push({ from: at, to: at + size, life })
  }
  return { offsets, bytes: Math.max(0, ...placed.map((p) => p.to)) }
}

/** The first and the last step that speaks of each name; what a step's kernels speak of lives through all of it. */
export function livesOf(
  steps: readonly (readonly string[])[],
): ReadonlyMap<string, Pick<Life, 'first' | 'last'>> {
  const lives = new Map<string, { first: number; last: number }>()
  steps.forEach((names, i) => {
    for (const name of names) lives.set(name, { first: lives.get(name)?.first ?? i, last: i })
  })
  return lives
}
