/** full: every query meets every key. */

import { pattern } from '../dsl/index.ts'

/**
 * Dense bidirectional attention (Vaswani et al., 2017): each query sees all kvLen keys. What encoders and
 * diffusion models use, and the measure that bidirectional patterns are compared with.
 */
export const full = pattern({
  name: 'full',
  cite: 'Attention Is All You Need, arXiv:1706.03762',
  mask: () => true,
})
