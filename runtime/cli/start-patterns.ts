/** A pattern of the library and a device in; the pattern compiled, run, checked and timed, as a row of `heddle start`, out. */

import * as path from 'node:path'
import { emit } from '../../codegen/index.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import { mapMask, type Setting } from '../../compiler/mask-map.ts'
import { readsHead } from '../../compiler/plan.ts'
import { printShare } from '../../compiler/print.ts'
import type { LibraryEntry } from '../../patterns/index.ts'
import type { Opened } from './adapter.ts'
import { causalPairs, densePatterns } from './bench.ts'
import { inputsOf } from './inputs.ts'
import type { Io } from './io.ts'
import { exitOf, loadCompiler, report } from './load.ts'
import { EXIT, type Exit } from './messages.ts'
import { mapSvg, tokenCells } from './picture.ts'
import { PAGE_COLOURS, printRatio, type ReportRow } from './report.ts'
import { printParams, sizesOf } from './setting.ts'
import { HEAD_DIM, outcomeOf, tensorsFor } from './start-check.ts'
import { exampleConsts, programRow } from './start-programs.ts'
import { timeKernel, type TimedCall } from './timer.ts'

type Peers = Awaited<ReturnType<typeof densePatterns>>

/** What all patterns of a run share. */
export class Bench {
  readonly #opened: Opened
  readonly #compiler: Awaited<ReturnType<typeof loadCompiler>>
  readonly #peers: Peers
  readonly #dense = new Map<string, Loaded>()

  private constructor(opened: Opened, compiler: Awaited<ReturnType<typeof loadCompiler>>, peers: Peers) {
    this.#opened = opened
    this.#compiler = compiler
    this.#peers = peers
  }

  static async open(opened: Opened): Promise<Bench> {
    return new Bench(opened, await loadCompiler(), await densePatterns())
  }

  async run(entry: LibraryEntry, io: Io): Promise<ReportRow | Exit> {
    const { loadKernel } = await import('../index.ts')
    const started = performance.now()
    const consts = entry.pattern.forward ? exampleConsts(entry.pattern.name) : {}
    const compilation = this.#compiler.compile(path.join(PACKAGE_ROOT, entry.file), { consts })
    const compiled = compilation.patterns.find((p) => p.name === entry.pattern.name)
    if (!compiled) {
      report(io, compilation, false)
      return Math.max(EXIT.failed, exitOf(compilation)) as Exit
    }
    if (compiled.stages) {
      const { device } = this.#opened
      const denseMs = (call: TimedCall) => this.#denseMs('causal', call)
      return programRow(entry, { device, compiled, started, denseMs, limits: LIMITS })
    }
    const artifact = emit(compiled, { target: 'wgsl', headDims: [HEAD_DIM], dtypes: ['f32'] })
    const compileMs = performance.now() - started

    const { at, call } = callOf(compiled)
    const kernel = loadKernel(artifact, this.#opened.device)
    try {
      const { params, tables } = call
      const { errorRatio, passed } = await outcomeOf(entry.pattern, kernel, {
        ...tensorsFor(call),
        params,
        tables,
      })
      const timing = await timeKernel(kernel, call, LIMITS)
      const variant = kernel.variantFor({ headDim: HEAD_DIM, valueDim: HEAD_DIM, dtype: 'f32' })
      const heads = Array.from({ length: readsHead(compiled.plan) ? at.qHeads : 1 }, (_, head) =>
        mapMask(compiled.plan, { ...at, head }, variant.tile),
      )
      const bidirectional = heads.some((m) => m.bidirectional)
      const shownHead = heads[0]!
      const sum = (name: keyof typeof shownHead.counts) =>
        heads.reduce((total, m) => total + m.counts[name], 0)
      return {
        pattern: compiled.name,
        cite: compiled.plan.cite,
        bidirectional,
        compileMs,
        errorRatio,
        passed,
        ms: timing.ms,
        caption: captionOf(compiled, at),
        svg: mapSvg(tokenCells(compiled.plan, at, shownHead), 256, PAGE_COLOURS, `mask of ${compiled.name}`),
        density: densityOf(
          heads.map((m) => m.keptPairs),
          at,
          bidirectional,
        ),
        counts: { empty: sum('empty'), partial: sum('partial'), full: sum('full') },
        how: artifact.tiles,
        codeBytes: Buffer.byteLength(variant.code),
        denseMs: await this.#denseMs(bidirectional ? 'full' : 'causal', call),
      }
    } finally {
      kernel.release()
    }
  }

  /** Timed anew beside each pattern: a software adapter's speed drifts by more than patterns differ. */
  async #denseMs(name: keyof Peers, call: TimedCall): Promise<number> {
    const { loadKernel } = await import('../index.ts')
    const made = () =>
      loadKernel(
        emit(this.#peers[name], { target: 'wgsl', headDims: [HEAD_DIM], dtypes: ['f32'] }),
        this.#opened.device,
      )
    const kernel = this.#dense.get(name) ?? made()
    this.#dense.set(name, kernel)
    return (await timeKernel(kernel, { ...call, params: {}, tables: {}, rows: {} }, LIMITS)).ms
  }

  release(): void {
    for (const kernel of this.#dense.values()) kernel.release()
    this.#dense.clear()
  }
}

const LIMITS = { runs: 3, budgetMs: 400 } as const

/** The example's lengths and values, as `heddle show` takes them. */
function callOf(compiled: CompiledPattern): { at: Setting; call: TimedCall } {
  const sizes = sizesOf(NO_FLAGS, compiled)
  const { params, tables } = inputsOf(compiled.plan, sizes)
  return {
    at: { ...sizes, batch: 0, batches: 1, head: 0, params, tables },
    call: { ...sizes, batch: 1, headDim: HEAD_DIM, valueDim: HEAD_DIM, dtype: 'f32', params, tables },
  }
}

const NO_FLAGS: Parameters<typeof sizesOf>[0] = {
  pattern: undefined,
  const: undefined,
  'q-len': undefined,
  'kv-len': undefined,
  heads: undefined,
  'kv-heads': undefined,
  'head-dim': undefined,
  param: undefined,
  seed: undefined,
  _: [],
}

type Loaded = ReturnType<(typeof import('../index.ts'))['loadKernel']>

/** Over all heads; one is counted where they are the same. */
function densityOf(kept: readonly number[], at: Setting, bidirectional: boolean): number {
  const all = bidirectional ? at.qLen * at.kvLen : causalPairs(at.qLen, at.kvLen)
  return kept.reduce((a, b) => a + b, 0) / kept.length / all
}

function captionOf(compiled: CompiledPattern, at: Setting): string {
  const params = printParams(compiled, at)
  return [
    `${at.kvLen} tokens`,
    ...(readsHead(compiled.plan) ? [`head 0 of ${at.qHeads}`] : []),
    ...(params ? [params] : []),
  ].join(', ')
}

const WIDTHS = [26, 9, 7, 9, 7, 10, 10, 11, 8, 11, 10, 8]

export const line = (cells: readonly string[]): string =>
  cells
    .map((c, i) => (i === 0 ? c.padEnd(WIDTHS[i]!) : c.padStart(WIDTHS[i]!)))
    .join('')
    .trimEnd()

export function cellsOf(r: ReportRow): string[] {
  return [
    r.pattern,
    `${printShare(r.density)}${r.bidirectional ? '*' : ' '}`,
    String(r.counts.empty),
    String(r.counts.partial),
    String(r.counts.full),
    r.how,
    `${(r.codeBytes / 1024).toFixed(1)} KiB`,
    `${r.compileMs.toFixed(1)} ms`,
    `${printRatio(r.errorRatio)}${r.passed ? '' : '!'}`,
    `${r.ms.toFixed(1)} ms`,
    `${r.denseMs.toFixed(1)} ms`,
    `${(r.denseMs / r.ms).toFixed(2)} x`,
  ]
}

export function jsonOf({ svg: _, cite: _cite, caption: _caption, counts, how, ...row }: ReportRow) {
  return { ...row, tiles: { how, ...counts } }
}
