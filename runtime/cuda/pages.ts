/** Paged keys and values: the caller's page table in, checked as far as the host can see it; the sizes of the call out. */

import type { RealLength } from '../lengths.ts'
import { HeddleError } from '../messages.ts'
import type { Shape } from '../tensor.ts'
import type { Address } from './driver.ts'

export interface Pages {
  /** [batch][perSequence] page numbers, row-major, on the host (checked) or on the device (trusted). */
  readonly table: Int32Array | Address
  /** Entries of a batch entry; of a table on the host by default its length over batch. */
  readonly perSequence?: number
}

export interface PageShape {
  readonly perSequence: number
  readonly pageSize: number
  readonly pageCount: number
}

/** @param k shape of the pages: [pages, kvHeads, page size, dim] */
export function pageShape(pages: Pages, batch: number, [pageCount, , pageSize]: Shape): PageShape {
  const { table } = pages
  if (pageSize < 1)
    throw new HeddleError('page-table', {
      what: 'table',
      expected: 'pages of one token or more',
      got: pageSize,
    })
  const onHost = typeof table !== 'bigint'
  if (onHost && !(table instanceof Int32Array))
    throw new HeddleError('page-table', {
      what: 'table',
      expected: 'an Int32Array or an address on the device',
      got: typeof table,
    })
  const perSequence: unknown = pages.perSequence ?? (onHost ? table.length / batch : undefined)
  const whole = typeof perSequence === 'number' && Number.isInteger(perSequence) && perSequence >= 0
  if (!whole) {
    const expected = `a whole number of entries for each of the ${batch} batch entries`
    throw new HeddleError('page-table', { what: 'perSequence', expected, got: perSequence })
  }
  if (onHost && table.length !== perSequence * batch) {
    const expected = `${batch} x ${perSequence} entries`
    throw new HeddleError('page-table', { what: 'table', expected, got: `${table.length} entries` })
  }
  return { perSequence, pageSize, pageCount }
}

/** Entries that hold a key of the sequence name a page that is there; others are never read. */
export function checkEntries(
  table: Int32Array,
  { perSequence, pageSize, pageCount }: PageShape,
  lengths: readonly RealLength[],
): void {
  for (const [batch, { kvStart, kvLen }] of lengths.entries()) {
    if (kvLen === 0) continue
    const last = Math.floor((kvStart + kvLen - 1) / pageSize)
    for (let at = Math.floor(kvStart / pageSize); at <= last; at++) {
      const got = table[batch * perSequence + at]!
      if (got < 0 || got >= pageCount)
        throw new HeddleError('page-entry', { batch, at, pages: pageCount, got })
    }
  }
}
