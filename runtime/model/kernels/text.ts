/** What the kernels of a model share: how weights and activations are stored, and the words of a step; WGSL pieces out. */

import type { Dtype } from '../../../codegen/artifact.ts'
import type { Compilable } from '../../webgpu.ts'

/** A kernel's text, with all bindings in group 0 and the one entry point `run`. */
export interface ModelKernel extends Compilable {
  readonly bindings: readonly { readonly binding: number; readonly access: Access }[]
}

type Access = 'uniform' | 'read' | 'read_write'

/** The rows of a dispatch: those from `first` on are read, and written from 0 on; the first row of a step stands at `position`. */
export const ROWS = `struct Rows {
  first: u32,
  count: u32,
  position: u32,
  unused: u32,
}`

/** Rows as words of its uniform block. */
export const rowsBlock = (first: number, count: number, position: number): Uint32Array<ArrayBuffer> =>
  Uint32Array.of(first, count, position, 0)

export interface BufferText {
  readonly name: string
  readonly access: Access
  readonly type: string
}

/** Vectors of four elements: f32 as they are, halves as two words that every device can unpack. */
export const vectorType = (dtype: Dtype): string => (dtype === 'f32' ? 'vec4f' : 'vec2u')

/** `nameAt(i)`: the i-th vector of four elements of a buffer. */
export function reader(name: string, dtype: Dtype): string {
  const value =
    dtype === 'f32' ? `${name}[i]` : `vec4f(unpack2x16float(${name}[i].x), unpack2x16float(${name}[i].y))`
  return `fn ${name}At(i: u32) -> vec4f {
  return ${value};
}`
}

/** A kernel of declared buffers, in the order of their bindings. */
export function kernelOf(
  id: string,
  buffers: readonly BufferText[],
  parts: readonly string[],
  enable: readonly string[] = [],
): ModelKernel {
  const declared = buffers.map(
    ({ name, access, type }, n) =>
      `@group(0) @binding(${n}) var<${access === 'uniform' ? 'uniform' : `storage, ${access}`}> ${name}: ${type};`,
  )
  return {
    id,
    code: [
      `// ${id}`,
      ...enable.map((name) => `enable ${name};`),
      parts[0],
      declared.join('\n'),
      ...parts.slice(1),
      '',
    ].join('\n\n'),
    bindings: buffers.map(({ access }, binding) => ({ binding, access })),
    entries: { attend: 'run', list: null },
  }
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Lines of a loop over constants, which is unrolled into the text. */
export const lines = (n: number, line: (i: number) => string): string => range(n).map(line).join('\n')
