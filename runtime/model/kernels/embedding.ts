/** Token ids in, their rows of the embedding's table out, as f32. */

import type { Dtype } from '../../../codegen/artifact.ts'
import { kernelOf, reader, vectorType, type ModelKernel } from './text.ts'

/** A part of the table: tokens from `base` on, `count` of them; tokens of other parts are left to their dispatches. */
export const partBlock = (base: number, count: number, vectors: number): Uint32Array<ArrayBuffer> =>
  Uint32Array.of(base, count, vectors, 0)

export function embedding(weights: Dtype): ModelKernel {
  return kernelOf(
    `embedding-${weights}`,
    [
      { name: 'part', access: 'uniform', type: 'Part' },
      { name: 'tokens', access: 'read', type: 'array<u32>' },
      { name: 'weight', access: 'read', type: `array<${vectorType(weights)}>` },
      { name: 'x', access: 'read_write', type: 'array<vec4f>' },
    ],
    [
      `struct Part {
  base: u32,
  count: u32,
  vectors: u32,
  unused: u32,
}`,
      reader('weight', weights),
      `@compute @workgroup_size(64)
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = tokens[group.x] - part.base;
  if (token >= part.count) {
    return;
  }
  for (var at = thread; at < part.vectors; at += 64u) {
    x[group.x * part.vectors + at] = weightAt(token * part.vectors + at);
  }
}`,
    ],
  )
}
