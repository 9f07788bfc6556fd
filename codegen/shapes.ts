/** Shapes of the attend skeleton: a schedule and the head dims in; sizes of chunks, memory and register banks out. */

import { vectorsOf, type Source } from './stage.ts'
import type { Frame, Place } from './frame.ts'
import { add, u32, type Code, type Memory } from './kernel.ts'

/** Shapes that follow from a schedule and the head dims, in one place. */
export interface Shapes {
  readonly threads: number
  readonly chunk: { readonly vectors: number; readonly count: number }
  readonly value: {
    readonly vectors: number
    /** Vectors of the output that a thread owns. */
    readonly own: number
    /** Rows of the stage that one key's values take. */
    readonly stageRows: number
    /** Keys staged at once. */
    readonly keys: number
  }
  readonly stageRows: number
}

export function shapesOf(frame: Frame): Shapes {
  const { headDim, valueDim, schedule } = frame.problem
  const { threads, width } = schedule
  const vectors = vectorsOf(headDim)
  const count = Math.ceil(vectors / width)
  const own = Math.ceil(vectorsOf(valueDim) / threads.kv)
  const stageRows = frame.tile.q + frame.tile.kv
  const perKey = Math.ceil((own * threads.kv) / width)
  let keys = frame.tile.kv
  while (keys * perKey > stageRows) keys /= 2
  if (keys < 4) throw new Error(`no four keys of ${valueDim} values fit the stage`)
  return {
    threads: threads.q * threads.kv,
    chunk: { vectors: Math.ceil(vectors / count), count },
    value: { vectors: vectorsOf(valueDim), own, stageRows: perKey, keys },
    stageRows,
  }
}

/** What the steps of the attend skeleton share: a thread's place, its memory and its registers. */
export interface Attend {
  readonly frame: Frame
  readonly shapes: Shapes
  readonly place: Place
  readonly thread: Code
  /** This thread's place in the grid of threads. */
  readonly i: Code
  readonly j: Code
  readonly stage: Memory
  readonly weights: Memory
  readonly shared: Memory | null
  /** The last chunk of values, by its first key, that held a NaN or an infinity. */
  readonly wild: Memory
  /** Of a pattern that skips tiles. */
  readonly votes: { readonly votes: Memory; readonly word: Memory } | null
  readonly sources: { readonly q: Source; readonly k: Source; readonly v: Source }
  readonly state: {
    readonly rowMax: readonly Code[]
    readonly rowSum: readonly Code[]
    readonly out: readonly (readonly Code[])[]
  }
  /** What a staged query is multiplied by, and what a score is multiplied by afterwards. */
  readonly queryScale: Code
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Row r of a thread, within the tile. Threads' rows alternate, so that neighbours read different banks. */
export const rowOf = ({ frame, i }: Attend, r: number): Code =>
  add(i, u32(r * frame.problem.schedule.threads.q))
