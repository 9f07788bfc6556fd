/** Rows of logits and a target token for each in, the natural logarithms of the targets' probabilities out. */

import { kernelOf, type ModelKernel } from './text.ts'

const THREADS = 64

export const sizeBlock = (vocabulary: number): Uint32Array<ArrayBuffer> => Uint32Array.of(vocabulary, 0, 0, 0)

export function logprobs(): ModelKernel {
  return kernelOf(
    'logprobs',
    [
      { name: 'size', access: 'uniform', type: 'vec4u' },
      { name: 'logits', access: 'read', type: 'array<f32>' },
      { name: 'targets', access: 'read', type: 'array<u32>' },
      { name: 'result', access: 'read_write', type: 'array<f32>' },
    ],
    [
      `var<workgroup> tops: array<f32, ${THREADS}>;
var<workgroup> sums: array<f32, ${THREADS}>;`,
      `@compute @workgroup_size(${THREADS})
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let first = group.x * size.x;
  // WGSL has no infinities in constant expressions: the lowest finite number is as good a start.
  var top = -3.4e38;
  for (var i = thread; i < size.x; i += ${THREADS}u) {
    top = max(top, logits[first + i]);
  }
  tops[thread] = top;
  workgroupBarrier();
  for (var i = 0u; i < ${THREADS}u; i += 1u) {
    top = max(top, tops[i]);
  }
  var sum = 0.0;
  for (var i = thread; i < size.x; i += ${THREADS}u) {
    sum += exp(logits[first + i] - top);
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    sum = 0.0;
    for (var i = 0u; i < ${THREADS}u; i += 1u) {
      sum += sums[i];
    }
    result[group.x] = logits[first + targets[group.x]] - top - log(sum);
  }
}`,
    ],
  )
}
