/** A device in Node, from Dawn: the machine's GPU if there is one, else SwiftShader, with nothing for the user to set up. */

import { createRequire } from 'node:module'
import { deviceOf, type OpenDevice, type OpenOptions } from './device.ts'
import { HeddleError } from './messages.ts'
import { loadSwiftShader, mayHaveVulkan } from './swiftshader.ts'

export type { OpenDevice } from './device.ts'

export interface NodeOpenOptions extends OpenOptions {
  /** Experimental features: shader-f16 on NVIDIA's Vulkan driver, subgroup matrices. Recorded in `toggles`. */
  readonly unsafe?: boolean
  /** 'software' takes SwiftShader even if there is a GPU; 'null' checks programs and runs nothing. */
  readonly adapter?: 'any' | 'software' | 'null'
}

type Create = (options: string[]) => GPU

const UNSAFE: readonly string[] = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia']
// With it, a software Vulkan driver takes seconds to create a pipeline with workgroup memory; Dawn then zeroes in the shader.
const ZEROING = 'use_vulkan_zero_initialize_workgroup_memory_extension'
const PINS = Symbol.for('heddle.webgpu.instances')

/** One instance per set of options, for good: Dawn crashes if it is collected while anything of it is alive. */
const instances: Map<string, GPU> = ((globalThis as { [PINS]?: Map<string, GPU> })[PINS] ??= new Map())

async function loadDawn(): Promise<Create> {
  const path = process.env.DAWN_NODE
  try {
    if (path) return (createRequire(import.meta.url)(path) as { create: Create }).create
    return ((await import('webgpu')) as { create: Create }).create
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message.split('\n')[0]! : String(cause)
    const source = path ? `DAWN_NODE = ${path}` : 'the optional package webgpu'
    throw new HeddleError(
      'no-webgpu',
      { where: 'in this Node', detail: `${source} does not load (${detail})` },
      { cause },
    )
  }
}

function instanceOf(create: Create, driver: string, toggles: readonly string[]): GPU {
  const flags = [
    ...(toggles.length > 0 ? [`enable-dawn-features=${toggles.join(',')}`] : []),
    `disable-dawn-features=${ZEROING}`,
    ...(driver === 'null' ? ['backend=null'] : []),
  ]
  const key = [driver, ...flags].join(' ')
  let gpu = instances.get(key)
  if (!gpu) {
    gpu = create(flags)
    instances.set(key, gpu)
  }
  return gpu
}

let swiftShader: Promise<string | null> | null = null
let hasGpu = false

/**
 * Opens a WebGPU device in Node. Honours DAWN_NODE (the path of a dawn.node to use) and VK_* variables.
 * @throws HeddleError `no-webgpu`, `no-adapter`, `feature-missing`, `device-refused`
 */
export async function openDevice(options: NodeOpenOptions = {}): Promise<OpenDevice> {
  const { unsafe = false, adapter: wanted = 'any' } = options
  const toggles = unsafe ? UNSAFE : []
  const create = await loadDawn()
  const ask = (driver: string) =>
    instanceOf(create, driver, toggles).requestAdapter({ powerPreference: 'high-performance' })

  if (wanted === 'null') {
    const adapter = await ask('null')
    if (!adapter) throw new HeddleError('no-adapter', { detail: 'this Dawn has no null backend' })
    return deviceOf(adapter, options, toggles, 'null')
  }
  // Once SwiftShader is this process's Vulkan, an instance that found no GPU before would find SwiftShader itself.
  if (wanted === 'any' && (hasGpu || (swiftShader === null && (await mayHaveVulkan())))) {
    const adapter = await ask('native')
    hasGpu = adapter !== null
    if (adapter) return deviceOf(adapter, options, toggles)
  }
  swiftShader ??= loadSwiftShader()
  const why = await swiftShader
  if (why !== null) {
    swiftShader = null
    throw new HeddleError('no-adapter', { detail: `there is no GPU that Dawn can use, and ${why}` })
  }
  const adapter = await ask('swiftshader')
  if (!adapter)
    throw new HeddleError('no-adapter', { detail: 'SwiftShader was loaded, but Dawn does not take it' })
  return deviceOf(adapter, options, toggles)
}
