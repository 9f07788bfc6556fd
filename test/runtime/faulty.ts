/** A real device behind a thin wrapper: limits of its own, injected faults, and counts of what was made and destroyed. */

export interface Faults {
  readonly limits?: Readonly<Record<string, number>>
  readonly features?: readonly string[]
  readonly adapterInfo?: Readonly<Record<string, unknown>>
  /** Answers the next out-of-memory scope with an error. */
  outOfMemory?: boolean
  /** Runs before the next submit. */
  beforeSubmit?: () => void
}

export interface Counts {
  buffers: number
  destroyed: number
  queries: number
  modules: number
  submits: number
}

export interface Wrapped {
  readonly device: GPUDevice
  readonly counts: Counts
  readonly faults: Faults
}

/** Forwards everything else, with methods bound: native objects refuse a proxy as `this`. */
function forward<T extends object>(target: T, own: Readonly<Record<string, unknown>>): T {
  return new Proxy(target, {
    get(_, name) {
      if (typeof name === 'string' && name in own) return own[name]
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

export function wrap(real: GPUDevice, faults: Faults = {}): Wrapped {
  const counts: Counts = { buffers: 0, destroyed: 0, queries: 0, modules: 0, submits: 0 }
  const scopes: string[] = []
  const queue = forward(real.queue, {
    submit: (commands: GPUCommandBuffer[]) => {
      const { beforeSubmit } = faults
      delete faults.beforeSubmit
      beforeSubmit?.()
      counts.submits++
      real.queue.submit(commands)
    },
  })
  const counted = <T extends GPUBuffer | GPUQuerySet>(made: T): T => {
    const destroy = made.destroy.bind(made)
    return Object.assign(made, {
      destroy: () => {
        counts.destroyed++
        destroy()
      },
    })
  }
  const device = forward(real, {
    queue,
    limits: { ...limitsOf(real), ...faults.limits },
    features: faults.features ? new Set(faults.features) : real.features,
    adapterInfo: faults.adapterInfo ?? real.adapterInfo,
    createBuffer: (descriptor: GPUBufferDescriptor) => {
      counts.buffers++
      return counted(real.createBuffer(descriptor))
    },
    createQuerySet: (descriptor: GPUQuerySetDescriptor) => {
      counts.queries++
      return counted(real.createQuerySet(descriptor))
    },
    createShaderModule: (descriptor: GPUShaderModuleDescriptor) => {
      counts.modules++
      return real.createShaderModule(descriptor)
    },
    pushErrorScope: (filter: GPUErrorFilter) => {
      scopes.push(filter)
      real.pushErrorScope(filter)
    },
    popErrorScope: async () => {
      const filter = scopes.pop()
      const error = await real.popErrorScope()
      if (filter !== 'out-of-memory' || !faults.outOfMemory) return error
      faults.outOfMemory = false
      return { message: 'injected' }
    },
  })
  return { device, counts, faults }
}

function limitsOf(device: GPUDevice): Record<string, number> {
  const all: Record<string, number> = {}
  for (const name in device.limits) all[name] = device.limits[name as keyof GPUSupportedLimits] as number
  return all
}
