/** s2-shard: recent blocks, and for each head another shard of the blocks before them. */

import { floorDiv, i32, max, mod, pattern } from '../dsl/index.ts'

/**
 * Sharded sparse attention (S2-Attention, 2024; DKernel): causally, each query sees the last `local` blocks,
 * its own included, and of all earlier blocks every `stride`-th one, shifted from kv head to kv head by
 * `max(1, stride / qHeads)` so that the heads together see everything. The kept columns are absolute, so a KV
 * cache can drop the rest. The last `denseHeads` kv heads see all keys. `block` counts tokens, `local`,
 * `stride` and `offset` blocks; `spread` 0 gives all heads the same blocks (DKernel's homo_head).
 */
export const s2Shard = pattern({
  name: 's2-shard',
  cite: 'S2-Attention, arXiv:2407.17678',
  params: {
    block: i32(64, { min: 1, max: 2 ** 16 }),
    local: i32(16, { min: 1, max: 2 ** 20 }),
    stride: i32(16, { min: 1, max: 4096 }),
    offset: i32(0, { min: 0, max: 4096 }),
    spread: i32(1, { min: 0, max: 1 }),
    denseHeads: i32(0, { min: 0, max: 4096 }),
  },
  mask: ({ q, kv, kvHead, qHeads, kvHeads, block, local, stride, offset, spread, denseHeads }) => {
    const qBlock = floorDiv(q, block)
    const kvBlock = floorDiv(kv, block)
    const step = max(1, floorDiv(stride, qHeads))
    const isShard = mod(kvBlock + kvHead * step * spread + offset, stride) === 0
    return kv <= q && (kvBlock > qBlock - local || isShard || kvHead >= kvHeads - denseHeads)
  },
})
