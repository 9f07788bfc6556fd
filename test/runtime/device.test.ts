/** The openers: which adapter is taken, what is asked of it, what is said when there is none; and how fast pipelines are. */

import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDevice as openInBrowser } from '../../runtime/device-browser.ts'
import { openDevice } from '../../runtime/device-node.ts'
import { cacheRoot, chosenDrivers, unpackSwiftShader } from '../../runtime/swiftshader.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'heddle-device-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const script = fileURLToPath(new URL('./open-device.ts', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

interface Found {
  readonly kind?: string
  readonly name?: string
  readonly sums?: number
  readonly vk?: string
  readonly code?: string
  readonly message?: string
}

async function inProcess(env: Readonly<Record<string, string>> = {}): Promise<Found & { stderr: string }> {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VK_|DAWN_)/.test(name)))
  const args = ['--expose-gc', '--import', 'tsx', script]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
    cwd: root,
    env: { ...clean, ...env },
  })
  return { ...(JSON.parse(stdout) as Found), stderr }
}

describe('in Node', () => {
  test('with nothing set up there is a device, quietly, and it survives the collector', async () => {
    const found = await inProcess()
    expect(found).toMatchObject({ sums: 1, stderr: '' })
    expect(['gpu', 'software']).toContain(found.kind)
  })

  test('processes that unpack at the same time do not disturb each other', async () => {
    const XDG_CACHE_HOME = join(folder, 'cache')
    const all = await Promise.all([1, 2].map(() => unpackSwiftShader(cacheRoot({ XDG_CACHE_HOME }))))
    expect(all[0]).toBe(all[1])
    expect(await readdir(dirname(all[0]!))).toHaveLength(1)
    expect((await readdir(all[0]!)).toSorted()).toEqual([
      'libvk_swiftshader.so',
      'libvulkan.so.1',
      'vk_swiftshader_icd.json',
    ])
  })

  test('a copy that lacks a file is replaced', async () => {
    const cache = join(folder, 'damaged')
    const first = await unpackSwiftShader(cache)
    await rm(join(first, 'libvulkan.so.1'))
    expect(await unpackSwiftShader(cache)).toBe(first)
    expect(await readdir(first)).toHaveLength(3)
    expect(await readdir(cache)).toHaveLength(1)
  })

  test("the cache is the user's own", () => {
    expect(cacheRoot({ XDG_CACHE_HOME: '/x' })).toBe('/x/heddle')
    expect(cacheRoot({ HOME: '/home/me' })).toBe('/home/me/.cache/heddle')
    expect(chosenDrivers({})).toBeNull()
    expect(chosenDrivers({ VK_ICD_FILENAMES: '' })).toBe('VK_ICD_FILENAMES')
  })

  test('drivers that the user chose are never replaced', async () => {
    const found = await inProcess({ VK_DRIVER_FILES: '/nowhere.json' })
    expect(found).toMatchObject({
      code: 'no-adapter',
      message:
        'no WebGPU adapter was found: there is no GPU that Dawn can use, ' +
        'and VK_DRIVER_FILES is set, so the drivers it names are the only ones asked',
    })
  })

  test('a cache that cannot be written says so', async () => {
    const file = join(folder, 'file')
    await writeFile(file, '')
    const found = await inProcess({ XDG_CACHE_HOME: file })
    // On a machine with a GPU nothing needs to be unpacked.
    if (found.kind === 'gpu') return
    expect(found.code).toBe('no-adapter')
    expect(found.message).toContain('SwiftShader could not be loaded from @sparticuz/chromium: ENOTDIR')
  })

  test('DAWN_NODE names another dawn.node', async () => {
    const dawn = join(root, 'node_modules/webgpu/dist', `${process.platform}-${process.arch}`, 'dawn.node')
    expect(await inProcess({ DAWN_NODE: dawn })).toMatchObject({ sums: 1 })
    const found = await inProcess({ DAWN_NODE: '/nowhere/dawn.node' })
    expect(found.code).toBe('no-webgpu')
    expect(found.message).toMatch(
      /^there is no WebGPU in this Node: DAWN_NODE = \/nowhere\/dawn\.node does not load \(.+\)$/,
    )
  })

  test('all limits of the adapter, useful features, and the rest on request', async () => {
    const opened = await openDevice({ adapter: 'software' })
    expect(opened.kind).toBe('software')
    expect(opened.toggles).toEqual([])
    expect(opened.features).toEqual(expect.arrayContaining(['subgroups', 'timestamp-query']))
    expect(opened.limits.maxStorageBufferBindingSize).toBeGreaterThan(2 ** 27)
    expect(opened.limits.maxComputeWorkgroupStorageSize).toBe(32768)
    opened.close()
    await expect(openDevice({ adapter: 'software', features: ['shader-f16'] })).rejects.toMatchObject({
      code: 'feature-missing',
      message: expect.stringMatching(
        /^the adapter SwiftShader .* has no feature shader-f16; it has .*subgroups/,
      ),
    })
    const bare = await openDevice({ adapter: 'software', features: [] })
    expect(bare.device.features.has('subgroups')).toBe(false)
    bare.close()
    const all = await openDevice({ adapter: 'software', features: 'all' })
    expect(all.features.length).toBeGreaterThan(opened.features.length)
    all.close()
  })

  test('unsafe switches are recorded', async () => {
    const plain = await openDevice({ adapter: 'null', features: 'all' })
    const unsafe = await openDevice({ adapter: 'null', features: 'all', unsafe: true })
    expect(unsafe.toggles).toEqual(['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia'])
    expect(plain).toMatchObject({ kind: 'null', toggles: [] })
    const matrices = 'chromium-experimental-subgroup-matrix'
    expect([plain.features.includes(matrices), unsafe.features.includes(matrices)]).toEqual([false, true])
    plain.close()
    unsafe.close()
  })
})

/** As large as a kernel's workgroup memory and loops: what zeroing the memory in Vulkan makes slow to create. */
const FLASH = `
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> kv: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> o: array<vec4f>;
var<workgroup> qTile: array<vec4f, 512>;
var<workgroup> kTile: array<vec4f, 512>;
var<workgroup> scores: array<f32, 1024>;
@compute @workgroup_size(64) fn attend(@builtin(local_invocation_index) i: u32, @builtin(workgroup_id) w: vec3u) {
  for (var n = 0u; n < 8u; n++) { qTile[n * 64u + i] = q[w.x * 512u + n * 64u + i]; }
  var acc: array<vec4f, 16>;
  var rowMax = -3e38;
  var rowSum = 0.0;
  for (var tile = 0u; tile < arrayLength(&kv) / 512u; tile++) {
    workgroupBarrier();
    for (var n = 0u; n < 8u; n++) { kTile[n * 64u + i] = kv[tile * 512u + n * 64u + i]; }
    workgroupBarrier();
    for (var n = 0u; n < 16u; n++) {
      var s = 0.0;
      for (var d = 0u; d < 16u; d++) { s += dot(qTile[(i / 2u) * 16u + d], kTile[((i % 2u) * 16u + n) * 16u + d]); }
      scores[i * 16u + n] = s;
    }
    workgroupBarrier();
    for (var n = 0u; n < 32u; n++) {
      let s = scores[(i / 2u) * 32u + n];
      let top = max(rowMax, s);
      let keep = exp2(rowMax - top);
      let p = exp2(s - top);
      rowMax = top;
      rowSum = rowSum * keep + p;
      for (var d = 0u; d < 8u; d++) { acc[d] = acc[d] * keep + p * kTile[n * 16u + (i % 2u) * 8u + d]; }
    }
  }
  for (var d = 0u; d < 8u; d++) { o[(w.x * 64u + i) * 8u + d] = acc[d] / rowSum; }
}`

test('a pipeline with workgroup memory is created in less than 500 ms', async () => {
  const { device, close } = await openDevice({ adapter: 'software' })
  const before = process.cpuUsage()
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code: FLASH })
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'attend' } })
  // Processor time of this process, since other tests share the machine's cores.
  const { user, system } = process.cpuUsage(before)
  expect(await device.popErrorScope()).toBeNull()
  expect((user + system) / 1000).toBeLessThan(500)
  close()
})

describe('in a browser', () => {
  const device = { features: new Set(['subgroups']), limits: { maxBufferSize: 7 }, destroy: () => {} }
  const adapter = {
    features: new Set(['subgroups', 'bgra8unorm-storage']),
    limits: { maxBufferSize: 7 },
    info: { vendor: 'acme', architecture: 'one', device: '', description: '', isFallbackAdapter: false },
    requestDevice: async (descriptor: GPUDeviceDescriptor) => {
      asked.push(descriptor)
      return device
    },
  }
  const asked: GPUDeviceDescriptor[] = []
  const host = (found: unknown) => ({ gpu: { requestAdapter: async () => found } as unknown as GPU })

  test('the same from navigator.gpu', async () => {
    const opened = await openInBrowser({}, host(adapter))
    expect(opened).toMatchObject({
      kind: 'gpu',
      name: 'one',
      features: ['subgroups'],
      limits: { maxBufferSize: 7 },
      toggles: [],
    })
    expect(asked).toEqual([{ requiredFeatures: ['subgroups'], requiredLimits: { maxBufferSize: 7 } }])
    opened.close()
  })

  test('no WebGPU, no adapter, no device', async () => {
    await expect(openInBrowser({}, {})).rejects.toMatchObject({
      code: 'no-webgpu',
      message: 'there is no WebGPU in this browser: navigator.gpu is missing (it needs a secure context)',
    })
    await expect(openInBrowser({}, host(null))).rejects.toMatchObject({
      code: 'no-adapter',
      message: 'no WebGPU adapter was found: navigator.gpu.requestAdapter() gave none',
    })
    const refusing = { ...adapter, requestDevice: () => Promise.reject(new Error('too many devices')) }
    await expect(openInBrowser({}, host(refusing))).rejects.toMatchObject({
      code: 'device-refused',
      message: 'the adapter one gave no device: too many devices',
    })
  })
})
