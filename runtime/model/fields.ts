/** JSON of a model's folder: bytes in, records out whose fields are read with their checks; a misfit names file and field. */

import { HeddleError } from '../messages.ts'
import { missing, type ModelSource } from './source.ts'

export type Json = Readonly<Record<string, unknown>>

export const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A text file as a whole; `most` bytes are all that it may have. Null where there is no such file. */
export async function readText(source: ModelSource, name: string, most: number): Promise<string | null> {
  const size = await source.size(name)
  if (size === null) return null
  if (size > most) throw new HeddleError('model-file-large', { name, most, got: size })
  return decodeText(name, await source.read(name, { begin: 0, end: size }))
}

export function decodeText(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new HeddleError('model-json', { name, detail: 'it is not UTF-8' }, { cause })
  }
}

export function parseRecord(name: string, text: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new HeddleError(
      'model-json',
      { name, detail: cause instanceof Error ? cause.message : String(cause) },
      { cause },
    )
  }
  if (!isRecord(value)) throw new HeddleError('model-json', { name, detail: 'it is no record' })
  return value
}

export async function readRecord(source: ModelSource, name: string, most: number): Promise<Json | null> {
  const text = await readText(source, name, most)
  return text === null ? null : parseRecord(name, text)
}

export async function needRecord(source: ModelSource, name: string, most: number): Promise<Json> {
  const record = await readRecord(source, name, most)
  if (record === null) throw missing(source.place, name)
  return record
}

export interface Bounds {
  readonly least: number
  readonly most: number
}

/** Checked reads of one record. Null counts as absent, as it does for transformers; an absent field takes `or`, or is refused. */
export interface Fields {
  readonly file: string
  has(key: string): boolean
  raw(key: string): unknown
  whole(key: string, bounds: Bounds, or?: number): number
  number(key: string, bounds: Bounds, or?: number): number
  flag(key: string, or?: boolean): boolean
  text(key: string, or?: string): string
  /** The record at `key`, or null where there is none. */
  record(key: string): Fields | null
  /** The error of a field that is not as expected. */
  refuse(key: string, expected: string): HeddleError
}

export function fieldsOf(file: string, record: Json, path = ''): Fields {
  const raw = (key: string): unknown => (Object.hasOwn(record, key) ? (record[key] ?? undefined) : undefined)
  const refuse = (key: string, expected: string) =>
    new HeddleError('model-field', { file, field: path + key, expected, got: raw(key) ?? null })
  const read = <T>(key: string, or: T | undefined, expected: string, fits: (x: unknown) => x is T): T => {
    const value = raw(key) ?? or
    if (!fits(value)) throw refuse(key, expected)
    return value
  }
  const between = ({ least, most }: Bounds) => `from ${least} to ${most}`
  const inside =
    ({ least, most }: Bounds, also: (x: number) => boolean) =>
    (x: unknown): x is number =>
      typeof x === 'number' && x >= least && x <= most && also(x)
  return {
    file,
    has: (key) => Object.hasOwn(record, key),
    raw,
    refuse,
    whole: (key, bounds, or) =>
      read(key, or, `a whole number ${between(bounds)}`, inside(bounds, Number.isInteger)),
    number: (key, bounds, or) =>
      read(key, or, `a number ${between(bounds)}`, inside(bounds, Number.isFinite)),
    flag: (key, or) => read(key, or, 'true or false', (x) => typeof x === 'boolean'),
    text: (key, or) => read(key, or, 'a text', (x) => typeof x === 'string'),
    record(key) {
      const value = raw(key)
      if (value === undefined) return null
      if (!isRecord(value)) throw refuse(key, 'a record')
      return fieldsOf(file, value, `${path}${key}.`)
    },
  }
}
