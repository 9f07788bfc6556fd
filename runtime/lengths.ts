/** Per-batch starts and lengths: what the caller gave in, what every kernel and the oracle use out. */

import { HeddleError } from './messages.ts'
import { LIMITS, type Sizes } from './tensor.ts'

/**
 * Which rows of a batch entry are real, and where they stand. Query rows [qRow, qRow + qLen) are tokens qStart, qStart + 1,
 * ..; key rows [kvStart, kvStart + kvLen) are tokens 0, 1, .. Rows outside give output 0 and LSE -Infinity.
 */
export interface Length {
  readonly qRow?: number
  /** By default kvLen - qLen: the last query is the last token. */
  readonly qStart?: number
  readonly qLen?: number
  readonly kvStart?: number
  readonly kvLen?: number
}

export type RealLength = Required<Length>

const FIELDS: readonly string[] = ['qRow', 'qStart', 'qLen', 'kvStart', 'kvLen'] satisfies (keyof Length)[]

export function resolveLengths(
  lengths: readonly Length[] | undefined,
  { batch, qRows, kvRows }: Pick<Sizes, 'batch' | 'qRows' | 'kvRows'>,
): RealLength[] {
  const given: unknown = lengths
  if (given !== undefined && (!Array.isArray(given) || given.length !== batch)) {
    const got = Array.isArray(given) ? given.length : given
    throw new HeddleError('lengths-count', { expected: batch, got })
  }
  return Array.from({ length: batch }, (_, b) => resolve(lengths?.[b] ?? {}, b, qRows, kvRows))
}

function resolve(entry: Length, batch: number, qRows: number, kvRows: number): RealLength {
  for (const field of Object.keys(entry)) {
    if (!FIELDS.includes(field)) throw new HeddleError('length-unknown', { field, batch })
  }
  const whole = (field: keyof Length, otherwise: number, least: number, most: number): number => {
    const got: unknown = entry[field] ?? otherwise
    if (typeof got === 'number' && Number.isInteger(got) && got >= least && got <= most) return got + 0
    throw new HeddleError('length', { field, batch, least, most, got })
  }
  const qRow = whole('qRow', 0, 0, qRows)
  const qLen = whole('qLen', qRows - qRow, 0, qRows - qRow)
  const kvStart = whole('kvStart', 0, 0, kvRows)
  const kvLen = whole('kvLen', kvRows - kvStart, 0, kvRows - kvStart)
  // Where there is nothing to attend or nobody to attend, the position of the first query means nothing.
  const free = kvLen === 0 || qLen === 0
  if (entry.qStart === undefined && kvLen < qLen && !free) {
    throw new HeddleError('negative-start', { batch, qLen, kvLen })
  }
  const qStart = whole('qStart', free ? 0 : kvLen - qLen, -LIMITS.length, LIMITS.length - qLen)
  return { qRow, qStart, qLen, kvStart, kvLen }
}
