/**
 * Artifact: what a build leaves and a runtime loads, one JSON record. This file is the whole agreement between generated
 * kernels and the runtime: bindings, the uniform block, the meta buffer, the grid.
 */

import type { ParamInfo, TableInfo } from '../compiler/plan.ts'

export const ARTIFACT_VERSION = 1

export type Dtype = 'f32' | 'f16'

/**
 * A derived uniform's expression as JSON: a number, a leaf, an element of a constant array (0 out of range), or an op of
 * compiler/ops.ts over further expressions.
 */
export type JsonExpr =
  | number
  | boolean
  | { readonly var: string }
  | { readonly param: string }
  | { readonly pick: readonly number[]; readonly src: readonly [JsonExpr] }
  | { readonly op: string; readonly src: readonly JsonExpr[] }

export interface DerivedUniform {
  readonly name: string
  readonly type: 'i32' | 'f32'
  readonly value: JsonExpr
}

/** Who has a record of a list to himself; kvHead and request are for the query heads below them. */
export type Share = 'head' | 'kvHead' | 'request'

/**
 * A list of kv units for each unit of queries. Query units are cut at positions that are multiples of `q` tokens, 'whole' is
 * one record for all rows. A kv unit is `kv` tokens from a multiple of it on, or a span [start, end) of tokens, two words.
 * Units of one record do not overlap; in order of 'index' they ascend. Where lists overlap each other, a pair is attended once.
 */
export interface ListInfo {
  readonly share: Share
  readonly q: number | 'whole'
  readonly kv: number | 'span'
  readonly order: 'index' | 'score'
  /** By default ids. Of bits a record is ceil(kv units / 32) words, bit (v & 31) of word (v >> 5) for unit v. */
  readonly form?: 'ids' | 'bits'
}

/**
 * The buffer of a list, `array<i32>`: LIST_HEADER words, of which the first is `units`, the records of a sharer; then, with R =
 * batches * sharers * units records in this order, R counts of units, R starts of their ids (words from the first id on), and
 * the ids; of bits the records' words follow the header at once. Record u of a batch entry is that of its u-th query unit, counted from the one that holds its first real query.
 */
export const LIST_HEADER = 4

/**
 * Binding numbers are those of the text, all in group 0; both entry points share one bind group layout with all of them.
 * `table` names one of the artifact's tables. A table is row-major, its sizes those of the call's tensors: qLen is qRows,
 * kvLen is kvRows, head is qHeads; an index outside them reads 0.
 */
export interface Binding {
  readonly binding: number
  readonly role:
    | 'uniforms'
    | 'meta'
    | 'q'
    | 'k'
    | 'v'
    | 'out'
    | 'lse'
    | 'list'
    | 'table'
    | 'part'
    | 'kvOrder'
    | 'before'
    | 'state'
  readonly table?: string
  /** Of a part: which of the artifact's lists. */
  readonly part?: number
  readonly access: 'uniform' | 'read' | 'read_write'
  /** WGSL's type of the binding's variable, for the reflection test. */
  readonly type: string
}

/**
 * A state, `array<vec4f>`: for each (batch, query head, row) a vector of the maximum in base 2 and the sum, then the weighted
 * values, not normalised. A row that met nothing has sum 0. The kernel of a state binds `state` in place of out and lse;
 * `before` is one that it goes on with. An order, `array<i32>`: for each (batch, sharer, place) the position of a key.
 */
export const stateVectors = (valueDim: number): number => 1 + Math.ceil(valueDim / 4)

/** One 4-byte field of the uniform block, in order; its offset is 4 * its index. */
export interface UniformField {
  readonly name: string
  readonly type: 'i32' | 'u32' | 'f32'
}

/** Strides in elements; the last dimension of every tensor is contiguous. */
const STRIDES: readonly UniformField[] = [
  { name: 'qBatchStride', type: 'u32' },
  { name: 'qHeadStride', type: 'u32' },
  { name: 'qRowStride', type: 'u32' },
  { name: 'kBatchStride', type: 'u32' },
  { name: 'kHeadStride', type: 'u32' },
  { name: 'kRowStride', type: 'u32' },
  { name: 'vBatchStride', type: 'u32' },
  { name: 'vHeadStride', type: 'u32' },
  { name: 'vRowStride', type: 'u32' },
  { name: 'outBatchStride', type: 'u32' },
  { name: 'outHeadStride', type: 'u32' },
  { name: 'outRowStride', type: 'u32' },
]

/**
 * The uniform block every kernel starts with; the pattern's scalar params follow by name. Strides are in elements.
 * batchBase, headBase: the first (batch, query head) of this dispatch, when a tensor is bound by slices. q, k, v and out are
 * bound from the slice's first element on, so their addresses are local: (batch - batchBase) * BatchStride, (head - headBase)
 * * HeadStride, for k and v (kvHead - floorDiv(headBase, qHeads / kvHeads)) * HeadStride. lse, meta and the tables are bound
 * whole and indexed by the call's batch and head; `list` has the dispatch's records. What a pattern sees is the call's too.
 * The tile index of a workgroup is id.x + id.y * gridX; those at or beyond tileCount leave at once.
 */
export const UNIFORM_FIELDS: readonly UniformField[] = [
  { name: 'batch', type: 'i32' }, // of this dispatch
  { name: 'batches', type: 'i32' }, // of the whole call
  { name: 'qHeads', type: 'i32' }, // of the whole call, as patterns see it
  { name: 'kvHeads', type: 'i32' },
  { name: 'heads', type: 'i32' }, // query heads of this dispatch
  { name: 'batchBase', type: 'i32' },
  { name: 'headBase', type: 'i32' },
  { name: 'qRows', type: 'i32' }, // rows of the q, out and lse tensors per (batch, head)
  { name: 'kvRows', type: 'i32' },
  { name: 'gridX', type: 'u32' },
  { name: 'tileCount', type: 'u32' }, // batch * heads * ceil(qRows / tile.q), or as `unit` says
  { name: 'scale', type: 'f32' },
  { name: 'listStride', type: 'u32' }, // words per (batch, head, q tile) record of `list`
  ...STRIDES,
]

/** The uniform block of a stage's kernel; scalar params follow. Strides as above; stored values are contiguous. */
export const STAGE_FIELDS: readonly UniformField[] = [
  { name: 'batches', type: 'i32' },
  { name: 'qHeads', type: 'i32' },
  { name: 'kvHeads', type: 'i32' },
  { name: 'indexHeads', type: 'i32' },
  { name: 'qRows', type: 'i32' }, // every batch entry has all rows: qLen
  { name: 'kvRows', type: 'i32' },
  { name: 'unitBase', type: 'i32' }, // the first q unit of a chunk
  { name: 'unitCount', type: 'i32' }, // q units of a chunk, or of the whole call
  { name: 'gridX', type: 'u32' },
  { name: 'groupCount', type: 'u32' }, // workgroups; those at or beyond it leave at once
  { name: 'scale', type: 'f32' },
  ...STRIDES,
]

/** A buffer of a stage kernel: a tensor of the call, declared rows, or a stored value, by name. */
export interface StageBinding {
  readonly binding: number
  readonly role: 'uniforms' | 'meta' | 'q' | 'k' | 'v' | 'out' | 'lse' | 'rows' | 'stored' | 'table'
  readonly table?: string
  readonly rows?: string
  readonly stored?: string
  readonly access: 'uniform' | 'read' | 'read_write'
  readonly type: string
}

/** Units and elements that a workgroup has. */
export interface StageTile {
  readonly q: number
  readonly kv: number
}

/** A kernel whose grid has `units` q units of every sharer: a workgroup each, or a thread for each of `inner` elements. */
export interface StageModule {
  readonly kind: 'stage'
  readonly name: string
  /** Runs only where this, of params alone, is true; absent: always. */
  readonly when?: JsonExpr
  readonly share: Share | 'indexHead'
  readonly units: JsonExpr
  readonly inner: JsonExpr | null
  /**
   * Its units are finer than those that a chunk counts: `each` of them go into one, and `before` of the first one's are not of the
   * call; null: they are the same.
   */
  readonly finer: { readonly each: number; readonly before: JsonExpr } | null
  /** A workgroup has so many units and as many elements, or a tile of both; null: as `inner` says. */
  readonly tile: number | StageTile | null
  readonly workgroup: number
  /** Of workgroup memory. */
  readonly sharedBytes: number
  readonly bindings: readonly StageBinding[]
  readonly uniforms: readonly UniformField[]
  readonly code: string
  /** Texts for calls of some sizes, best first; absent: there are none. */
  readonly forms?: readonly StageForm[]
}

/** A text that takes a stage kernel's place, with the same bindings and uniforms, where `when`, of the call's sizes, is true. */
export interface StageForm {
  /** Its own among the kernel's forms. */
  readonly id: string
  readonly when: JsonExpr
  /** In place of the kernel's. Of a kernel without elements `kv` is 1: a workgroup has so many units of a sharer. */
  readonly tile: StageTile
  readonly workgroup: number
  readonly sharedBytes: number
  readonly code: string
}

/** An attend kernel and the stored values that it reads; null: the call's own tensors, or none. */
export interface StageAttend {
  readonly kind: 'attend'
  readonly name: string
  readonly when?: JsonExpr
  readonly variant: Variant
  readonly lists: readonly string[]
  /** Stored rows in place of k and v, [batch, kvHead, unit, channel]; null: the call's own. */
  readonly rows: { readonly k: string; readonly v: string; readonly units: JsonExpr } | null
  readonly kvOrder: string | null
  readonly before: string | null
  readonly state: string | null
  /** Variants for calls of some sizes, best first; absent: there are none. */
  readonly forms?: readonly StageAttendForm[]
}

/** A variant with the same bindings and uniforms that takes an attend kernel's place where `when`, of the call's sizes, is true. */
export interface StageAttendForm {
  /** Its own among the kernel's forms. */
  readonly id: string
  readonly when: JsonExpr
  readonly variant: Variant
}

/** A value that kernels hand on. `units` is the first word of a list's buffer; null: it is no list. */
export interface StoredValue {
  readonly name: string
  readonly words: JsonExpr
  readonly units: JsonExpr | null
}

/** In the order of launch; the kernels of `chunks` run for `count` stretches of `rows` q units of an axis that has `units`. */
export type StageStep =
  | { readonly kind: 'once'; readonly kernel: StageModule | StageAttend }
  | {
      readonly kind: 'chunks'
      readonly rows: JsonExpr
      readonly count: JsonExpr
      readonly units: JsonExpr
      readonly kernels: readonly (StageModule | StageAttend)[]
    }

/** A `forward` program for one pair of head dims, a type and a capability. Sizes read lengths, heads and scalar params. */
export interface StageVariant extends Pick<
  Variant,
  'id' | 'headDim' | 'valueDim' | 'dtype' | 'capability' | 'workgroup' | 'align'
> {
  readonly stored: readonly StoredValue[]
  readonly steps: readonly StageStep[]
}

/** Vectors that a call gives beside q, k and v: [batch, sharers, tokens, channels], f32. */
export interface RowsInfo {
  readonly name: string
  readonly side: 'q' | 'kv'
  readonly share: Share | 'indexHead'
  readonly grain: 'token' | 'whole'
}

/**
 * The meta buffer, `array<i32>`, read only:
 *   for each batch entry, META_PER_BATCH words: qRow, qStart, qLen, kvStart, kvLen
 *     (query rows [qRow, qRow + qLen) are real and stand at positions qStart, qStart + 1, ..; key rows [kvStart, kvStart +
 *     kvLen) are real and stand at positions 0, 1, ..; other query rows give output 0 and LSE -inf),
 *   then for each perHead param, in order: qHeads words,
 *   then for each derived uniform, in order: batch * qHeads words (f32 values by their bits).
 * batch (the uniform `batches`) and qHeads are those of the whole call. LSE is [batch, qHeads, qRows], contiguous, bound as array<u32>.
 */
export const META_PER_BATCH = 5

/**
 * The list buffer of `tiles: 'list'`, array<u32>: for each (batch, head, q tile) of the dispatch a record of listStride =
 * 1 + ceil(kvRows / tile.kv) words: the count, then tile indices in ascending order, bit 31 set on full tiles.
 * Entry point `list` writes it (grid as attend's), `attend` reads it. With `sharesLists` there is a record for each (batch,
 * q tile), which the workgroups of the dispatch's first head write.
 */
export const LIST_FULL = 2 ** 31

export interface Capability {
  /** `portable` fits WebGPU's default limits; others name what they need beyond them. */
  readonly name: string
  readonly features: readonly string[]
  readonly limits: {
    readonly workgroupBytes: number
    readonly invocations: number
    readonly storageBuffers: number
  }
  /** The least and greatest subgroup size that the text is right for; null: it uses no subgroups. */
  readonly subgroup: { readonly min: number; readonly max: number } | null
}

export interface Variant {
  /** `d64-f32-portable`, or `d64x32-f16-portable` when valueDim differs. */
  readonly id: string
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: Dtype
  readonly capability: Capability
  readonly tile: { readonly q: number; readonly kv: number }
  readonly workgroup: number
  /**
   * With lists whose query units are not the whole: a tile has rows of one unit of `tokens` positions. With `packs` the query
   * heads of a kv head (of those in the dispatch) share tiles: a unit has tokens * min(qHeads / kvHeads, heads) rows. A head,
   * or such a group, has ceil(rows of a unit / tile.q) tiles for each of qRows units of one token, else ceil(qRows / tokens) + 1.
   */
  readonly unit?: { readonly tokens: number; readonly packs: boolean }
  /** Strides and offsets of q, k, v, out must be multiples of this many elements (vector loads). */
  readonly align: number
  readonly entries: { readonly attend: string; readonly list: string | null }
  readonly bindings: readonly Binding[]
  readonly uniforms: readonly UniformField[]
  readonly code: string
}

export interface Artifact {
  readonly version: typeof ARTIFACT_VERSION
  readonly heddle: string
  readonly pattern: string
  readonly cite: string
  readonly target: 'wgsl'
  /** SHA-256, hex, of the canonical JSON of everything else: keys sorted at every level, no spaces, UTF-8. */
  readonly hash: string
  readonly consts: Readonly<Record<string, number>>
  readonly params: readonly ParamInfo[]
  readonly tables: readonly TableInfo[]
  readonly derived: readonly DerivedUniform[]
  readonly sinkLogit: boolean
  readonly tiles: 'ranges' | 'test' | 'list'
  /** Of `list` tiles: the mask reads nothing of the head, so one record serves all heads of a batch entry. */
  readonly sharesLists: boolean
  /** What a call gives beside its tensors; the pattern's mask holds within them. Absent: every kept pair is attended. */
  readonly lists?: readonly ListInfo[]
  /** Of a pattern with a `forward`, in place of `variants`, which are none; and the rows that it takes. */
  readonly stages?: { readonly rows: readonly RowsInfo[]; readonly variants: readonly StageVariant[] }
  /** Best first: of those for a headDim, valueDim and dtype, a runtime takes the first whose needs the device meets. */
  readonly variants: readonly Variant[]
}
