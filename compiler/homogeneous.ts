/** scalesWith(): an expression and a variable in; whether a factor of the variable that is not negative is one of the value, too, out. */

import type { Expr, VarName } from './ir.ts'

/** What becomes of a value when the variable is multiplied; of zero both are true. */
interface Change {
  readonly stays: boolean
  readonly scales: boolean
}

const NEITHER: Change = { stays: false, scales: false }

export function scalesWith(e: Expr, variable: VarName): boolean {
  const known = new Map<Expr, Change>()
  const changeOf = (n: Expr): Change => {
    const found = known.get(n) ?? derive(n)
    known.set(n, found)
    return found
  }
  const derive = (n: Expr): Change => {
    if (n.op === 'var')
      return n.arg === variable ? { stays: false, scales: true } : { stays: true, scales: false }
    if (n.op === 'const') return { stays: true, scales: n.arg === 0 }
    const src = n.src.map(changeOf)
    const all = (what: keyof Change, of = src) => of.every((c) => c[what])
    const [a, b] = [src[0] ?? NEITHER, src[1] ?? NEITHER]
    const stays = all('stays')
    switch (n.op) {
      case 'add':
      case 'sub':
      case 'neg':
      case 'abs':
      case 'min':
      case 'max':
        return { stays, scales: all('scales') }
      case 'mul':
        return { stays, scales: (a.stays && b.scales) || (a.scales && b.stays) }
      case 'div':
        return { stays, scales: a.scales && b.stays }
      // A comparison of what scales alike: where the factor is zero, what it chooses between is zero, too.
      case 'lt':
      case 'le':
      case 'eq':
        return { stays: stays || all('scales'), scales: false }
      case 'select':
        return { stays, scales: a.stays && all('scales', src.slice(1)) }
      default:
        return { stays, scales: false }
    }
  }
  return changeOf(e).scales
}
