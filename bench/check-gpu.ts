/** Every pattern of the library in f32 and f16 on one device, random calls against the pattern run in f64; error ratios out. */

import { attention, loadKernel, type Kernel } from '../runtime/index.ts'
import { PATTERNS, type LibraryEntry } from '../patterns/index.ts'
import { describeCase, drawCase, tensorsOf, type AttentionCase } from '../runtime/testing/cases.ts'
import { compareWithOracle } from '../runtime/testing/compare.ts'
import { drawSeeded } from '../runtime/testing/draw.ts'
import { HEAD_DIMS, type Prepared } from './cases.ts'
import type { Row } from './results.ts'

const RUNS = 14

export async function checkGpuSuite(device: GPUDevice, { artifacts }: Prepared): Promise<Row[]> {
  const rows: Row[] = []
  for (const entry of PATTERNS.filter(({ pattern }) => pattern.name in artifacts)) {
    for (const dtype of ['f32', 'f16'] as const) rows.push(await checkRow(device, artifacts, entry, dtype))
  }
  return rows
}

async function checkRow(
  device: GPUDevice,
  artifacts: Prepared['artifacts'],
  { pattern }: LibraryEntry,
  dtype: 'f32' | 'f16',
): Promise<Row> {
  const kernel = loadKernel(artifacts[pattern.name]!, device)
  const headDim = HEAD_DIMS.check
  const variants = kernel.artifact.variants.filter(
    (v) => v.headDim === headDim && v.dtype === dtype && isRunnable(kernel, v.id, dtype),
  )
  const began = performance.now()
  let worst = 0
  let failures = 0
  let note = ''
  for (const { id, tile } of variants) {
    for (let seed = 0; seed < RUNS; seed++) {
      const { value: c } = drawSeeded(
        (d) => drawCase(d, pattern, { headDim, valueDim: headDim, dtype, tile }),
        seed,
      )
      const call = { ...tensorsOf(c), ...optionsOf(c) }
      const { ratio, difference } = compareWithOracle(
        pattern,
        call,
        await attention(kernel, { ...call, variant: id }),
      )
      worst = Math.max(worst, ratio)
      if (difference === null) continue
      failures++
      note ||= `${id}, seed ${seed}: ${difference}; ${describeCase(c)}`
    }
  }
  kernel.release()
  return {
    case: `${pattern.name} ${dtype}`,
    target: `wgsl ${variants.map((v) => v.capability.name).join(', ')}`,
    ours: { ms: performance.now() - began },
    limit: 'no failure',
    ok: failures === 0 && variants.length > 0,
    more: { runs: RUNS * variants.length, failures, 'error ratio': worst },
    ...(note ? { note } : {}),
  }
}

function isRunnable(kernel: Kernel, id: string, dtype: 'f32' | 'f16'): boolean {
  try {
    kernel.variantFor({ headDim: HEAD_DIMS.check, valueDim: HEAD_DIMS.check, dtype }, id)
    return true
  } catch {
    // What this device cannot run is left out of the row's list of variants.
    return false
  }
}

const optionsOf = (c: AttentionCase) => ({
  params: c.params,
  tables: c.tables,
  layout: c.layout,
  ...(c.scale === undefined ? {} : { scale: c.scale }),
  ...(c.lengths === undefined ? {} : { lengths: c.lengths }),
})
