/** emitVariant(): a problem and a capability in; the attend kernel's text, its bindings and what it needs of a device out. */

import { printExpr } from '../compiler/ir.ts'
import type { Binding, Variant } from './artifact.ts'
import { attend } from './flash.ts'
import { alignOf, Frame, walksList, type Problem } from './frame.ts'
import { listTiles } from './list.ts'
import type { Kernel, Memory } from './kernel.ts'
import { print } from './print.ts'
import { checkHeadDim } from './record.ts'
import { capabilityOf, ceilingOf, scheduleOf, type CapabilityName } from './schedule.ts'
import type { Target } from './target.ts'
import { tileTests } from './tiles.ts'
import { storageType } from './wgsl.ts'

export interface VariantOptions extends Omit<Problem, 'schedule'> {
  readonly target: Target
  readonly capability: CapabilityName
}

/** Without a state before, to the output. */
export const PLAIN: Problem['state'] = { before: false, makes: 'output' }

/** Null where the capability has nothing to offer for the dtype. */
export function emitVariant({ target, capability, ...asked }: VariantOptions): Variant | null {
  const { plan, parts, headDim, valueDim, dtype } = asked
  checkHeadDim(headDim)
  checkHeadDim(valueDim)
  const schedule = scheduleOf(capability, dtype, valueDim)
  if (!schedule) return null
  const id = `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-${capability}`
  const problem: Problem = { ...asked, schedule }
  const frame = new Frame(problem, target.reserved)
  const ranges = parts === null || parts.ranges
  const tests = tileTests(frame, ranges ? plan.tiles : { ...plan.tiles, kept: [] })
  // Of the tiles that a list names, it is asked only whether they drop a pair.
  const listed =
    !parts || parts.listed === plan ? tests : tileTests(frame, { ...parts.listed.tiles, kept: [] })
  const main = attend(frame, { plan: tests, listed })
  const lister = walksList(problem) ? listTiles(frame, tests) : null
  const entries = [main.entry, ...(lister ? [lister.entry] : [])]
  const memory = [...main.memory, ...(lister?.memory ?? [])]
  const { uniforms } = frame
  const kernel: Kernel = {
    head: [
      `${plan.name}: ${printExpr(plan.mask)}${plan.score ? `; score ${printExpr(plan.score)}` : ''}`,
      `${frame.tile.q} x ${frame.tile.kv} tiles found by ${tilesBy(problem)}; ${main.entry.threads} threads, ${id}`,
      `npx heddle build ${plan.name} --target ${target.name} --head-dim ${headDim} --dtype ${dtype}`,
    ],
    uniforms: {
      name: uniforms,
      binding: 0,
      fields: frame.fields.map((f) => ({ name: f.text, type: f.field.type })),
    },
    buffers: frame.buffers.map((b) => b.buffer),
    memory,
    constants: frame.constants,
    functions: frame.functions,
    entries,
  }
  const bindings: Binding[] = [
    { binding: 0, role: 'uniforms', access: 'uniform', type: 'Uniforms' },
    ...frame.buffers.map(({ buffer, role, table, part }) => ({
      binding: buffer.binding,
      role,
      ...(table === undefined ? {} : { table }),
      ...(part === undefined ? {} : { part }),
      access: buffer.access,
      type: `array<${storageType(buffer)}>`,
    })),
  ]
  const needs = {
    workgroupBytes: Math.max(...[main, ...(lister ? [lister] : [])].map((e) => bytesOf(e.memory))),
    invocations: main.entry.threads,
    storageBuffers: frame.buffers.length,
  }
  const ceiling = ceilingOf(capability)
  if (needs.workgroupBytes > ceiling.bytes || needs.invocations > ceiling.invocations) {
    throw new Error(
      `the schedule of ${id} takes ${needs.workgroupBytes} bytes of workgroup memory, beyond ${ceiling.bytes}`,
    )
  }
  return {
    id,
    headDim,
    valueDim,
    dtype,
    capability: capabilityOf(capability, needs),
    tile: frame.tile,
    workgroup: main.entry.threads,
    ...(frame.cut ? { unit: { tokens: frame.cut.unit, packs: frame.cut.packed } } : {}),
    align: alignOf(frame.problem),
    entries: { attend: main.entry.name, list: lister ? lister.entry.name : null },
    bindings,
    uniforms: frame.fields.map((f) => f.field),
    code: print(kernel, target),
  }
}

const tilesBy = ({ plan, parts }: Problem): string =>
  [
    ...(parts === null || parts.ranges ? [plan.tiles.how] : []),
    ...(parts ? [`${parts.lists.length} given list${parts.lists.length === 1 ? '' : 's'}`] : []),
  ].join(' and ')

const BYTES = { bool: 4, i32: 4, u32: 4, f32: 4, f32x4: 16, u32x2: 8, f16: 2, f16x4: 8 } as const
// Implementations count each variable up to a multiple of 16 bytes.
export const bytesOf = (memory: readonly Memory[]): number =>
  memory.reduce((sum, m) => sum + Math.ceil((m.dims.reduce((a, b) => a * b, 1) * BYTES[m.type]) / 16) * 16, 0)
