/** block-causal: causal between blocks, dense inside one. */

import { floorDiv, i32, pattern } from '../dsl/index.ts'

/**
 * Block-causal attention, as block diffusion models (BD3-LM, 2025) and frame-by-frame video models use it:
 * each query sees all of its own block and of the blocks before it. `block` counts tokens.
 */
export const blockCausal = pattern({
  name: 'block-causal',
  cite: 'Block Diffusion, arXiv:2503.09573',
  params: { block: i32(64, { min: 1, max: 2 ** 22 }) },
  mask: ({ q, kv, block }) => floorDiv(kv, block) <= floorDiv(q, block),
})
