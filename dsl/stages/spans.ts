/** Spans of keys: bounds or spans in, one span for each query unit, or its parts, out. */

import { patternError } from '../messages.ts'
import { qTokens, kvTokens, type Call, type Share } from './call.ts'
import { checkKind, checkSize } from './check.ts'
import { cutUnits, type Grouping } from './groupings.ts'
import { VISIBLE } from './scores.ts'
import { cellForm, cellsOf, type Sel } from './sets.ts'
import { members, unitsAt, type Grain, type Members, type Unit, type Units } from './units.ts'

type SpanUnits = Units<'kv', 'span', 'natural'>

const span = (index: number, start: number, end: number): Members =>
  members(
    index,
    Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i),
  )

/** A set of all spans of the lists, one list for each sharer and query unit. */
function spanSet<H extends Share, Q extends Units>(
  call: Call,
  share: H,
  q: Q,
  lists: readonly (readonly (readonly Members[])[])[],
): Sel<H, Q, SpanUnits> {
  const kv: SpanUnits = { side: 'kv', grain: 'span', order: 'natural', lists, line: kvTokens(call).line }
  return cellsOf(
    call,
    share,
    q,
    kv,
    () => true,
    () => VISIBLE,
  )
}

/**
 * One span of keys for each unit of the queries: from `start` up to `end`, of which only keys that exist
 * count.
 *
 * @throws PatternError `bad-span`
 * @example range(blocks(32), (q) => [0, q.first])
 */
export function range<G extends Grain>(
  by: Grouping<G>,
  f: (q: Unit) => readonly [start: number, end: number],
): Sel<'request', Units<'q', G, 'natural'>, SpanUnits> {
  checkKind('range', by, 'grouping')
  const spansOf = (call: Call): Sel => {
    const q = cutUnits(by, qTokens(call), call, 'request')
    const rows = unitsAt(q, 0).map((unit) => {
      const [start, end] = f(unit)
      if (![start, end].every(Number.isInteger)) throw patternError('bad-span', { start, end })
      const made = span(0, Math.max(0, start), Math.min(call.kvLen, end))
      return made.length > 0 ? [made] : []
    })
    return spanSet(call, 'request', q, [rows])
  }
  return lazily(by.grain, spansOf)
}

/** Spans that are known where the call is; until then their axes are empty. */
function lazily<G extends Grain>(
  grain: G,
  spansOf: (call: Call) => Sel,
): Sel<'request', Units<'q', G, 'natural'>, SpanUnits> {
  const none = { order: 'natural', lists: [[[]]], line: [[]] } as const
  return {
    kind: 'set',
    share: 'request',
    q: { side: 'q', grain, ...none },
    kv: { side: 'kv', grain: 'span', ...none },
    body: { form: 'spans', spansOf },
  }
}

/**
 * Every chosen span cut: into `parts` of nearly equal length, part i from floor(length i / parts), or into
 * spans of `size` keys, the last one shorter. Empty parts do not exist.
 *
 * @throws PatternError `bad-size`
 */
export function split<H extends Share, Q extends Units>(
  spans: Sel<H, Q, SpanUnits>,
  by: { readonly parts: number } | { readonly size: number },
): Sel<H, Q, SpanUnits> {
  checkKind('split', spans, 'set')
  const [name, given] = 'parts' in by ? (['parts', by.parts] as const) : (['size', by.size] as const)
  checkSize('split', name, given)
  const boundsOf = (length: number): readonly number[] => {
    if (name === 'parts') return Array.from({ length: given + 1 }, (_, i) => Math.floor((length * i) / given))
    return [...Array.from({ length: Math.ceil(length / given) }, (_, i) => i * given), length]
  }
  const cutAll = (whole: Sel): Sel => {
    const { body, kv, share, q } = cellForm('split', whole, null)
    const lists = body.has.map((rows, at) =>
      rows.map((has, row) =>
        unitsAt(kv, at, row)
          .filter((_, column) => has[column] === 1)
          .flatMap((unit) => {
            const bounds = boundsOf(unit.length)
            return bounds.slice(1).map((end, i) => [unit.first + bounds[i]!, unit.first + end] as const)
          })
          .filter(([start, end]) => end > start)
          .map(([start, end], index) => span(index, start, end)),
      ),
    )
    return spanSet(body.call, share, q, lists)
  }
  const { body } = spans
  if (body.form !== 'spans') return cutAll(spans) as Sel<H, Q, SpanUnits>
  return { ...spans, body: { form: 'spans', spansOf: (call) => cutAll(body.spansOf(call)) } }
}
