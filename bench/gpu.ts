/** Prepared kernels and a GPU in; times by its own clock, times with transfers, preparation and memory against length, out. */

import { loadKernel } from '../runtime/index.ts'
import { countsKey, HEAD_DIMS, LONGEST, ON_GPU, type Prepared, type TimedCase } from './cases.ts'
import { median, type Row } from './results.ts'
import { nameOf } from './skipping.ts'
import { Bench, peakMegabytes, timeOnDevice, timeWithTransfers, type Workload } from './timing.ts'

const HEADS = { qHeads: 32, kvHeads: 8 }
const HEAD_DIM = HEAD_DIMS.gpu
const CAUSAL_LIMIT_MS = 60

export interface GpuPlan {
  readonly cases: readonly TimedCase[]
  /** Every capability is timed up to this length, above it only the one that the runtime chooses. */
  readonly compared: number
  readonly preparation: readonly number[]
  /** Where memory is looked at. */
  readonly longest: TimedCase
}

const PLAN: GpuPlan = {
  cases: ON_GPU,
  compared: 8192,
  preparation: [1024, 8192, 32768, 131072],
  longest: LONGEST,
}

const workload = (c: TimedCase): Workload => ({ ...c, ...HEADS, headDim: HEAD_DIM, dtype: 'f16' })

export async function gpuSuite(device: GPUDevice, prepared: Prepared, plan: GpuPlan = PLAN): Promise<Row[]> {
  const rows: Row[] = []
  const times = new Map<string, { ms: number; visited: number }>()
  for (const c of plan.cases) {
    const kernel = loadKernel(prepared.artifacts[c.pattern]!, device)
    const variants = kernel.artifact.variants.filter((v) => v.headDim === HEAD_DIM && v.dtype === 'f16')
    const chosen = kernel.variantFor({ headDim: HEAD_DIM, valueDim: HEAD_DIM, dtype: 'f16' }).id
    for (const { id, tile } of variants) {
      if (!runs(kernel, id) || (id !== chosen && c.length > plan.compared)) continue
      const ms = await timeOnDevice(kernel, { ...workload(c), variant: id }, c.length > plan.compared ? 3 : 7)
      const counted = prepared.counts[countsKey(c, tile)]!
      const causal = times.get(`causal ${c.length} ${id}`)
      const shares = causal && {
        'time / causal': ms / causal.ms,
        'tiles / causal': counted.visited / causal.visited,
      }
      times.set(`${c.pattern} ${c.length} ${id}`, { ms, visited: counted.visited })
      const isGoal = c.pattern === 'causal' && c.length === 8192 && id === chosen
      rows.push({
        case: nameOf(c),
        target: `wgsl ${id}`,
        ours: { ms, tflops: tflops(counted.keptPairs, ms) },
        tiles: { needed: counted.needed, visited: counted.visited },
        ...(isGoal ? { limit: `${CAUSAL_LIMIT_MS} ms`, ok: ms <= CAUSAL_LIMIT_MS } : {}),
        more: {
          'TFLOP/s on visited tiles': tflops(counted.visited * tile.q * tile.kv, ms),
          ...shares,
        },
        ...(id === chosen ? { note: 'the variant that the runtime chooses' } : {}),
      })
    }
    if (c.length === plan.compared) {
      const ms = await timeWithTransfers(kernel, workload(c), 3)
      rows.push({ case: `${nameOf(c)}, with upload and download`, target: `wgsl ${chosen}`, ours: { ms } })
    }
    kernel.release()
  }
  return [
    ...rows,
    ...preparationRows(device, prepared, plan),
    await memoryRow(device, prepared, plan.longest),
  ]
}

/** Multiplications and additions of both products, over all heads. */
const tflops = (pairs: number, ms: number): number => (4 * pairs * HEAD_DIM * HEADS.qHeads) / ms / 1e9

function runs(kernel: ReturnType<typeof loadKernel>, id: string): boolean {
  try {
    kernel.variantFor({ headDim: HEAD_DIM, valueDim: HEAD_DIM, dtype: 'f16' }, id)
    return true
  } catch {
    // A variant that this device cannot run is no row of the table.
    return false
  }
}

/** What the host does for a call must not grow with the length: a static pattern has nothing to build. */
function preparationRows(
  device: GPUDevice,
  { artifacts }: Prepared,
  { preparation, longest }: GpuPlan,
): Row[] {
  const kernel = loadKernel(artifacts[longest.pattern]!, device)
  const measured = preparation.map((length) => {
    const bench = new Bench(kernel, workload({ ...longest, length }))
    const times = Array.from({ length: 30 }, () => bench.preparation())
    bench.destroy()
    return { length, ms: median(times.slice(10)) }
  })
  kernel.release()
  const [first] = measured
  return measured.map(({ length, ms }) => ({
    case: `preparation of ${longest.pattern} on the host, N ${length}`,
    target: 'wgsl',
    ours: { ms },
    limit: `independent of N: at most 2 x N ${preparation[0]}`,
    ok: ms <= 2 * first!.ms,
  }))
}

/** Everything that is on the device for one call at the greatest length, as the sum of its buffers. */
async function memoryRow(device: GPUDevice, prepared: Prepared, c: TimedCase): Promise<Row> {
  const kernel = loadKernel(prepared.artifacts[c.pattern]!, device)
  const load = workload(c)
  let ms = 0
  const mb = await peakMegabytes(device, async () => {
    ms = await timeOnDevice(kernel, load, 1)
  })
  kernel.release()
  const { qHeads, kvHeads } = HEADS
  const needed = (2 * c.length * HEAD_DIM * 2 * (qHeads + kvHeads) + c.length * qHeads * 4) / 1e6
  return {
    case: `${nameOf(c)}: Q, K, V, O and LSE are ${needed.toFixed(1)} MB`,
    target: 'wgsl',
    ours: { ms, mb },
    limit: 'nothing but Q, K, V, O, LSE and 1 MB',
    ok: mb <= needed + 1,
  }
}
