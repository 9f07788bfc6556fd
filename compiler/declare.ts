/** i32(..), f32(..), perHead(..), table(..), pattern(..): the arguments of a declaration in, what it declares out. */

import type ts from 'typescript'
import { report, textOf, type Context } from './context.ts'
import type { Call } from './calls.ts'
import { SHARES } from './stages/graph.ts'
import { BAD, UNDEFINED, describeValue, type ParamSpec, type Value } from './value.ts'

const WORDS = ['i32', 'f32', 'perHead', 'table', 'rows', 'pattern'] as const
type DeclarationWord = (typeof WORDS)[number]

export const isDeclarationWord = (name: string): name is DeclarationWord => WORDS.some((w) => w === name)

/** Bounds of integers whose declaration gives none: sums of two stay inside int32. */
export const WIDEST_INT = 2 ** 30
const WIDEST_FLOAT = 3.4028234663852886e38

export const isDeclaredInt = (n: number): boolean => Number.isInteger(n) && Math.abs(n) <= WIDEST_INT

export function declare(cx: Context, word: DeclarationWord, call: Call): Value {
  switch (word) {
    case 'i32':
    case 'f32':
      return param(cx, word, call)
    case 'perHead': {
      const [spec] = call.args
      if (spec?.kind !== 'param-spec' || spec.spec.perHead)
        return unreadable(cx, call.at[0] ?? call.node, 'i32(..) or f32(..)', spec)
      return { kind: 'param-spec', spec: { ...spec.spec, perHead: true } }
    }
    case 'table':
      return table(cx, call)
    case 'rows':
      return rows(cx, call)
    case 'pattern':
      return { kind: 'pattern', call: call.node }
  }
}

const unreadable = (cx: Context, at: ts.Node, wanted: string, got: Value | undefined): Value =>
  report(cx, 'declaration', at, { wanted, got: got ? describeValue(got) : 'nothing', text: textOf(at) })

function param(cx: Context, type: 'i32' | 'f32', call: Call): Value {
  const [value] = call.args
  if (value?.kind !== 'number') return unreadable(cx, call.at[0] ?? call.node, 'a constant number', value)
  const widest = type === 'i32' ? WIDEST_INT : WIDEST_FLOAT
  const bounds = readBounds(cx, type, widest, call)
  if (!bounds) return BAD
  const { min, max } = bounds
  const valid = type === 'i32' ? isDeclaredInt(value.value) : Number.isFinite(value.value)
  if (!valid || value.value < min || value.value > max) {
    return report(cx, 'param-default', call.at[0]!, { type, value: String(value.value), min, max })
  }
  const spec: ParamSpec = { type, default: value.value, min, max, perHead: false }
  return { kind: 'param-spec', spec }
}

/** `{ min, max }`, the second argument. */
function readBounds(
  cx: Context,
  type: 'i32' | 'f32',
  widest: number,
  call: Call,
): { min: number; max: number } | null {
  const options = call.args[1]
  const at = call.at[1] ?? call.node
  const read = (name: string, otherwise: number): number | null => {
    const value = options?.kind === 'object' ? options.read(name, cx.program.spanOf(at)) : undefined
    if (value === undefined || value.kind === 'undefined') return otherwise
    const valid =
      value.kind === 'number' &&
      (type === 'i32'
        ? isDeclaredInt(value.value)
        : !Number.isNaN(value.value) && Math.abs(value.value) <= widest)
    if (valid) return value.value
    if (value.kind !== 'bad') report(cx, 'param-bounds', at, { type, bound: name, got: describeValue(value) })
    return null
  }
  const [min, max] = [read('min', -widest), read('max', widest)]
  if (min === null || max === null) return null
  if (min <= max) return { min, max }
  report(cx, 'param-range', at, { min, max })
  return null
}

/** `rows(side, share, grain?)`. */
function rows(cx: Context, call: Call): Value {
  const read = <const T extends string>(i: number, known: readonly T[], otherwise?: T): T | null => {
    const value = call.args[i]
    if (value === undefined && otherwise !== undefined) return otherwise
    const found = value?.kind === 'string' ? known.find((k) => k === value.value) : undefined
    if (found === undefined && value?.kind !== 'bad')
      unreadable(cx, call.at[i] ?? call.node, known.map((k) => `'${k}'`).join(' or '), value)
    return found ?? null
  }
  const side = read(0, ['q', 'kv'])
  const share = read(1, SHARES)
  const grain = read(2, ['token', 'whole'], 'token')
  return side && share && grain ? { kind: 'rows-spec', spec: { side, share, grain } } : BAD
}

function table(cx: Context, call: Call): Value {
  const [type, dims, options] = call.args
  if (type?.kind !== 'string' || (type.value !== 'i32' && type.value !== 'f32')) {
    return unreadable(cx, call.at[0] ?? call.node, "'i32' or 'f32'", type)
  }
  const items = dims?.kind === 'array' ? dims.items : []
  const read = items.flatMap((d) =>
    d.kind === 'string' || (d.kind === 'number' && isDeclaredInt(d.value) && d.value >= 1) ? [d.value] : [],
  )
  if (read.length !== items.length || items.length < 1 || items.length > 4) {
    return unreadable(cx, call.at[1] ?? call.node, 'a list of one to four axes or sizes', dims)
  }
  const bounds = readBounds(cx, type.value, type.value === 'i32' ? WIDEST_INT : Infinity, {
    ...call,
    args: [type, options ?? UNDEFINED],
    at: [call.at[0]!, call.at[2] ?? call.node],
  })
  if (!bounds) return BAD
  const flag = options?.kind === 'object' ? options.read('monotone', cx.program.spanOf(call.node)) : undefined
  if (flag && flag.kind !== 'boolean') return unreadable(cx, call.at[2]!, '`monotone: true`', flag)
  return {
    kind: 'table-spec',
    spec: { type: type.value, dims: read, monotone: flag?.kind === 'boolean' && flag.value, ...bounds },
  }
}
