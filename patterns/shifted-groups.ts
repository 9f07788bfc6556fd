/** shifted-groups: causal attention inside groups, which half of the heads shift by half a group. */

import { floorDiv, i32, pattern } from '../dsl/index.ts'

/**
 * Shifted sparse attention, S2-Attn (LongLoRA, 2023): the first half of the heads attends causally inside
 * groups of `group` tokens; for the second half the groups are shifted by half of that, so that information
 * crosses their borders. As in LongLoRA's varlen form the shifted groups do not wrap around: the first one
 * holds half as many tokens. LongLoRA takes a quarter of the training length as the group.
 */
export const shiftedGroups = pattern({
  name: 'shifted-groups',
  cite: 'LongLoRA, arXiv:2309.12307',
  params: { group: i32(2048, { min: 1, max: 2 ** 22 }) },
  mask: ({ q, kv, head, qHeads, group }) => {
    const shift = 2 * head >= qHeads ? floorDiv(group, 2) : 0
    return kv <= q && floorDiv(q + shift, group) === floorDiv(kv + shift, group)
  },
})
