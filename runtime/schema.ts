/** Checks of records of unknown origin: small functions that are put together to the shape a record should have. */

import type { DerivedUniform } from '../codegen/artifact.ts'
import type { ParamInfo, TableInfo } from '../compiler/plan.ts'
import { HeddleError } from './messages.ts'

/** What is wrong with a value, or null. */
export type Check = (x: unknown, path: string) => string | null

const of =
  (type: 'string' | 'number' | 'boolean'): Check =>
  (x, path) =>
    typeof x === type ? null : `${path} is no ${type}`
export const string = of('string')
export const number = of('number')
export const boolean = of('boolean')
export const anything: Check = () => null
export const count: Check = (x, path) =>
  Number.isInteger(x) && (x as number) > 0 ? null : `${path} is no positive whole number`
export const place: Check = (x, path) =>
  Number.isInteger(x) && (x as number) >= 0 ? null : `${path} is no whole number`
export const oneOf =
  (...values: readonly unknown[]): Check =>
  (x, path) =>
    values.includes(x) ? null : `${path} is ${JSON.stringify(x) ?? 'missing'}, none of ${values.join(', ')}`
/** JSON writes an infinite bound as null. */
export const bound: Check = (x, path) => (x === null ? null : number(x, path))
export const nullable =
  (check: Check): Check =>
  (x, path) =>
    x === null ? null : check(x, path)
export const optional =
  (check: Check): Check =>
  (x, path) =>
    x === undefined ? null : check(x, path)
export const either =
  (a: Check, b: Check): Check =>
  (x, path) =>
    a(x, path) === null ? null : b(x, path)
export const first = <T>(items: Iterable<T>, f: (item: T) => string | null): string | null => {
  for (const item of items) {
    const wrong = f(item)
    if (wrong !== null) return wrong
  }
  return null
}
export const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)
export const listOf =
  (check: Check): Check =>
  (x, path) =>
    Array.isArray(x) ? first(x.entries(), ([i, item]) => check(item, `${path}[${i}]`)) : `${path} is no list`
export const recordOf =
  <T>(fields: { readonly [K in keyof T]-?: Check }): Check =>
  (x, path) =>
    isRecord(x)
      ? first(Object.entries<Check>(fields), ([key, check]) =>
          check(x[key], path === '' ? key : `${path}.${key}`),
        )
      : `${path === '' ? 'it' : path} is no record`
export const mapOf =
  (check: Check): Check =>
  (x, path) =>
    isRecord(x)
      ? first(Object.entries(x), ([key, item]) => check(item, `${path}.${key}`))
      : `${path} is no record`

const type = oneOf('i32', 'f32')
const axis = oneOf('batch', 'head', 'kvHead', 'indexHead', 'qLen', 'kvLen', 'headDim')

export const paramInfo = recordOf<ParamInfo>({
  name: string,
  type,
  default: number,
  min: number,
  max: number,
  perHead: boolean,
})
export const tableInfo = recordOf<TableInfo>({
  name: string,
  type,
  dims: listOf(either(count, axis)),
  min: bound,
  max: bound,
  monotone: boolean,
})
export const derivedUniform = recordOf<DerivedUniform>({ name: string, type, value: anything })

/** JSON's value, or why it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    throw new HeddleError('not-an-artifact', { what }, { cause })
  }
}
