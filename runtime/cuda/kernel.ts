/** CudaKernel: a checked artefact on one device; its modules are loaded when first needed, its calls launched on any stream. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CudaArtifact, CudaStageKernel, CudaVariant } from '../../codegen/cuda/manifest.ts'
import { HeddleError } from '../messages.ts'
import { parseCudaArtifact } from './artifact.ts'
import { fillCall, type CallValues } from './block.ts'
import {
  checkCudaCall,
  checkProgramCall,
  launchOf,
  type CheckedCall,
  type CudaCall,
  type Operands,
} from './call.ts'
import type { Address, CudaDriver, CudaFunction, CudaModule, ModuleSource, Stream } from './driver.ts'
import { mapSpec, TensorMaps } from './maps.ts'
import { metaWords } from '../meta.ts'
import { sizesOfCall } from '../stage-sizes.ts'
import {
  checkAlignment,
  chooseStages,
  planStages,
  powersOf,
  takesFaster,
  textOn,
  type StageText,
} from './stages.ts'
import { kernelsOf } from './stored.ts'
import { mappedViews, operandsOver } from './stored-keys.ts'
import { workspaceOf } from './workspace.ts'

export interface CudaKernelOptions {
  /** A cubin's bytes by the name that the manifest gives, or null; or the folder they lie in. Without it nothing is precompiled. */
  readonly cubins?: ((file: string) => Uint8Array | null) | string
  /** Stages of a `forward` run by their texts for every device: for tests and measurements. */
  readonly plain?: boolean
}

/** A call that can be launched again and again, on buffers that the caller owns, without another look at its arguments. */
export interface PreparedCudaCall {
  /** The id of the variant. */
  readonly variant: string
  /** Enqueues the call; says nothing of when it is done. */
  run(stream?: Stream): void
}

type Text = Omit<ModuleSource, 'pattern' | 'readCubin'>

/** What a launch may start at most, by dimension. */
const GRID = [2 ** 31 - 1, 65535, 65535] as const

/**
 * Checks an artefact for a device.
 * @param source the text of the manifest, or the record that was parsed from it
 */
export function loadCudaKernel(
  source: unknown,
  driver: CudaDriver,
  options: CudaKernelOptions = {},
): CudaKernel {
  return new CudaKernel(parseCudaArtifact(source), driver, options)
}

export class CudaKernel {
  readonly artifact: CudaArtifact
  readonly driver: CudaDriver
  readonly #readCubin: (file: string) => Uint8Array | null
  readonly #modules = new Map<string, Promise<readonly CudaFunction[]>>()
  readonly #loaded: CudaModule[] = []
  readonly #maps: TensorMaps
  readonly #plain: boolean
  #released = false

  constructor(artifact: CudaArtifact, driver: CudaDriver, { cubins, plain = false }: CudaKernelOptions = {}) {
    this.#plain = plain
    this.artifact = artifact
    this.driver = driver
    this.#readCubin = typeof cubins === 'string' ? fromFolder(cubins) : (cubins ?? (() => null))
    this.#maps = new TensorMaps(driver)
  }

  /** Checks a call, loads what it needs (which may compile), and leaves no more to do than the launches. */
  async prepare(call: CudaCall): Promise<PreparedCudaCall> {
    this.#open()
    if (this.artifact.stages !== null) return this.#prepareStages(call)
    const checked = checkCudaCall(this.artifact, this.driver, call)
    const { variant, sizes, plan } = checked
    if (sizes.qRows === 0) return { variant: variant.id, run: () => {} }
    for (const grid of plan.grids) {
      const over = grid.findIndex((n, i) => n > GRID[i]!)
      if (over >= 0) throw new HeddleError('grid-limit', { tiles: grid[over]!, most: GRID[over]! })
    }
    const entries = await this.#load(variant)
    this.#open()
    const workspace = workspaceOf(this.driver)
    const about = () => aboutCall(this.artifact.pattern, checked)
    const run = (stream: Stream = 0n): void => {
      this.#open()
      const room = workspace.room(stream, plan)
      this.#launch(variant, entries, checked, room, stream, about)
      if (variant.debug && typeof call.pages?.table === 'bigint')
        checkDevicePages(this.driver, room.counters, call.pages.table, checked)
    }
    return { variant: variant.id, run }
  }

  async #prepareStages(call: CudaCall): Promise<PreparedCudaCall> {
    const { artifact, driver } = this
    const operands = checkProgramCall(artifact, call)
    const { major, minor } = driver.capability
    const variant = chooseStages(artifact, operands, 10 * major + minor, call.variant)
    checkAlignment(Object.values(operands.views), variant.align)
    if (operands.sizes.qRows === 0) return { variant: variant.id, run: () => {} }
    const powers = powersOf(driver, operands)
    const size = sizesOfCall(operands)
    const entries = { plain: new Map<CudaStageKernel, { entry: CudaFunction; text: StageText }>(), faster: new Map<CudaStageKernel, readonly (readonly CudaFunction[])[]>() } // oxfmt-ignore
    for (const kernel of kernelsOf(variant)) {
      if (takesFaster(kernel, powers))
        entries.faster.set(kernel, await Promise.all(kernel.faster.map((f) => this.#load(f.variant))))
      else {
        const text = textOn(this.#plain ? { ...kernel, forms: [] } : kernel, powers, size)
        entries.plain.set(kernel, { text, entry: await this.#loadStage(kernel.name, text) })
      }
    }
    this.#open()
    const workspace = workspaceOf(driver)
    const meta = metaWords(artifact, operands.sizes, operands.lengths, operands.params)
    const about = () => `${artifact.pattern}, program ${variant.id}, ${aboutTensors(operands)}`
    // All that a run has to do is to find its memory and to launch.
    const addresses = { lse: call.lse, metaWords: meta.length, tables: call.tables ?? {} }
    const work = planStages(artifact, variant, operands, entries, addresses)
    const given = { lse: call.lse, tables: call.tables ?? {} }
    const own = work.launches.map((l) => {
      if (l.kind !== 'faster') return null
      const made = (on: Operands) => launchOf(artifact, l.variant, on, driver.multiprocessors, given)
      const over = operandsOver(operands, l)
      // What is derived of the lengths is of the tokens, whatever keys are met.
      return over === operands ? made(over) : { ...made(over), valueWords: made(operands).valueWords }
    })
    const most = (of: 'counters' | 'list' | 'scratch') => Math.max(0, ...own.map((o) => o?.plan[of] ?? 0))
    const lists = work.launches.map((l) => (l.kind === 'faster' ? (l.list?.bytes ?? 0) : 0))
    const need = {
      counters: most('counters'),
      list: Math.max(most('list'), ...lists),
      // What kernels hand on from one launch to the next lies behind the stored values.
      scratch: Math.max(1, work.bytes + most('scratch')),
    }
    const run = (stream: Stream = 0n): void => {
      this.#open()
      const room = workspace.room(stream, need)
      const words = workspace.words(meta, stream)
      const at = (name: string) => room.scratch + BigInt(work.stored.get(name)!.offset)
      work.launches.forEach((l, i) => {
        if (l.kind === 'header') return driver.copyIn(at(l.name), new Uint8Array(l.words.buffer), stream)
        if (l.kind === 'faster') {
          const named = (name: string | null) => (name === null ? 0n : at(name))
          const made = own[i]!
          const placed = {
            ...room,
            scratch: room.scratch + BigInt(work.bytes),
            parts: l.lists.map(at),
            order: named(l.order),
            before: named(l.before),
            state: named(l.state),
            ...(l.keys ? { k: at(l.keys.k), v: at(l.keys.v) } : {}),
            ...(l.list ? { listStride: l.list.stride } : {}),
          }
          const views = mappedViews(made.views, l, room.list)
          this.#launch(l.variant, l.entries, { ...made, views }, placed, stream, about)
          return
        }
        const { entry, grid, threads, sharedBytes, block, patches } = l
        const view = new DataView(block.buffer)
        for (const { at: where, name } of patches)
          view.setBigUint64(where, name === null ? words : at(name), true)
        driver.launch({ entry, grid, threads, sharedBytes, params: [block], stream, about })
      })
    }
    return { variant: variant.id, run }
  }

  /** Every entry of a variant, in turn. */
  #launch(
    variant: CudaVariant,
    entries: readonly CudaFunction[],
    { plan, views, values, lengthWords, valueWords, pageWords }: Omit<CheckedCall, 'variant'>,
    room: CallValues,
    stream: Stream,
    about: () => string,
  ): void {
    const workspace = workspaceOf(this.driver)
    const block = new Uint8Array(this.artifact.call.bytes)
    fillCall(this.artifact.call, values, block)
    fillCall(
      this.artifact.call,
      {
        ...room,
        lengths: workspace.words(lengthWords, stream),
        values: workspace.words(valueWords, stream),
        ...(pageWords === null ? {} : { pages: workspace.words(pageWords, stream) }),
      },
      block,
    )
    variant.entries.forEach(({ threads, sharedBytes, tensorMaps }, i) => {
      const grid = plan.grids[i]!
      if (grid.includes(0)) return
      const maps = tensorMaps.map((rule, j) =>
        this.#maps.of(mapSpec(rule, views[rule.tensor], plan.steps[i]![j]!, () => workspace.empty())),
      )
      const params = [block, ...maps]
      this.driver.launch({ entry: entries[i]!, grid, threads, sharedBytes, params, stream, about })
    })
  }

  #loadStage(name: string, text: StageText): Promise<CudaFunction> {
    const { code, hash, suffix, threads, sharedBytes, cubins } = text
    const entries = [{ name: 'launch', threads, sharedBytes }]
    const source = { id: name, code, hash, suffix, entries, cubins }
    return this.#once(hash, source).then(([entry]) => entry!)
  }

  /** Enqueues one call; gives the id of the variant that runs it. */
  async launch(call: CudaCall, stream?: Stream): Promise<string> {
    const prepared = await this.prepare(call)
    prepared.run(stream)
    return prepared.variant
  }

  /** Compiles or loads a variant ahead of its first call. */
  async load(id: string): Promise<void> {
    this.#open()
    const variant = this.artifact.variants.find((v) => v.id === id)
    if (variant === undefined) {
      const present = this.artifact.variants.map((v) => v.id)
      throw new HeddleError('no-variant', { wanted: id, present })
    }
    await this.#load(variant)
  }

  /** Kernels of one program may be called the same. */
  #load({ id, code, hash, suffix, entries, cubins }: CudaVariant): Promise<readonly CudaFunction[]> {
    return this.#once(hash, { id, code, hash, suffix, entries, cubins })
  }

  /** A text's functions, loaded when first asked for. */
  #once(key: string, text: Text): Promise<readonly CudaFunction[]> {
    const kept = this.#modules.get(key)
    if (kept) return kept
    const loading = this.#loadModule(text)
    this.#modules.set(key, loading)
    // What failed may be tried again: a compiler may have been installed meanwhile.
    loading.catch(() => this.#modules.delete(key))
    return loading
  }

  async #loadModule(text: Text): Promise<readonly CudaFunction[]> {
    const { entries } = text
    const source = { ...text, pattern: this.artifact.pattern, readCubin: this.#readCubin }
    const module = await this.driver.loadModule(source)
    this.#loaded.push(module)
    if (this.#released) this.#unload()
    this.#open()
    return entries.map((e) => module.entry(e.name, e.sharedBytes))
  }

  #open(): void {
    if (this.#released) throw new HeddleError('kernel-released', { pattern: this.artifact.pattern })
  }

  /** Unloads the modules; what was launched runs to its end first. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#unload()
    this.#modules.clear()
  }

  #unload(): void {
    if (this.#loaded.length > 0) this.driver.synchronize()
    for (const module of this.#loaded.splice(0)) module.release()
  }
}

/** Waits for a launch of a debug build, and reports the entry of a page table on the device that it found out of range. */
function checkDevicePages(
  driver: CudaDriver,
  counters: Address,
  table: Address,
  { values }: CheckedCall,
): void {
  const word = (at: Address): number => {
    const bytes = new Uint8Array(4)
    driver.copyOut(bytes, at)
    return new DataView(bytes.buffer).getInt32(0, true)
  }
  driver.synchronize()
  const found = word(counters)
  if (found === 0) return
  driver.memset(counters, 0, 4)
  const [index, perSequence] = [found - 1, values.pageStride as number]
  throw new HeddleError('page-entry', {
    batch: Math.floor(index / perSequence),
    at: index % perSequence,
    pages: values.pageCount as number,
    got: word(table + BigInt(4 * index)),
  })
}

const fromFolder = (folder: string) => (file: string) => {
  try {
    return readFileSync(join(folder, file))
  } catch {
    return null
  }
}

/** A call in words. */
const aboutCall = (pattern: string, call: CheckedCall): string =>
  `${pattern}, variant ${call.variant.id}, ${aboutTensors(call)}`

function aboutTensors({ views, sizes }: Pick<CheckedCall, 'views' | 'sizes'>): string {
  const shapes = (['q', 'k', 'v'] as const).map((name) => {
    const { shape, strides } = views[name]
    return `${name} [${shape.join(', ')}] with strides [${strides.join(', ')}]`
  })
  return `${sizes.kvRows} key rows, ${shapes.join(', ')}`
}
