/** bigbird: a window of blocks, global blocks, and blocks drawn by a hash. */

import { floorDiv, hash, i32, max, mod, pattern } from '../dsl/index.ts'

/**
 * Block-sparse BigBird (2020), bidirectional: each block of queries sees its own block and the ones beside
 * it, the first and the last block (which also see everything), and `randomBlocks` blocks more. In place of
 * random numbers those are drawn by a hash of `seed`, head and query block, so they are the same on every
 * machine; a draw may fall on a block that is kept already. `block` counts tokens.
 */
export const bigbird = pattern({
  name: 'bigbird',
  cite: 'BigBird, arXiv:2007.14062',
  consts: { randomBlocks: 3 },
  params: { block: i32(64, { min: 1, max: 2 ** 22 }), seed: i32(0) },
  mask: ({ q, kv, kvLen, head, block, seed, randomBlocks }) => {
    const blocks = max(1, floorDiv(kvLen + block - 1, block))
    const last = blocks - 1
    const qBlock = floorDiv(q, block)
    const kvBlock = floorDiv(kv, block)
    const isNear = kvBlock >= qBlock - 1 && kvBlock <= qBlock + 1
    const isGlobal = qBlock <= 0 || kvBlock <= 0 || qBlock >= last || kvBlock >= last
    let isDrawn = false
    for (let i = 0; i < randomBlocks; i++) {
      isDrawn = isDrawn || mod(hash(seed, head, qBlock, i), blocks) === kvBlock
    }
    return isNear || isGlobal || isDrawn
  },
})
