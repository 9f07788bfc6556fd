/**
 * CudaArtifact: what a build for CUDA leaves and both loaders (Node, Python) read, one JSON record: the kernels' text, how to
 * launch them, and where compiled cubins lie. Loaders hold no knowledge of a pattern or of a skeleton beyond this.
 */

import type { ParamInfo, TableInfo } from '../../compiler/plan.ts'
import type {
  DerivedUniform,
  JsonExpr,
  ListInfo,
  RowsInfo,
  Share,
  StageModule,
  StageStep,
  StageTile,
  StoredValue,
  UniformField,
  Variant,
} from '../artifact.ts'
import type { CallField } from './call.ts'

export const CUDA_ARTIFACT_VERSION = 5

export type CudaDtype = 'bf16' | 'f16'

/**
 * hopper: wgmma and TMA, sm_90a. rounded: the same, over keys and values that are f32. residues: the same, rows and keys taken by remainder. lists: the same, over what lists of the
 * call name. ampere: mma.sync and cp.async, sm_80 and later, any alignment. decode: the same instructions,
 * few query rows against split keys, contiguous or paged.
 */
export type Skeleton = 'hopper' | 'rounded' | 'residues' | 'lists' | 'gather' | 'rows' | 'ampere' | 'decode'

export type Arch = 'sm_80' | 'sm_86' | 'sm_89' | 'sm_90a'

/**
 * A whole number from the sizes of a call, for grids and workspaces; an expression of compiler/ops.ts whose variables are
 * batch, qHeads, kvHeads, group (qHeads / kvHeads), qRows, kvRows, headDim, valueDim, multiprocessors and splits.
 */
export type SizeRule = JsonExpr

/** The same, from the scalar params of the call too. */
export type CallRule = JsonExpr

/**
 * A tensor map that the host makes: four dimensions (column, row, head, batch) over the tensor's own sizes and strides,
 * elements of 2 bytes, box [columns, rows, 1, 1], no interleave, zeros outside, L2 promotion 256 bytes. With a step it has
 * five, (column, row / step, row mod step, head, batch), of which the second has the max(1, floor(rows / step)) sizes that
 * every residue has, and box [columns, rows, 1, 1, 1].
 */
export interface TensorMapRule {
  readonly tensor: 'q' | 'k' | 'v' | 'out'
  readonly columns: number
  readonly rows: number
  /** Bytes of the shared-memory swizzle. */
  readonly swizzle: 64 | 128
  /** Null: rows are taken in their own order. */
  readonly step: CallRule | null
}

export interface CudaEntry {
  readonly name: string
  readonly threads: number
  /** Dynamic shared memory; above 48 KiB the host raises the function's limit. */
  readonly sharedBytes: number
  readonly grid: readonly [SizeRule, SizeRule, SizeRule]
  /** The parameters after the struct Call, which is always the first. */
  readonly tensorMaps: readonly TensorMapRule[]
}

export interface Cubin {
  readonly arch: Arch
  /** Beside the manifest. */
  readonly file: string
  readonly sha256: string
  /** Of each entry, from ptxas' report. */
  readonly resources: readonly {
    readonly entry: string
    readonly registers: number
    readonly spillBytes: number
  }[]
}

export interface CudaVariant {
  /** `d128-bf16-hopper`, or `d192x128-bf16-hopper` when valueDim differs. */
  readonly id: string
  readonly skeleton: Skeleton
  /** The greatest headDim and valueDim that the text runs; smaller ones are padded inside the kernel. */
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: CudaDtype
  /** Compute capability times ten: the device's must lie within, both ends included. */
  readonly capability: { readonly min: number; readonly max: number }
  /** What nvcc and NVRTC are given, for the device's own capability: `compute_90a` needs its suffix. */
  readonly suffix: '' | 'a'
  readonly needs: {
    /** Pointers and strides (but of unit dimensions) are multiples of 16 bytes. */
    readonly vectors: boolean
    /** The greatest qRows; null: any. */
    readonly qRows: number | null
    /** K and V may be given as pages. */
    readonly pages: boolean
  }
  /**
   * A condition under which it beats the variants after it; elsewhere it is right, and passed over unless it is asked for by
   * its id. Null: always. It and the maps' steps may read params: where the host does not know them, the variant is none.
   */
  readonly pays: CallRule | null
  /**
   * It checks the page numbers that it reads: after a launch the first word of `counters` is 0, or 1 + the index in `pages` of
   * an entry out of range, which a loader reports and clears.
   */
  readonly debug: boolean
  readonly tile: { readonly q: number; readonly kv: number }
  /** Words of an entry of a tile list: call.listStride is 1 + units * ceil(kvRows / tile.kv). */
  readonly units: number
  /** In order of launch: `list` (where tiles are listed), `attend`, `combine` (of split keys). */
  readonly entries: readonly CudaEntry[]
  /** How many parts the keys are split into; null: 1. It may read every variable but `splits`. */
  readonly splits: SizeRule | null
  /**
   * Bytes: counters start zeroed and are left so, lists and scratch need no initial value. But a debug build of `decode` that
   * meets a page number outside [0, pageCount) leaves 1 + its index in `pages` in the first counter: the host reads it after
   * the launch, reports it and zeroes it.
   */
  readonly workspace: { readonly counters: SizeRule; readonly list: SizeRule; readonly scratch: SizeRule }
  /** SHA-256, hex, of the text. */
  readonly hash: string
  readonly code: string
  readonly cubins: readonly Cubin[]
}

/** How many blocks a kernel of a `forward` program has. */
export type CudaStageGrid =
  /** A block for each of `units` q units of every sharer, or a thread for each of the `inner` elements of those. */
  | {
      readonly kind: 'units'
      readonly share: Share | 'indexHead'
      readonly units: JsonExpr
      readonly inner: JsonExpr | null
      /** As StageModule says. */
      readonly finer: StageModule['finer']
      /** A block has a square of so many units and elements; null: as `inner` says. */
      readonly tile: number | null
    }
  /** A block for each query tile. `rows`: how many rows the stored k and v have, [batch, kvHead, row, channel]; null: the call's. */
  | {
      readonly kind: 'tiles'
      readonly tile: Variant['tile']
      readonly rows: JsonExpr | null
      readonly unit?: NonNullable<Variant['unit']>
    }

/**
 * A kernel of a `forward` program: one text, its entry `launch`. Its one argument is a struct: the uniforms, four bytes each,
 * filled up to eight, then of each buffer its address and, in the eight bytes after that, how many elements of four bytes it
 * has (pairs of halves are one).
 */
export interface CudaStageKernel {
  readonly name: string
  /** It runs only where this, of params alone, holds; null: always. */
  readonly when: JsonExpr | null
  readonly threads: number
  readonly sharedBytes: number
  readonly grid: CudaStageGrid
  readonly uniforms: readonly UniformField[]
  /** `name`: of a stored value, a table or rows. */
  readonly buffers: readonly {
    readonly role: 'meta' | 'q' | 'k' | 'v' | 'out' | 'lse' | 'rows' | 'stored' | 'table'
    readonly name: string | null
  }[]
  readonly hash: string
  readonly code: string
  readonly cubins: readonly Cubin[]
  /** Other texts that do the same, best first, with units for a grid; none: []. A call takes the first that it and its device can. */
  readonly forms: readonly CudaStageForm[]
  /** Kernels of a mask's own kind that do the same, one behind the other, where the device and the alignment allow; none: []. */
  readonly faster: readonly CudaFaster[]
}

/** A text of a stage kernel for some sizes or devices: reads, writes and their order in the argument are the kernel's. */
export interface CudaStageForm {
  /** Its own among the kernel's forms. */
  readonly id: string
  /** It is for calls of which this, of their sizes, holds; null: for all. */
  readonly when: JsonExpr | null
  readonly capability: CudaVariant['capability']
  /** Pointers, strides and head dims are multiples of 16 bytes. */
  readonly vectors: boolean
  readonly suffix: CudaVariant['suffix']
  readonly threads: number
  readonly sharedBytes: number
  /** In place of the grid's, as StageForm says. */
  readonly tile: StageTile
  readonly hash: string
  readonly code: string
  readonly cubins: readonly Cubin[]
}

/**
 * Keys and values as f32, [batch, kvHead, row, channel], in place of the call's: the variant's first entry makes halves of them in
 * `list`, of keys so many parts, [part, batch, kvHead, row, channel], then of values [batch, kvHead, row, channel]. Its tensor maps
 * are of those, parts of keys as further batches.
 */
export interface StoredKeys {
  readonly k: string
  readonly v: string
  readonly rows: JsonExpr
  readonly parts: number
}

/** Attention by a variant over stored values, by name. */
export interface CudaFaster {
  readonly variant: CudaVariant
  /** Behind `parts`. */
  readonly lists: readonly string[]
  readonly order: string | null
  readonly before: string | null
  readonly state: string | null
  /** Keys and values that other kernels left; null: the call's own. */
  readonly keys: StoredKeys | null
  /** What the entry `list` makes: words of a record, and how many records; null: `workspace.list` says it. */
  readonly records: { readonly stride: JsonExpr; readonly count: JsonExpr } | null
}

export type CudaStageStep =
  | { readonly kind: 'once'; readonly kernel: CudaStageKernel }
  | (Omit<StageStep & { readonly kind: 'chunks' }, 'kernels'> & {
      readonly kernels: readonly CudaStageKernel[]
    })

/** A `forward` program for one pair of head dims and a type. */
export interface CudaStageVariant {
  /** `d128-bf16-stages`. */
  readonly id: string
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: CudaDtype
  readonly capability: CudaVariant['capability']
  /** Strides of q, k, v and out are multiples of this many elements, of 2 at least. */
  readonly align: number
  readonly stored: readonly StoredValue[]
  readonly steps: readonly CudaStageStep[]
}

export interface CudaArtifact {
  readonly version: typeof CUDA_ARTIFACT_VERSION
  readonly heddle: string
  readonly pattern: string
  readonly cite: string
  readonly target: 'cuda'
  /** SHA-256, hex, of the canonical JSON of everything else but `cubins`. */
  readonly hash: string
  readonly consts: Readonly<Record<string, number>>
  readonly params: readonly ParamInfo[]
  readonly tables: readonly TableInfo[]
  readonly derived: readonly DerivedUniform[]
  readonly sinkLogit: boolean
  readonly tiles: 'ranges' | 'test' | 'list'
  readonly sharesLists: boolean
  /** The layout of struct Call; a loader fills it by name. */
  readonly call: { readonly bytes: number; readonly fields: readonly CallField[] }
  /** What a call gives beside its tensors; the pattern's mask holds within them. Null: every kept pair is attended. */
  readonly lists: readonly ListInfo[] | null
  /** Of a pattern with a `forward`, in place of `variants`, which are none; and the rows that a call gives it. */
  readonly stages: {
    readonly rows: readonly RowsInfo[]
    readonly variants: readonly CudaStageVariant[]
  } | null
  /** Best first: a loader takes the first that fits dtype, dims, device and call. */
  readonly variants: readonly CudaVariant[]
}
