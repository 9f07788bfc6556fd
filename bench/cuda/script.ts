/** Lowered expressions at one setting in; JavaScript text that computes them, fast enough to be asked billions of times, out. */

import { evaluate, nodesOf, readsVar, type Environment, type Expr, type VarName } from '../../compiler/ir.ts'
import { OPS } from '../../compiler/ops.ts'

/** What the text reads as `ops`: the op table's own evaluations. */
export const EVALS = Object.fromEntries(Object.entries(OPS).map(([op, row]) => [op, row.eval]))

export interface Written {
  /** One list a level, in the order of the levels: declarations of what reads that level's variables and earlier ones. */
  readonly levels: readonly (readonly string[])[]
  /** Of each root. */
  readonly results: readonly string[]
}

/**
 * Variables come into being level by level, as loops do. What reads none of them is a constant of the text, a number that
 * reads some gets a name at the last level it reads; conditions stay nested, so that they end early.
 */
export function write(
  roots: readonly Expr[],
  env: Environment,
  variables: readonly (readonly VarName[])[],
): Written {
  const levels = variables.map((): string[] => [])
  const texts = new Map<Expr, string>()
  for (const e of nodesOf(...roots)) {
    const level = variables.findLastIndex((names) => readsVar(e, ...names))
    const text =
      level < 0
        ? String(evaluate(e, env))
        : e.op === 'var'
          ? e.arg
          : printed(
              e,
              e.src.map((s) => texts.get(s)!),
            )
    if (e.type === 'bool' || e.op === 'var' || level < 0) {
      texts.set(e, text)
      continue
    }
    levels[level]!.push(`const n${e.id} = ${text}`)
    texts.set(e, `n${e.id}`)
  }
  return { levels, results: roots.map((root) => texts.get(root)!) }
}

const INFIX: Readonly<Partial<Record<Expr['op'], string>>> = {
  add: '+',
  sub: '-',
  mul: '*',
  lt: '<',
  le: '<=',
  eq: '===',
  and: '&&',
  or: '||',
}

function printed(e: Expr, src: readonly string[]): string {
  const [a, b] = src as [string, string]
  const infix = INFIX[e.op]
  if (infix) return `(${a} ${infix} ${b})`
  if (e.op === 'not') return `!(${a})`
  if (e.op === 'select') return `(${a} ? ${b} : ${src[2]})`
  if (e.op === 'load') return `load(${JSON.stringify(e.arg)}, [${src.join(', ')}])`
  if (e.op === 'pick') return `([${e.arg.join(', ')}][${a}] ?? 0)`
  // Shifts and masks round down as the op does, and are several times faster than a division of doubles.
  const power = /^\d+$/.test(b ?? '') && Math.log2(Number(b))
  if (typeof power === 'number' && Number.isInteger(power) && power < 31) {
    if (e.op === 'floorDiv') return `(${a} >> ${power})`
    if (e.op === 'mod') return `(${a} & ${Number(b) - 1})`
    if (e.op === 'alignDown') return `(${a} & ${-Number(b)})`
  }
  return `ops.${e.op}(${src.join(', ')})`
}
