/** Kernels bound to a model's buffers: what one dispatch of a step runs, and over how many workgroups. */

import {
  linearRow,
  linearTiles,
  SCHEDULES,
  shapeBlock,
  type LinearKernel,
  type LinearText,
  type ScheduleName,
} from './kernels/linear.ts'
import type { ModelKernel } from './kernels/text.ts'
import type { Recorder } from './recorder.ts'
import type { DeviceTensor } from './upload.ts'
import type { Compiled, Gpu } from '../webgpu.ts'

export type Grid = readonly [x: number, y: number, z: number]

export interface Operation {
  readonly run: (recorder: Recorder, rows: number) => void
}

/** Rows up to which a linear layer takes one after another: reading the weights again costs less than idle tiles. */
const FEW_ROWS = 2

function bind(gpu: Gpu, { layout }: Compiled, buffers: readonly GPUBuffer[]): GPUBindGroup {
  return gpu.device.createBindGroup({
    layout,
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  })
}

/** A kernel with one form; a dispatch for each list of buffers. */
export async function operation(
  gpu: Gpu,
  name: string,
  kernel: ModelKernel,
  buffers: readonly (readonly GPUBuffer[])[],
  grid: (rows: number) => Grid,
): Promise<Operation> {
  const compiled = await gpu.compile(kernel)
  const groups = buffers.map((own) => bind(gpu, compiled, own))
  return {
    run: (recorder, rows) => {
      for (const group of groups) dispatch(recorder, name, compiled, group, grid(rows))
    },
  }
}

export interface LinearOptions {
  readonly text: Omit<LinearText, 'weights' | 'bias'>
  readonly weights: DeviceTensor
  readonly bias: DeviceTensor | undefined
  /** Of the norm before it. */
  readonly gain: DeviceTensor | undefined
  readonly rows: GPUBuffer
  readonly input: GPUBuffer
  readonly output: GPUBuffer
  readonly eps: number
  readonly schedule: ScheduleName
  readonly uniform: MakeUniform
}

/** A uniform buffer that holds a block. */
export type MakeUniform = (block: ArrayBuffer | Uint32Array<ArrayBuffer>) => GPUBuffer

export async function linear(
  gpu: Gpu,
  name: string,
  { text, weights, bias, gain, rows, input, output, eps, schedule, uniform }: LinearOptions,
): Promise<Operation> {
  const whole: LinearText = { ...text, weights: weights.dtype, bias: bias !== undefined }
  const forms = await Promise.all(
    [linearRow(whole, SCHEDULES[schedule]), linearTiles(whole, SCHEDULES[schedule])].map(async (kernel) => ({
      kernel,
      compiled: await gpu.compile(kernel),
    })),
  )
  const outputs = (n: number) => (text.epilogue === 'swiglu' ? n / 2 : n)
  const parts = weights.parts.map((part) => {
    const columns = outputs(part.rows)
    const shape = { columns, vectors: weights.columns / 4, base: part.first, stride: outputs(weights.rows) }
    const vectors = [gain, bias].filter((t) => t !== undefined).map((t) => t.parts[0]!.buffer)
    const buffers = [rows, uniform(shapeBlock(shape, eps)), input, part.buffer, output, ...vectors]
    // Layouts of both forms are alike, so they share a group.
    return { columns, group: bind(gpu, forms[0]!.compiled, buffers) }
  })
  const most = gpu.device.limits.maxComputeWorkgroupsPerDimension
  return {
    run: (recorder, count) => {
      const { kernel, compiled } = forms[count <= FEW_ROWS ? 0 : 1]!
      for (const { columns, group } of parts) {
        dispatch(recorder, name, compiled, group, linearGrid(kernel, columns, count, most))
      }
    },
  }
}

function linearGrid({ tile }: LinearKernel, columns: number, rows: number, most: number): Grid {
  const tiles = Math.ceil(columns / tile.columns)
  if (tile.rows > 1) return [Math.ceil(rows / tile.rows), tiles, 1]
  const x = Math.min(tiles, most)
  return [x, Math.ceil(tiles / x), rows]
}

function dispatch(
  recorder: Recorder,
  name: string,
  compiled: Compiled,
  group: GPUBindGroup,
  [x, y, z]: Grid,
): void {
  recorder.record(name, (pass) => {
    pass.setPipeline(compiled.attend)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(x, y, z)
  })
}
