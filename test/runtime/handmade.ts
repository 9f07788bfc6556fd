/** An artefact written by hand to codegen/artifact.ts, and its pattern as JavaScript: the runtime's tests need no compiler. */

import { UNIFORM_FIELDS, type Artifact, type Dtype, type Variant } from '../../codegen/artifact.ts'
import { contentHash } from '../../runtime/hash.ts'
import type { ReferencePattern } from '../../runtime/reference.ts'

interface At {
  at(...indices: number[]): number
}
interface Index {
  readonly batch: number
  readonly head: number
  readonly q: number
  readonly kv: number
  readonly kvLen: number
  readonly window: number
  readonly slope: number
  readonly scale: number
  readonly docStart: At
}

const F32_LIMIT = 3.4028234663852886e38
const WINDOW = { type: 'i32', default: 4, min: 1, max: 1000, perHead: false } as const
const SLOPE = { type: 'f32', default: 0, min: 0, max: 0.1, perHead: true } as const
/** Named as a fixed field of the uniform block is, which no rule forbids. */
const SCALE = { type: 'f32', default: 1, min: -F32_LIMIT, max: F32_LIMIT, perHead: false } as const
const DOC_START = { type: 'i32', dims: ['batch', 'kvLen'], monotone: true, min: 0, max: 2 ** 30 } as const

/** A window, some first keys by head, documents, and a bias by distance. */
export const handmadePattern = {
  consts: {},
  params: { window: WINDOW, slope: SLOPE, scale: SCALE },
  tables: { docStart: DOC_START },
  mask: ({ batch, q, kv, kvLen, window, slope, docStart }: Index) =>
    kv <= q && (q - kv < window || kv < Math.ceil(slope * kvLen)) && kv >= docStart.at(batch, q),
  score: (s: number, { q, kv, slope, scale }: Index) => s * scale - slope * (q - kv),
  sinkLogit: null,
} satisfies ReferencePattern

const wgsl = (dtype: Dtype, headDim: number, valueDim: number, list: boolean): string => `
struct Uniforms {
${[...UNIFORM_FIELDS.map((f) => [f.name, f.type]), ['window', 'i32'], ['scale_1', 'f32']].map(([n, t]) => `  ${n}: ${t},`).join('\n')}
}
@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> info: array<i32>;
@group(0) @binding(2) var<storage, read> q: array<${dtype === 'f32' ? 'f32' : 'u32'}>;
@group(0) @binding(3) var<storage, read> k: array<${dtype === 'f32' ? 'f32' : 'u32'}>;
@group(0) @binding(4) var<storage, read> v: array<${dtype === 'f32' ? 'f32' : 'u32'}>;
@group(0) @binding(5) var<storage, read_write> outData: array<${dtype === 'f32' ? 'f32' : 'u32'}>;
@group(0) @binding(6) var<storage, read_write> lse: array<u32>;
@group(0) @binding(7) var<storage, read> docStart: array<i32>;
${list ? '@group(0) @binding(8) var<storage, read_write> tiles: array<u32>;' : ''}

${['q', 'k', 'v']
  .map(
    (n) =>
      `fn ${n}At(i: u32) -> f32 { return ${
        dtype === 'f32' ? `${n}[i]` : `unpack2x16float(${n}[i / 2u])[i % 2u]`
      }; }`,
  )
  .join('\n')}

${
  list
    ? `
@compute @workgroup_size(1) fn listTiles(@builtin(workgroup_id) id: vec3u) {
  let tile = id.x + id.y * u.gridX;
  if (tile >= u.tileCount) { return; }
  let count = (u32(u.kvRows) + 7u) / 8u;
  tiles[tile * u.listStride] = count;
  for (var t = 0u; t < count; t++) { tiles[tile * u.listStride + 1u + t] = t; }
}`
    : ''
}

@compute @workgroup_size(1) fn attend(@builtin(workgroup_id) id: vec3u) {
  let tile = id.x + id.y * u.gridX;
  if (tile >= u.tileCount) { return; }
  let row = i32(tile) % u.qRows;
  let b = (i32(tile) / u.qRows) / u.heads;
  let h = (i32(tile) / u.qRows) % u.heads;
  let batch = b + u.batchBase;
  let head = h + u.headBase;
  let group = u.qHeads / u.kvHeads;
  let kvHead = head / group - u.headBase / group;
  let at = batch * 5;
  let i = row - info[at];
  let kvStart = info[at + 3];
  var kvLen = info[at + 4];
  let real = i >= 0 && i < info[at + 2];
  if (!real) { kvLen = 0; }
  let qPos = info[at + 1] + i;
  let slope = bitcast<f32>(info[u.batches * 5 + head]);
  let reach = info[u.batches * 5 + u.qHeads + batch * u.qHeads + head];
  let qBase = u32(b) * u.qBatchStride + u32(h) * u.qHeadStride + u32(row) * u.qRowStride;
  var rowMax = -3e38;
  var rowSum = 0.0;
  var acc: array<f32, ${valueDim + 1}>;
  var start = 0;
  if (real && qPos >= 0 && qPos < u.kvRows) { start = docStart[batch * u.kvRows + qPos]; }
  ${list ? 'for (var t = 0u; t < tiles[tile * u.listStride]; t++) { let first = i32(tiles[tile * u.listStride + 1u + t]) * 8;' : '{ let first = 0;'}
  for (var kv = first; kv < min(kvLen, first + ${list ? '8' : '4194304'}); kv++) {
    if (!(kv <= qPos && (qPos - kv < u.window || kv < reach) && kv >= start)) { continue; }
    let kBase = u32(b) * u.kBatchStride + u32(kvHead) * u.kHeadStride + u32(kv + kvStart) * u.kRowStride;
    let vBase = u32(b) * u.vBatchStride + u32(kvHead) * u.vHeadStride + u32(kv + kvStart) * u.vRowStride;
    var s = 0.0;
    for (var d = 0u; d < ${headDim}u; d++) { s += qAt(qBase + d) * kAt(kBase + d); }
    s = s * u.scale * u.scale_1 - slope * f32(qPos - kv);
    let top = max(rowMax, s);
    let keep = exp(rowMax - top);
    let p = exp(s - top);
    rowMax = top;
    rowSum = rowSum * keep + p;
    for (var d = 0u; d < ${valueDim}u; d++) { acc[d] = acc[d] * keep + p * vAt(vBase + d); }
  } }
  let outBase = u32(b) * u.outBatchStride + u32(h) * u.outHeadStride + u32(row) * u.outRowStride;
  let inverse = select(0.0, 1.0 / rowSum, rowSum > 0.0);
  ${
    dtype === 'f32'
      ? `for (var d = 0u; d < ${valueDim}u; d++) { outData[outBase + d] = acc[d] * inverse; }`
      : `for (var d = 0u; d < ${valueDim}u; d += 2u) {
    outData[(outBase + d) / 2u] = pack2x16float(vec2f(acc[d], acc[d + 1u]) * inverse);
  }`
  }
  let slot = (batch * u.qHeads + head) * u.qRows + row;
  if (rowSum > 0.0) { lse[slot] = bitcast<u32>(rowMax + log(rowSum)); } else { lse[slot] = 0xff800000u; }
}
`

export interface VariantOptions {
  readonly headDim?: number
  readonly valueDim?: number
  readonly dtype?: Dtype
  readonly list?: boolean
  readonly capability?: Partial<Variant['capability']>
}

export function handmadeVariant({
  headDim = 8,
  valueDim = headDim,
  dtype = 'f32',
  list = false,
  capability,
}: VariantOptions = {}): Variant {
  const store = dtype === 'f32' ? 'array<f32>' : 'array<u32>'
  const name = capability?.name ?? (list ? 'list' : 'portable')
  return {
    id: `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-${name}`,
    headDim,
    valueDim,
    dtype,
    capability: {
      features: [],
      limits: { workgroupBytes: 0, invocations: 1, storageBuffers: list ? 8 : 7 },
      subgroup: null,
      ...capability,
      name,
    },
    tile: { q: 1, kv: 8 },
    workgroup: 1,
    // A row of halves begins at a word.
    align: dtype === 'f16' ? 2 : 1,
    entries: { attend: 'attend', list: list ? 'listTiles' : null },
    bindings: [
      { binding: 0, role: 'uniforms', access: 'uniform', type: 'Uniforms' },
      { binding: 1, role: 'meta', access: 'read', type: 'array<i32>' },
      { binding: 2, role: 'q', access: 'read', type: store },
      { binding: 3, role: 'k', access: 'read', type: store },
      { binding: 4, role: 'v', access: 'read', type: store },
      { binding: 5, role: 'out', access: 'read_write', type: store },
      { binding: 6, role: 'lse', access: 'read_write', type: 'array<u32>' },
      { binding: 7, role: 'table', table: 'docStart', access: 'read', type: 'array<i32>' },
      ...(list ? [{ binding: 8, role: 'list', access: 'read_write', type: 'array<u32>' } as const] : []),
    ],
    uniforms: [...UNIFORM_FIELDS, { name: 'window', type: 'i32' }, { name: 'scale', type: 'f32' }],
    code: wgsl(dtype, headDim, valueDim, list),
  }
}

export const sealed = (record: Omit<Artifact, 'hash'>): Artifact => ({
  ...record,
  hash: contentHash({ ...record, hash: '' }),
})

export function handmadeArtifact(...variants: readonly VariantOptions[]): Artifact {
  const derived = {
    op: 'toI32',
    src: [
      {
        op: 'ceil',
        src: [{ op: 'mul', src: [{ param: 'slope' }, { op: 'toF32', src: [{ var: 'kvLen' }] }] }],
      },
    ],
  }
  return sealed({
    version: 1,
    heddle: '0.1.0',
    pattern: 'handmade',
    cite: '',
    target: 'wgsl',
    consts: {},
    params: [
      { name: 'window', ...WINDOW },
      { name: 'slope', ...SLOPE },
      { name: 'scale', ...SCALE },
    ],
    tables: [{ name: 'docStart', ...DOC_START }],
    derived: [{ name: 'reach', type: 'i32', value: derived }],
    sinkLogit: false,
    tiles: variants.some((v) => v.list) ? 'list' : 'ranges',
    sharesLists: false,
    variants: (variants.length === 0 ? [{}] : variants).map(handmadeVariant),
  })
}

/** Reproducible values in [-1, 1). */
export function randomValues(count: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 12345
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return (state >>> 8) / 2 ** 23 - 1
  })
}
