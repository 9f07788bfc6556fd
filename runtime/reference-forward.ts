/** The oracle of patterns with a forward: the program run in f64 on each batch entry, its answers as one result. */

import {
  callOf,
  inputRows,
  perHeadScores,
  runForward,
  type Answer,
  type Call,
  type Carried,
  type Step,
} from '../dsl/stages/evaluate.ts'
import type { ForwardInputs, ForwardTable, Rows, RowsSpec, Share } from '../dsl/index.ts'
import { HeddleError } from './messages.ts'
import type {
  Named,
  Precision,
  Prepared,
  ReferenceCall,
  ReferencePattern,
  ReferenceResult,
} from './reference.ts'
import { tableAt } from './tables.ts'
import { readView, viewOf, type View } from './tensor.ts'

export type { Carried }

interface Entry {
  readonly answer: Answer
  readonly steps: readonly Step[]
}

export function attendForward(
  pattern: ReferencePattern,
  call: ReferenceCall,
  prepared: Prepared,
  precision: Precision,
): ReferenceResult {
  const { lengths, sizes } = prepared
  const rows = rowViews(pattern, call, prepared)
  const entries = lengths.map((_, b): Entry => {
    const steps: Step[] = []
    const answer = runEntry(pattern, prepared, precision, rows, b, steps, call.carried?.[b])
    return { answer, steps }
  })
  return collected(entries, lengths, sizes)
}

/** A pattern's forward as what its declaration promises: its own inputs are narrower than any pattern's. */
type AnyForward = (inputs: ForwardInputs) => ReturnType<Parameters<typeof runForward>[0]['forward']>

function runEntry(
  pattern: ReferencePattern,
  prepared: Prepared,
  precision: Precision,
  rows: ReadonlyMap<string, InputRows>,
  b: number,
  steps: Step[],
  carried: Carried | undefined,
): Answer {
  const { ix } = prepared
  const context = contextOf(pattern, prepared, precision, rows, b, steps)
  const inputs = inputsOf(pattern, prepared, rows, context, b)
  const sink = pattern.sinkLogit as ((ix: Named) => number) | null
  const sinkAt = (head: number): number => {
    prepared.enter(b, head)
    return sink!(ix)
  }
  const program = {
    name: (pattern as { readonly name?: string }).name ?? 'pattern',
    forward: pattern.forward as AnyForward,
    sinkAt: sink && sinkAt,
  }
  return runForward(program, inputs, carried)
}

/** What the words of one batch entry's program know: sizes, the mask, the score. */
function contextOf(
  pattern: ReferencePattern,
  { sizes, lengths, scale, ix, enter }: Prepared,
  { weigh, single }: Precision,
  rows: ReadonlyMap<string, InputRows>,
  b: number,
  trace: Step[],
): Call {
  const { qStart, qLen, kvLen } = lengths[b]!
  const at = (head: number, q: number, kv: number): Named => {
    // Forward programs ask head by head; another batch entry may have been entered in between.
    if (ix.head !== head || ix.batch !== b) enter(b, head)
    ix.q = q
    ix.kv = kv
    return ix
  }
  const mask = pattern.mask as (ix: Named) => boolean
  const score = pattern.score as ((s: number, ix: Named) => number) | null
  const indexed = [...rows.values()].find(({ spec }) => spec.share === 'indexHead')
  return callOf({
    batch: b,
    qHeads: sizes.qHeads,
    kvHeads: sizes.kvHeads,
    indexHeads: indexed?.view.shape[1] ?? 0,
    qStart,
    qLen,
    kvLen,
    headDim: sizes.headDim,
    scale,
    keeps: (head, q, kv) => mask(at(head, q, kv)),
    logit: (s, head, q, kv) => (score ? score(s, at(head, q, kv)) : s),
    single,
    weigh,
    trace,
  })
}

/** Everything that a forward program is given, by name. */
function inputsOf(
  pattern: ReferencePattern,
  prepared: Prepared,
  rows: ReadonlyMap<string, InputRows>,
  context: Call,
  b: number,
): ForwardInputs {
  const { params, tables, views, sizes } = prepared
  const { qRow, qLen, kvStart, kvLen } = prepared.lengths[b]!
  const { qHeads, kvHeads, headDim } = sizes
  const readRows = (view: View, { side, share, grain }: Omit<RowsSpec, 'kind'>): Rows => {
    const data = readView(view)
    const [, sharers, len, width] = view.shape
    const first = grain === 'whole' ? 0 : side === 'q' ? qRow : kvStart
    return inputRows(context, side, share, grain as 'token' | 'whole', width, (sharer, row) => {
      const at = ((b * sharers + sharer) * len + first + row) * width
      return data.slice(at, at + width)
    })
  }
  const inputs = (side: 'q' | 'kv', share: Share) => ({ side, share, grain: 'token' }) as const
  const own: Record<string, number | Rows | ForwardTable | ForwardInputs[string]> = { ...pattern.consts }
  for (const [name, values] of params) {
    own[name] = pattern.params[name]!.perHead ? perHeadScores(context, values) : values[0]!
  }
  for (const table of tables) {
    const { name, dims } = table.info
    own[name] = {
      kind: 'table-input',
      name,
      share: shareOf(dims),
      dims,
      sizes: table.sizes,
      at: (...index) => tableAt(table, index),
    }
  }
  for (const [name, { view, spec }] of rows) own[name] = readRows(view, spec)
  // A record with an index signature cannot say that these names are typed more narrowly; Inputs does.
  return {
    ...own,
    Q: readRows(views.q, inputs('q', 'head')),
    K: readRows(views.k, inputs('kv', 'kvHead')),
    V: readRows(views.v, inputs('kv', 'kvHead')),
    scale: prepared.scale,
    headDim,
    qLen,
    kvLen,
    qHeads,
    kvHeads,
  } as ForwardInputs
}

/** Who shares a table: the heads of its first dim, behind the batch. */
function shareOf(dims: readonly (string | number)[]): Share {
  const first = dims[0] === 'batch' ? dims[1] : dims[0]
  return first === 'head' || first === 'kvHead' || first === 'indexHead' ? first : 'request'
}

interface InputRows {
  readonly spec: RowsSpec
  readonly view: View
}

/** The call's row inputs, each there and of the shape that its declaration says. */
function rowViews(
  { tables }: ReferencePattern,
  { rows = {}, layout }: ReferenceCall,
  { sizes }: Prepared,
): ReadonlyMap<string, InputRows> {
  const declared = Object.entries(tables).flatMap(([name, spec]) =>
    spec.kind === 'rows-input' ? [[name, spec] as const] : [],
  )
  const known = declared.map(([name]) => name)
  for (const name of Object.keys(rows)) {
    if (!known.includes(name)) throw new HeddleError('rows-unknown', { name, known })
  }
  const found = new Map<string, InputRows>()
  let indexHeads: number | null = null
  for (const [name, spec] of declared) {
    const axes = ['batch', spec.share, 'tokens', 'channels']
    // The first rows of an indexer say how many heads it has.
    const sharers: Readonly<Record<Share, number | null>> = {
      head: sizes.qHeads,
      kvHead: sizes.kvHeads,
      request: 1,
      indexHead: indexHeads,
    }
    const tokens = spec.grain === 'whole' ? 1 : spec.side === 'q' ? sizes.qRows : sizes.kvRows
    const due = [sizes.batch, sharers[spec.share], tokens, null]
    const tensor = rows[name]
    if (!tensor) throw new HeddleError('rows-missing', { name, axes, expected: due.map((n) => n ?? 'any') })
    const view = viewOf(name, tensor, layout)
    const got = view.shape
    if (due.some((n, i) => n !== null && n !== got[i])) {
      throw new HeddleError('shape', { tensor: name, axes, expected: due.map((n, i) => n ?? got[i]!), got })
    }
    if (spec.share === 'indexHead') indexHeads = got[1]
    found.set(name, { spec, view })
  }
  return found
}

/** The entries' answers in the layout of a result. */
function collected(
  entries: readonly Entry[],
  lengths: Prepared['lengths'],
  { batch, qHeads, qRows, valueDim }: Prepared['sizes'],
): ReferenceResult {
  const out = new Float64Array(batch * qHeads * qRows * valueDim)
  const lse = new Float64Array(batch * qHeads * qRows).fill(-Infinity)
  const keeps = (b: number, head: number, row: number, kvRow: number): boolean => {
    const { qRow, qLen, kvStart, kvLen } = lengths[b]!
    const [r, kv] = [row - qRow, kvRow - kvStart]
    if (!(r >= 0 && r < qLen && kv >= 0 && kv < kvLen)) return false
    const { branches } = entries[b]!.answer
    return branches.some(({ held }) =>
      held.some(({ units, keys }) => units === null && keys[head]![r]![kv] === 1),
    )
  }
  let [kept, logitMax, valueMax] = [0, 0, 0]
  entries.forEach(({ answer }, b) => {
    const { qRow, qLen, kvStart, kvLen } = lengths[b]!
    for (let head = 0; head < qHeads; head++) {
      for (let r = 0; r < qLen; r++) {
        const row = (b * qHeads + head) * qRows + qRow + r
        out.set(answer.out[head]![r]!, row * valueDim)
        lse[row] = answer.lse === null ? Number.NaN : answer.lse[head]![r]!
        for (let kv = 0; kv < kvLen; kv++) kept += Number(keeps(b, head, qRow + r, kvStart + kv))
      }
    }
    for (const branch of answer.branches) {
      logitMax = Math.max(logitMax, branch.logitMax)
      valueMax = Math.max(valueMax, branch.valueMax)
    }
  })
  return { out, lse, kept, logitMax, valueMax, keeps, steps: entries.map(({ steps }) => steps) }
}
