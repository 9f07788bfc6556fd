/**
 * What lies between the projections and the attention, as one dispatch: RMS norms of each head of q and k where the model
 * has them, the rotary embedding, and the keys' and values' places in the cache.
 */

import type { Dtype } from '../../../codegen/artifact.ts'
import { kernelOf, ROWS, type ModelKernel } from './text.ts'

export interface RotaryText {
  /** Of the queries and the cache. */
  readonly dtype: Dtype
  readonly norm: boolean
}

/** `pairs` are twos of a head; the cache has room for `length` rows of each head. */
export const headsBlock = (
  qHeads: number,
  kvHeads: number,
  headDim: number,
  length: number,
  eps: number,
): ArrayBuffer => {
  const block = new ArrayBuffer(32)
  new Uint32Array(block).set([qHeads, kvHeads, headDim / 2, length])
  new Float32Array(block)[4] = eps
  return block
}

const THREADS = 32

export function rotary({ dtype, norm }: RotaryText): ModelKernel {
  const store = { f32: 'vec2f', f16: 'u32' }[dtype]
  // As everywhere in the runtime, what is beyond the largest half is stored as that.
  const packed = { f32: 'x', f16: 'pack2x16float(clamp(x, vec2f(-65504.0), vec2f(65504.0)))' }[dtype]
  const place = (buffer: string) => `fn ${buffer}Put(i: u32, x: vec2f) {
  ${buffer}[i] = ${packed};
}`
  const sum = `fn rootOf(first: u32, thread: u32) -> f32 {
  var square = 0.0;
  for (var i = thread; i < heads.pairs; i += ${THREADS}u) {
    let x = projected[first + i];
    square += dot(x, x);
  }
  squares[thread] = square;
  workgroupBarrier();
  square = 0.0;
  for (var i = 0u; i < ${THREADS}u; i += 1u) {
    square += squares[i];
  }
  return inverseSqrt(square / f32(2u * heads.pairs) + heads.eps);
}`
  const gained = (i: string) =>
    norm ? `projected[first + ${i}] * root * gains[gainFrom + ${i}]` : `projected[first + ${i}]`
  return kernelOf(
    `rotary-${dtype}${norm ? '-norm' : ''}`,
    [
      { name: 'rows', access: 'uniform', type: 'Rows' },
      { name: 'heads', access: 'uniform', type: 'Heads' },
      { name: 'projected', access: 'read', type: 'array<vec2f>' },
      { name: 'turns', access: 'read', type: 'array<vec4f>' },
      { name: 'q', access: 'read_write', type: `array<${store}>` },
      { name: 'k', access: 'read_write', type: `array<${store}>` },
      { name: 'v', access: 'read_write', type: `array<${store}>` },
      ...(norm ? [{ name: 'gains', access: 'read', type: 'array<vec2f>' } as const] : []),
    ],
    [
      `${ROWS}

struct Heads {
  q: u32,
  kv: u32,
  pairs: u32,
  length: u32,
  eps: f32,
}`,
      ...(norm ? [`var<workgroup> squares: array<f32, ${THREADS}>;`, sum] : []),
      place('q'),
      place('k'),
      place('v'),
      `@compute @workgroup_size(${THREADS})
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.x;
  let row = group.y;
  let pairs = heads.pairs;
  let first = (row * (heads.q + 2u * heads.kv) + head) * pairs;
  if (head >= heads.q + heads.kv) {
    let cached = ((head - heads.q - heads.kv) * heads.length + rows.position + row) * pairs;
    for (var i = thread; i < pairs; i += ${THREADS}u) {
      vPut(cached + i, projected[first + i]);
    }
    return;
  }
  let isKey = head >= heads.q;${
    norm ? '\n  let root = rootOf(first, thread);\n  let gainFrom = select(0u, pairs, isKey);' : ''
  }
  let cached = ((head - heads.q) * heads.length + rows.position + row) * pairs;
  let query = (row * heads.q + head) * pairs;
  // Component i turns with component i + headDim / 2; a vector of turns has cosines and sines of two components.
  let half = pairs / 2u;
  for (var i = thread; i < half; i += ${THREADS}u) {
    let turn = turns[row * half + i];
    let low = ${gained('i')};
    let high = ${gained('i + half')};
    let turnedLow = low * turn.xy - high * turn.zw;
    let turnedHigh = high * turn.xy + low * turn.zw;
    if (isKey) {
      kPut(cached + i, turnedLow);
      kPut(cached + half + i, turnedHigh);
    } else {
      qPut(query + i, turnedLow);
      qPut(query + half + i, turnedHigh);
    }
  }
}`,
    ],
  )
}
