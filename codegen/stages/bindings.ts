/** Bindings of a stage kernel: the buffers that its text has come to speak of in; what a loader binds to them out. */

import type { StageBinding } from '../artifact.ts'
import type { Buffer } from '../kernel.ts'
import type { Of } from '../module.ts'
import { storageType } from '../wgsl.ts'
import type { StageRole } from './text.ts'

type Bound = Of & { readonly buffer: Buffer; readonly role: StageRole }

const UNIFORMS: StageBinding = { binding: 0, role: 'uniforms', access: 'uniform', type: 'Uniforms' }

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
