/** Bindings of a stage kernel: the buffers that its text has come to speak of in; in order, with their numbers, out. */

import type { StageBinding } from '../artifact.ts'
import type { Buffer } from '../kernel.ts'
import type { Of } from '../module.ts'
import { storageType } from '../wgsl.ts'
import type { StageRole } from './text.ts'

type Bound = Of & { readonly buffer: Buffer; readonly role: StageRole }

const UNIFORMS: StageBinding = { binding: 0, role: 'uniforms', access: 'uniform', type: 'Uniforms' }

/** @param like another text of the kernel, whose order this one has; null: each buffer stands where it was first spoken of */
export function inOrder(buffers: readonly Bound[], like: readonly StageBinding[] | null): readonly Bound[] {
  if (like === null) return buffers
  const placeOf = ({ role, table, rows, stored }: Bound) =>
    like.findIndex((b) => b.role === role && b.table === table && b.rows === rows && b.stored === stored)
  return buffers
    .toSorted((a, b) => placeOf(a) - placeOf(b))
    .map((b, i) => ({ ...b, buffer: { ...b.buffer, binding: i + 1 } }))
}

export const bindingsOf = (buffers: readonly Bound[]): readonly StageBinding[] => [
  UNIFORMS,
  ...buffers.map(({ buffer, role, table, rows, stored }): StageBinding => ({
    binding: buffer.binding,
    role,
    ...(table === undefined ? {} : { table }),
    ...(rows === undefined ? {} : { rows }),
    ...(stored === undefined ? {} : { stored }),
    access: buffer.access,
    type: `array<${storageType(buffer)}>`,
  })),
]
