/** Kernels of fixtures/intrinsics.cu on the emulation: a module and an input in, the words that the kernel wrote out. */

import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Address, CudaModule, ModuleSource } from '../../runtime/cuda/driver.ts'
import { openEmulation, type EmulatedDriver } from '../../runtime/cuda/emulated.ts'

export const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
export const PRELUDE = read('../../codegen/cuda/prelude.cuh')
export const KERNELS = read('./fixtures/intrinsics.cu')
export const CALL = 'struct Call { void const* in; void* out; int count; };'
const CALL_BYTES = 24

export const sourceOf = (id: string, code: string): ModuleSource => ({
  pattern: 'test',
  id,
  code,
  hash: createHash('sha256').update(code).digest('hex'),
  suffix: '',
  entries: [],
  cubins: [],
  readCubin: () => null,
})

/** Rows that are read together lie in different banks if `swizzled`. */
export const textOf = (bf16: boolean, swizzled = true) =>
  `constexpr bool BF16 = ${bf16}, SWIZZLED = ${swizzled};\n${CALL}\n${PRELUDE}${KERNELS}`

export interface Emulation {
  /** Libraries are kept here, and nowhere afterwards. */
  readonly folder: string
  readonly driver: EmulatedDriver
  readonly bf16: CudaModule
  release(): void
}

export async function openTestEmulation(): Promise<Emulation> {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-emulation-'))
  const driver = await openEmulation({ cacheFolder: folder, threads: 2, seconds: 1 })
  const bf16 = await driver.loadModule(sourceOf('bf16', textOf(true)))
  const release = () => {
    driver.release()
    rmSync(folder, { recursive: true, force: true })
  }
  return { folder, driver, bf16, release }
}

export const bytesOf = (data: ArrayBufferView) =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
export const floatsOf = (words: Uint32Array) => new Float32Array(words.buffer, words.byteOffset, words.length)

export interface Run {
  readonly driver: EmulatedDriver
  readonly module: CudaModule
  readonly name: string
  readonly input?: ArrayBufferView
  /** Of the input's memory; they follow the Call. */
  readonly maps?: (input: Address) => readonly Uint8Array[]
  /** Of four bytes each. */
  readonly words: number
  readonly count?: number
  readonly grid?: readonly [number, number, number]
  readonly threads?: number
  readonly sharedBytes?: number
  readonly order?: number
  /** What the words are before; NaNs if it is not said. */
  readonly fill?: number
}

export function run({ driver, module, name, words, ...r }: Run): Uint32Array {
  const input = r.input ?? new Uint32Array(16)
  const [from, to] = [driver.alloc(input.byteLength), driver.alloc(4 * words)]
  try {
    driver.copyIn(from, bytesOf(input))
    if (r.fill !== undefined) driver.memset(to, r.fill, 4 * words)
    const call = new DataView(new ArrayBuffer(CALL_BYTES))
    call.setBigUint64(0, from, true)
    call.setBigUint64(8, to, true)
    call.setInt32(16, r.count ?? 0, true)
    driver.setOrder(r.order ?? 0)
    const { grid = [1, 1, 1], threads = 32, sharedBytes = 4096 } = r
    const entry = module.entry(name, sharedBytes)
    const params = [bytesOf(call), ...(r.maps?.(from) ?? [])]
    driver.launch({ entry, grid, threads, sharedBytes, params, about: () => 'a test' })
    const out = new Uint32Array(words)
    driver.copyOut(bytesOf(out), to)
    return out
  } finally {
    driver.free(from)
    driver.free(to)
  }
}
