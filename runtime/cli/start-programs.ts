/** A pattern with a `forward` and a device in; the pattern compiled, run, checked and timed, as a row of `heddle start`, out. */

import { emitWhereAble } from '../../codegen/index.ts'
import type { TileClass } from '../../compiler/tiles.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { SELECTION_EXAMPLES, selectionInputs } from '../../patterns/selection-examples.ts'
import type { LibraryEntry } from '../../patterns/index.ts'
import { causalPairs } from './bench.ts'
import { mapSvg, type Cells } from './picture.ts'
import { PAGE_COLOURS, type ReportRow } from './report.ts'
import { printParams } from './setting.ts'
import { HEAD_DIM, outcomeOf, tensorsFor, type Outcome } from './start-check.ts'
import { textsOf } from './stage-texts.ts'
import { timeKernel, type TimedCall } from './timer.ts'

/** Of tiles that are part of the meaning, those of a kernel. */
const KERNEL_TILES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  blasst: { tileQ: 32, tileKv: 32 },
}

/** Small ones, so that the example's tokens are many blocks. */
export const exampleConsts = (name: string): Readonly<Record<string, number>> => ({
  ...SELECTION_EXAMPLES[name]!.consts,
  ...KERNEL_TILES[name],
})

export interface ProgramPlace {
  readonly device: GPUDevice
  readonly compiled: CompiledPattern
  /** Since the compilation began. */
  readonly started: number
  /** Of a causal kernel beside it. */
  readonly denseMs: (call: TimedCall) => Promise<number>
  readonly limits: Parameters<typeof timeKernel>[2]
}

export async function programRow(
  { pattern }: LibraryEntry,
  { device, compiled, started, denseMs, limits }: ProgramPlace,
): Promise<ReportRow> {
  const { loadKernel } = await import('../index.ts')
  const artifact = emitWhereAble(compiled, { target: 'wgsl', headDims: [HEAD_DIM], dtypes: ['f32'] })
  const compileMs = performance.now() - started
  const { qLen, kvLen, heads: qHeads, kvHeads } = SELECTION_EXAMPLES[pattern.name]!
  const sizes = { qLen, kvLen, qHeads, kvHeads, headDim: HEAD_DIM }
  const { params, tables, rows } = selectionInputs(pattern.name, { ...sizes, batch: 1 })
  const call: TimedCall = { ...sizes, batch: 1, valueDim: HEAD_DIM, dtype: 'f32', params, tables, rows }
  const kernel = loadKernel(artifact, device)
  try {
    const asBuilt = { ...pattern, consts: { ...pattern.consts, ...compiled.plan.consts } }
    const outcome = await outcomeOf(asBuilt, kernel, { ...tensorsFor(call), params, tables, rows })
    const { ms } = await timeKernel(kernel, call, limits)
    const [variant] = artifact.stages!.variants
    const kept = keptBy(outcome, call)
    const at = { ...call, batch: 0, batches: 1, head: 0 }
    const caption = [`${kvLen} tokens`, `head 0 of ${qHeads}`, printParams(compiled, at)]
    return {
      pattern: pattern.name,
      cite: compiled.plan.cite,
      bidirectional: kept.bidirectional,
      compileMs,
      errorRatio: outcome.errorRatio,
      passed: outcome.passed,
      ms,
      caption: caption.filter(Boolean).join(', '),
      svg: mapSvg(kept.cells, 256, PAGE_COLOURS, `what ${pattern.name} keeps`),
      density: kept.density,
      counts: kept.counts,
      how: 'data',
      codeBytes: textsOf(variant!).reduce((sum, { code }) => sum + Buffer.byteLength(code), 0),
      denseMs: await denseMs(call),
    }
  } finally {
    kernel.release()
  }
}

const TILE = 32

/** The pairs that the oracle keeps: of head 0 as a picture, of all heads as a share and by tiles. */
function keptBy({ oracle }: Outcome, { qLen, kvLen, qHeads }: TimedCall) {
  const counts: Record<TileClass, number> = { empty: 0, partial: 0, full: 0 }
  const data = new Uint8Array(qLen * kvLen)
  let [pairs, bidirectional] = [0, false]
  const first = kvLen - qLen
  for (let head = 0; head < qHeads; head++) {
    for (let q = 0; q < qLen; q += TILE) {
      for (let kv = 0; kv < kvLen; kv += TILE) {
        const [rows, columns] = [Math.min(TILE, qLen - q), Math.min(TILE, kvLen - kv)]
        const kept = cellsOf(rows, columns).filter(([r, c]) => oracle.keeps(0, head, q + r, kv + c))
        const shade = kept.length === rows * columns ? 'full' : kept.length === 0 ? 'empty' : 'partial'
        counts[shade]++
        pairs += kept.length
        bidirectional ||= kept.some(([r, c]) => kv + c > first + q + r)
        if (head === 0) for (const [r, c] of kept) data[(q + r) * kvLen + kv + c] = shade === 'full' ? 2 : 1
      }
    }
  }
  const cells: Cells = { columns: kvLen, rows: qLen, data, grain: { q: 1, kv: 1 } }
  return {
    counts,
    cells,
    bidirectional,
    density: pairs / qHeads / (bidirectional ? qLen * kvLen : causalPairs(qLen, kvLen)),
  }
}

const cellsOf = (rows: number, columns: number): (readonly [row: number, column: number])[] =>
  Array.from({ length: rows * columns }, (_, n) => [Math.floor(n / columns), n % columns] as const)
