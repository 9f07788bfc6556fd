/** Kernels of patterns that skip tiles in; their time as a share of causal's beside their tiles as a share of causal's out. */

import { loadKernel } from '../runtime/index.ts'
import { countsKey, HEAD_DIMS, SKIPPING, type Prepared, type TimedCase } from './cases.ts'
import { type Row } from './results.ts'
import { Bench } from './timing.ts'

const LIMIT = 1.3
const ROUNDS = 9

export async function skippingSuite(device: GPUDevice, { artifacts, counts }: Prepared): Promise<Row[]> {
  const headDim = HEAD_DIMS.skipping
  const benches = SKIPPING.map((c) => {
    const kernel = loadKernel(artifacts[c.pattern]!, device)
    const { tile, id } = kernel.variantFor({ headDim, valueDim: headDim, dtype: 'f32' })
    const bench = new Bench(kernel, { ...c, qHeads: 2, kvHeads: 1, headDim, dtype: 'f32', variant: id })
    return { c, id, kernel, bench, tiles: counts[countsKey(c, tile)]!, best: Infinity }
  })
  try {
    // Round after round over all of them, and the best of each: on a shared processor noise only ever adds.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const b of benches) {
        const ms = await b.bench.once()
        if (round > 0) b.best = Math.min(b.best, ms)
      }
    }
  } finally {
    for (const { bench, kernel } of benches) {
      bench.destroy()
      kernel.release()
    }
  }
  const causal = benches[0]!
  return benches.map(({ c, id, tiles, best }) => {
    const timeShare = best / causal.best
    const tileShare = tiles.visited / causal.tiles.visited
    return {
      case: nameOf(c),
      target: `wgsl ${id}`,
      ours: { ms: best },
      ...(best === causal.best
        ? {}
        : { peer: { name: 'causal', ms: causal.best }, ratio: causal.best / best }),
      tiles: { needed: tiles.needed, visited: tiles.visited },
      limit: `time / tiles within ${LIMIT}`,
      ok: timeShare / tileShare <= LIMIT,
      more: { 'time share': timeShare, 'tile share': tileShare, 'time / tiles': timeShare / tileShare },
    }
  })
}

export function nameOf({ pattern, length, params }: TimedCase): string {
  const values = Object.entries(params).map(([name, value]) => `${name} ${value}`)
  return [`${pattern}, N ${length}`, ...values].join(', ')
}
