/** A CUDA driver in; one that does the same and can time each launch by itself, by the name of its kernel, out. */

import type { CudaDriver, CudaFunction, CudaModule, Launch, ModuleSource } from '../runtime/cuda/driver.ts'

export interface KernelTime {
  readonly name: string
  readonly ms: number
  readonly launches: number
}

export const described = (kernels: readonly KernelTime[]): string =>
  kernels
    .map(
      ({ name, ms, launches }) =>
        `${name} ${ms.toPrecision(3)}${launches > 1 ? ` (${launches} launches)` : ''}`,
    )
    .join(', ')

export interface Traced {
  readonly driver: CudaDriver
  /** What `run` launches, each launch once all before it are done; those of one name together, in the order of the first. */
  trace(run: () => void): KernelTime[]
  /** The argument of the last traced launch of a kernel's entry `list`, by the kernel's hash. */
  readonly lists: ReadonlyMap<string, Uint8Array>
}

export function traced(driver: CudaDriver): Traced {
  const names = new Map<CudaFunction, string>()
  const listing = new Map<CudaFunction, string>()
  const lists = new Map<string, Uint8Array>()
  let times: Map<string, KernelTime> | null = null

  const loadModule = async (source: ModuleSource): Promise<CudaModule> => {
    const module = await driver.loadModule(source)
    return {
      entry: (name, sharedBytes) => {
        const entry = module.entry(name, sharedBytes)
        // Kernels of a program have but one entry, and a name of their own.
        names.set(entry, source.entries.length > 1 ? `${source.id} ${name}` : source.id)
        if (name === 'list') listing.set(entry, source.hash)
        return entry
      },
      release: () => module.release(),
    }
  }
  const launch = (given: Launch): void => {
    if (times === null) return driver.launch(given)
    const events = [driver.createEvent(), driver.createEvent()] as const
    driver.synchronize()
    events[0].record(given.stream)
    driver.launch(given)
    events[1].record(given.stream)
    const ms = driver.elapsed(...events)
    for (const event of events) event.release()
    const name = names.get(given.entry)!
    const hash = listing.get(given.entry)
    if (hash !== undefined) lists.set(hash, (given.params[0] as Uint8Array).slice())
    const before = times.get(name) ?? { name, ms: 0, launches: 0 }
    times.set(name, { name, ms: before.ms + ms, launches: before.launches + 1 })
  }
  const own: Readonly<Record<string, unknown>> = { loadModule, launch }
  const proxy = new Proxy(driver, {
    get(target, key) {
      if (typeof key === 'string' && Object.hasOwn(own, key)) return own[key]
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    },
  })
  return {
    driver: proxy,
    lists,
    trace(run) {
      times = new Map()
      try {
        run()
        driver.synchronize()
        return [...times.values()]
      } finally {
        times = null
      }
    },
  }
}
