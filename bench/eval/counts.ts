/** What attention gives over values that mark their block of keys, and its log-sum-exp, in; kept pairs by tile out: a kernel. */

import type { Dtype } from '../../codegen/artifact.ts'
import { halfArray } from '../../runtime/half.ts'
import { kernelOf, type ModelKernel } from '../../runtime/model/kernels/text.ts'

/** Tokens of a tile's side, whatever the tiles of the kernels are: counts of all patterns compare. */
export const BLOCK = 64

/**
 * Values of which key n has a one in the channel of its block, if the block is one of the `headDim` from `first` on. Attention
 * that weighs all keys alike then gives, channel by channel, the share of a row's keys that lie in the block.
 */
export function markedValues(
  dtype: Dtype,
  {
    kvHeads,
    length,
    headDim,
  }: { readonly kvHeads: number; readonly length: number; readonly headDim: number },
  first: number,
): Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  const values = new Float32Array(kvHeads * length * headDim)
  const [begin, end] = [first * BLOCK, Math.min(length, (first + headDim) * BLOCK)]
  for (let head = 0; head < kvHeads; head++) {
    for (let key = begin; key < end; key++)
      values[(head * length + key) * headDim + Math.floor(key / BLOCK) - first] = 1
  }
  return dtype === 'f32' ? values : halfArray(values)
}

export interface CountShape {
  readonly rows: number
  /** Where the first row stands. */
  readonly position: number
  readonly heads: number
  readonly headDim: number
  /** The block of keys of channel 0. */
  readonly firstBlock: number
  /** Blocks on a side of the whole text. */
  readonly blocks: number
}

export const countBlock = (s: CountShape): Uint32Array<ArrayBuffer> =>
  Uint32Array.of(s.rows, s.position, s.heads, s.headDim, s.firstBlock, s.blocks, 0, 0)

/** Workgroups: channels, blocks of queries that the rows touch, heads. */
export const countGrid = ({ rows, position, heads, headDim }: CountShape): [number, number, number] => [
  Math.ceil(headDim / 64),
  Math.floor((position + rows - 1) / BLOCK) - Math.floor(position / BLOCK) + 1,
  heads,
]

/**
 * Adds the kept pairs of each tile to its sum. Where all logits are 0, exp(lse) is the number of a row's keys, and a channel times
 * it that of a block's, up to roundings far below one.
 */
export function countTiles(dtype: Dtype): ModelKernel {
  const word = dtype === 'f32' ? 'f32' : 'u32'
  const element = dtype === 'f32' ? 'shares[i]' : 'unpack2x16float(shares[i / 2u])[i % 2u]'
  return kernelOf(
    `count ${dtype}`,
    [
      { name: 'shape', access: 'uniform', type: 'Shape' },
      { name: 'shares', access: 'read', type: `array<${word}>` },
      { name: 'lse', access: 'read', type: 'array<u32>' },
      { name: 'sums', access: 'read_write', type: 'array<u32>' },
    ],
    [
      `struct Shape {
  rows: u32,
  position: u32,
  heads: u32,
  headDim: u32,
  firstBlock: u32,
  blocks: u32,
  unused: vec2u,
}`,
      `fn shareAt(i: u32) -> f32 {
  return ${element};
}`,
      `@compute @workgroup_size(64)
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let channel = group.x * 64u + thread;
  let kvBlock = shape.firstBlock + channel;
  if (channel >= shape.headDim || kvBlock >= shape.blocks) {
    return;
  }
  let qBlock = shape.position / ${BLOCK}u + group.y;
  let begin = max(qBlock * ${BLOCK}u, shape.position) - shape.position;
  let end = min((qBlock + 1u) * ${BLOCK}u - shape.position, shape.rows);
  var sum = 0u;
  for (var row = begin; row < end; row += 1u) {
    let bits = lse[group.z * shape.rows + row];
    // A row without keys has -infinity.
    if (bits != 0xff800000u) {
      let share = shareAt((row * shape.heads + group.z) * shape.headDim + channel);
      sum += u32(round(share * exp(bitcast<f32>(bits))));
    }
  }
  sums[(group.z * shape.blocks + qBlock) * shape.blocks + kvBlock] += sum;
}`,
    ],
  )
}
