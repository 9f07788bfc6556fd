/** Every op's spelling: Dawn takes it, and on a device it computes what the op table says. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OPS, type Op, type Scalar } from '../../compiler/ops.ts'
import { Block } from '../../codegen/block.ts'
import {
  at,
  f32,
  i32,
  op,
  select,
  u32,
  add,
  mul,
  type Buffer,
  type Code,
  type Kernel,
  type Type,
} from '../../codegen/kernel.ts'
import { Names } from '../../codegen/names.ts'
import { print } from '../../codegen/print.ts'
import { WGSL } from '../../codegen/wgsl.ts'
import { openTestDevice, type OpenDevice } from '../helpers.ts'
import { complaints, openNull, READ, USAGE } from './devices.ts'

const INTS = [
  0,
  1,
  -1,
  2,
  3,
  -3,
  5,
  7,
  -8,
  16,
  31,
  32,
  100,
  -100,
  1023,
  4096,
  65537,
  -65537,
  2 ** 22,
  -(2 ** 22),
]
const FLOATS = [0, 1, -1, 0.5, -0.5, 2, 3.25, -7.75, 10, -10, 0.001, 100, -100, 12.5, 1e-3, 6.5, -2, 4, 9, 30]
const DIVISORS = [1, 2, 3, 5, 8, 64, 100]
const COUNT = INTS.length

interface Case {
  readonly op: Op
  readonly from: readonly Scalar[]
  readonly to: Scalar
  /** A literal in place of the last operand. */
  readonly last?: number
}

const WITH_DIVISOR: readonly Op[] = ['floorDiv', 'mod', 'alignDown', 'rem']
const SHIFTS: readonly Op[] = ['shl', 'shr', 'ushr']

const CASES: Case[] = (Object.keys(OPS) as Op[]).flatMap((name) =>
  OPS[name].types.flatMap((overload): Case[] => {
    const [from, to] = overload.split(' -> ') as [string, Scalar]
    const one = { op: name, from: from.split(' ') as Scalar[], to }
    if (WITH_DIVISOR.includes(name)) return DIVISORS.map((last) => ({ ...one, last }))
    if (SHIFTS.includes(name)) return [1, 3, 8].map((last) => ({ ...one, last }))
    return [one]
  }),
)

const buffer = (name: string, binding: number, type: Type, access: Buffer['access'] = 'read'): Buffer => ({
  name,
  binding,
  access,
  type,
  atomic: false,
})
const ints = buffer('ints', 1, 'i32')
const floats = buffer('floats', 2, 'f32')
const result = buffer('result', 3, 'i32', 'read_write')

/** Operand n of invocation i is number i * (1, 3, 7)[n] + n of the list, so that operands meet in many pairs. */
const STEPS = [1, 3, 7]
const pickOf = (i: number, n: number): number => (i * STEPS[n]! + n) % COUNT

function kernelOf(cases: readonly Case[]): Kernel {
  const names = new Names(WGSL.reserved)
  const block = new Block(names)
  const thread = op('u32', 'thread')
  cases.forEach(({ op: name, from, to, last }, k) => {
    const args = from.map((type, n): Code => {
      if (last !== undefined && n === from.length - 1) return i32(last)
      const index = op('u32', 'remainder', add(mul(thread, u32(STEPS[n]!)), u32(n)), u32(COUNT))
      if (type === 'bool') return op('bool', 'lt', i32(0), at(ints, index))
      return type === 'i32' ? at(ints, index) : at(floats, index)
    })
    const value = op(to, name, ...args)
    const bits =
      to === 'f32'
        ? op('i32', 'fromU32', op('u32', 'floatBits', value))
        : to === 'i32'
          ? value
          : select(value, i32(1), i32(0))
    block.set(at(result, add(thread, u32(k * COUNT))), bits)
  })
  return {
    head: ['every op'],
    uniforms: { name: 'u', binding: 0, fields: [{ name: 'unused', type: 'i32' }] },
    buffers: [ints, floats, result],
    memory: [],
    constants: [],
    functions: [],
    entries: [{ name: 'attend', threads: COUNT, body: block.stmts }],
  }
}

const expected = ({ op: name, from, last }: Case, i: number): number => {
  const args = from.map((type, n) => {
    if (last !== undefined && n === from.length - 1) return last
    if (type === 'bool') return INTS[pickOf(i, n)]! > 0
    return type === 'i32' ? INTS[pickOf(i, n)]! : Math.fround(FLOATS[pickOf(i, n)]!)
  })
  return Number((OPS[name].eval as (...a: unknown[]) => number | boolean)(...args))
}

/** Where the target's answer and JavaScript's may differ: outside int32, and where a float has no finite answer. */
const open = (c: Case, want: number): boolean =>
  c.to === 'f32'
    ? !Number.isFinite(want) || Math.abs(want) > 1e30
    : c.op === 'imul'
      ? false
      : want !== (want | 0)

describe('the spelling of ops', () => {
  it('has a row for each op, all taken by Dawn', async () => {
    const device = await openNull()
    const called = new Set(CASES.map((c) => c.op))
    const leaves = (Object.keys(OPS) as Op[]).filter((o) => OPS[o].types.length === 0)
    expect([...called, ...leaves].sort()).toEqual(Object.keys(OPS).sort())
    for (const c of CASES) {
      expect(
        await complaints(device, print(kernelOf([c]), WGSL), ['attend']),
        `${c.op}(${c.from.join()})`,
      ).toEqual([])
    }
  })

  it('folds operations on literals, which WGSL would refuse where they overflow', () => {
    const block = new Block(new Names(WGSL.reserved))
    block.let('x', op('i32', 'imul', i32(2 ** 30), i32(6)))
    block.let('y', op('f32', 'mul', f32(0.1), f32(3)))
    const text = print(
      { ...kernelOf([]), entries: [{ name: 'attend', threads: 1, body: block.stmts }] },
      WGSL,
    )
    expect(text).toContain('let x = -2147483648'.replace('-2147483648', 'i32(-2147483648)'))
    expect(text).toContain('let y = 0.3')
  })
})

describe('the value of ops', () => {
  let opened: OpenDevice | null
  beforeAll(async () => {
    opened = await openTestDevice()
  })
  afterAll(() => opened?.close())

  it('is what the op table says, for every overload', async ({ skip }) => {
    if (!opened) return skip('no device')
    const { device } = opened
    const usage = USAGE.storage | USAGE.copySource | USAGE.copyTarget | USAGE.uniform
    const make = (data: Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>) => {
      const made = device.createBuffer({ size: Math.max(16, data.byteLength), usage })
      device.queue.writeBuffer(made, 0, data)
      return made
    }
    const buffers = [
      make(Int32Array.from(INTS)),
      make(Float32Array.from(FLOATS)),
      make(new Int32Array(CASES.length * COUNT)),
    ]
    const module = device.createShaderModule({ code: print(kernelOf(CASES), WGSL) })
    const pipeline = device.createComputePipeline({
      layout: 'auto',
      compute: { module, entryPoint: 'attend' },
    })
    const bound = [ints, floats, result].map((b, n) => ({
      binding: b.binding,
      resource: { buffer: buffers[n]! },
    }))
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: bound }))
    pass.dispatchWorkgroups(1)
    pass.end()
    const target = device.createBuffer({ size: buffers[2]!.size, usage: USAGE.copyTarget | USAGE.mapRead })
    encoder.copyBufferToBuffer(buffers[2]!, 0, target, 0, target.size)
    device.queue.submit([encoder.finish()])
    await target.mapAsync(READ)
    const bits = target.getMappedRange().slice(0)
    const [asInt, asFloat] = [new Int32Array(bits), new Float32Array(bits)]
    const wrong: string[] = []
    let compared = 0
    CASES.forEach((c, k) => {
      for (let i = 0; i < COUNT; i++) {
        const want = expected(c, i)
        if (open(c, want)) continue
        compared++
        const got = c.to === 'f32' ? asFloat[k * COUNT + i]! : asInt[k * COUNT + i]!
        const slack =
          c.to === 'f32'
            ? 4e-6 * Math.max(1, Math.abs(want)) * (['pow', 'exp', 'exp2'].includes(c.op) ? 40 : 1)
            : 0
        if (!(Math.abs(got - want) <= slack))
          wrong.push(`${c.op}(${c.from.join()})${c.last ?? ''} #${i}: ${got}, not ${want}`)
      }
    })
    expect(wrong).toEqual([])
    expect(compared).toBeGreaterThan(CASES.length * COUNT * 0.8)
    for (const b of [...buffers, target]) b.destroy()
  })
})
