/** Programs whose attention a device with Hopper's instructions runs by kernels of a mask's own kind: over ranges, lists, sets. */

import { createHash } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import type { CudaArtifact, CudaFaster } from '../../codegen/cuda/manifest.ts'
import { contentHash } from '../../codegen/hash.ts'
import { emitCuda } from '../../codegen/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { Pattern } from '../../dsl/index.ts'
import {
  anchor,
  minference,
  minferenceBlock,
  minferenceVerticalSlash,
  moba,
  pbs,
  xattention,
} from '../../patterns/index.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, loadCudaKernel } from '../../runtime/cuda.ts'
import { evaluateJson } from '../../runtime/derived.ts'
import type { ParamValues } from '../../runtime/params.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { plain16, reference, type ReferencePattern } from '../../runtime/reference.ts'
import type { Shape, Tensor } from '../../runtime/tensor.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { compilePattern } from '../../runtime/testing/subject.ts'

const driver = await openEmulation({ multiprocessors: 2, capability: { major: 9, minor: 0 } })
afterAll(() => driver.release())

function tensor(shape: Shape, random: () => number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1)
  return {
    data: bfloatArray(Float32Array.from({ length: count }, () => random() * 4 - 2)),
    shape,
    dtype: 'bf16',
  }
}

type Case = readonly [
  name: string,
  pattern: unknown,
  consts: Readonly<Record<string, number>>,
  params: ParamValues,
  skeletons: readonly string[],
]

const CASES: readonly Case[] = [
  // Lists of ids, and bits; blocks of a tile's size, and of half a tile's.
  ['minference-block', minferenceBlock, { block: 64 }, { k: 2 }, ['lists']],
  ['xattention', xattention, { block: 64, step: 16 }, { mass: 0.6 }, ['lists']],
  // Spans that begin anywhere, and keys that lie apart.
  [
    'minference-vertical-slash',
    minferenceVerticalSlash,
    { block: 64, last: 64, firstKeys: 3, nearest: 5 },
    { vertical: 40, slash: 12 },
    ['gather'],
  ],
  // A state, and what goes on with it.
  ['anchor', anchor, { block: 64, group: 128 }, { theta: 0.5 }, ['hopper', 'gather']],
  // The same with query tiles of 128 rows.
  ['anchor', anchor, { block: 128, group: 128 }, { theta: 0.3 }, ['hopper', 'gather']],
  ['pbs', pbs, { block: 128, segment: 128 }, { mass: 0.3 }, ['gather']],
  // Keys in another order.
  ['pbs', pbs, { block: 64, segment: 128 }, { mass: 0.4 }, ['gather']],
  // Blocks of each query's own, which a tile of them meets together.
  ['moba', moba, { block: 128 }, { k: 2 }, ['gather']],
  // Ranges, and what is listed beside them.
  [
    'minference',
    minference,
    { block: 64, last: 64, firstKeys: 3, nearest: 5 },
    {
      // The first head has keys that all of its lists and its window name.
      vertical: [60, 0, 0, 9],
      slash: [9, 0, 0, 0],
      k: [1, 2, 0, 1],
      window: [20, 0, 50, 0],
      sinkTokens: [2, 0, 3, 0],
    },
    ['hopper', 'gather'],
  ],
]

test.each(CASES)('%s', { timeout: 240_000 }, async (name, pattern, consts, params, skeletons) => {
  const compiled = compilePattern(pattern as Pattern, {
    file: `${PACKAGE_ROOT}/patterns/${name}.ts`,
    consts,
  })
  const artifact = emitCuda(compiled, { headDims: [64], dtypes: ['bf16'] })
  const kernels = artifact.stages!.variants[0]!.steps.flatMap((s) =>
    s.kind === 'once' ? [s.kernel] : s.kernels,
  )
  expect(kernels.flatMap((k) => k.faster.map((f) => f.variant.skeleton))).toEqual(skeletons)
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  const own = pattern as Pattern & ReferencePattern
  const small = { ...own, consts: { ...own.consts, ...consts } }
  for (const [seed, [qLen, kvLen]] of [
    [200, 200],
    [70, 201],
    [1, 130],
  ].entries()) {
    const random = seededRandom(seed + 1)
    const q = tensor([1, 4, qLen!, 64], random)
    const [k, v] = [tensor([1, 2, kvLen!, 64], random), tensor([1, 2, kvLen!, 64], random)]
    const call = { q, k, v, params }
    const got = await cudaAttention(kernel, call)
    const compared = compareWithOracle(small, call, got, reference(small, call), plain16(small, call))
    expect(compared.difference, `${name} ${qLen} ${kvLen}`).toBeNull()
  }
  driver.synchronize()
  kernel.release()
})

test('a record has room for every run: spans that lie apart are two runs each, and each has a last one that is short', () => {
  const file = `${PACKAGE_ROOT}/patterns/minference-vertical-slash.ts`
  const compiled = compilePattern(minferenceVerticalSlash as unknown as Pattern, { file, consts: {} })
  const { stages } = emitCuda(compiled, { headDims: [128], dtypes: ['bf16'] })
  const [{ records }] = stages!.variants[0]!.steps.flatMap((s) =>
    s.kind === 'once' ? [s.kernel] : s.kernels,
  ).flatMap((k) => k.faster) as [CudaFaster]
  const params: Readonly<Record<string, number>> = { vertical: 1, slash: 1000 }
  const vars = { batches: 1, qHeads: 1, kvHeads: 1, qLen: 131072, kvLen: 131072 }
  const stride = Number(evaluateJson(records!.stride, { vars, param: (name) => params[name]! }))
  // Of 1000 distances 163 are forced, next to each other; 837 spans of 127 keys fit.
  expect(stride).toBeGreaterThanOrEqual(2 + 2 * 837 + 4 + 31)
})

/** The program with another text in place of its kernels over sets. */
function rewritten(artifact: CudaArtifact, change: (code: string) => string): CudaArtifact {
  const { hash: _, ...copy } = structuredClone(artifact) as unknown as { hash: string; stages: Programs }
  const kernels = copy.stages.variants.flatMap((v) =>
    v.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels)),
  )
  for (const { variant } of kernels.flatMap((k) => k.faster).filter((f) => f.variant.skeleton === 'gather')) {
    variant.code = change(variant.code)
    variant.hash = createHash('sha256').update(variant.code).digest('hex')
  }
  // Nothing of it is compiled yet.
  const bare = JSON.parse(
    JSON.stringify(copy, (key, value: unknown) => (key === 'cubins' ? undefined : value)),
  )
  return { ...copy, hash: contentHash(bare) } as unknown as CudaArtifact
}
interface Programs {
  readonly variants: readonly { readonly steps: readonly Step[] }[]
}
interface Faster {
  readonly faster: readonly { readonly variant: { code: string; hash: string; readonly skeleton: string } }[]
}
type Step =
  | { readonly kind: 'once'; readonly kernel: Faster }
  | { readonly kind: 'chunks'; readonly kernels: readonly Faster[] }

describe('a text over sets that leaves out', () => {
  const verticalSlash = CASES.find(([name]) => name === 'minference-vertical-slash')!
  const sorted = CASES.find(([name, , { block }]) => name === 'pbs' && block === 64)!

  test.each<[about: string, program: Case, from: string, to: string]>([
    ['the fence between pieces and products', sorted, 'if (GATHERS) fenceAsync();', ''],
    ['the arrival of a tile in pieces', sorted, 'barrierArriveCopies(full);', ''],
    ['where there is no key', sorted, '(u32)key < (u32)place.kvLen & column < dim;', 'column < dim;'],
    ['what a list before has', verticalSlash, ' && !before.holds(key, until);', ';'],
    ['how long a run is', verticalSlash, 'columnOf(i) < units.count;', 'true;'],
  ])('%s', { timeout: 240_000 }, async (_, [name, pattern, consts, params], from, to) => {
    const compiled = compilePattern(pattern as Pattern, {
      file: `${PACKAGE_ROOT}/patterns/${name}.ts`,
      consts,
    })
    const changed = rewritten(emitCuda(compiled, { headDims: [64], dtypes: ['bf16'] }), (code) => {
      expect(code).toContain(from)
      return code.replaceAll(from, to)
    })
    const random = seededRandom(7)
    const [q, k, v] = [2, 1, 1].map((heads) => tensor([1, heads, 200, 64], random)) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const call = { q, k, v, params }
    const own = pattern as Pattern & ReferencePattern
    const small = { ...own, consts: { ...own.consts, ...consts } }
    // A launch that fails leaves its device as it is.
    const alone = await openEmulation({ multiprocessors: 2, capability: { major: 9, minor: 0 } })
    const told = await cudaAttention(loadCudaKernel(JSON.stringify(changed), alone), call).then(
      (got) => compareWithOracle(small, call, got, reference(small, call), plain16(small, call)).difference,
      (error: Error) => error.message,
    )
    alone.release()
    expect(told).toMatch(/out|lse|wild address|lies outside|product/)
  })
})
