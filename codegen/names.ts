/** Names: a wish for an identifier in, one that is legal and fresh in its scope out. */

export class Names {
  readonly #reserved: ReadonlySet<string>
  readonly #outer: Names | null
  readonly #used = new Set<string>()

  constructor(reserved: ReadonlySet<string>, outer: Names | null = null) {
    this.#reserved = reserved
    this.#outer = outer
  }

  /** A scope inside this one: its names do not collide with those around it, nor later ones with its own. */
  child(): Names {
    return new Names(this.#reserved, this)
  }

  #taken(text: string): boolean {
    return (
      this.#reserved.has(text) || this.#used.has(text) || (this.#outer !== null && this.#outer.#taken(text))
    )
  }

  fresh(wish: string): string {
    const base = legal(wish)
    let text = base
    for (let n = 2; this.#taken(text); n++) text = `${base}_${n}`
    this.#used.add(text)
    return text
  }
}

/** TypeScript allows `$` and letters beyond ASCII; a name must not begin with a digit or two underscores. */
function legal(wish: string): string {
  const text = wish.replace(/[^A-Za-z0-9_]/g, '_')
  return /^[A-Za-z]/.test(text) ? text : `x${text}`
}
