/** Patterns with a `forward` in; what the suites that run them need as plain JSON out: artefacts at some consts, for both targets. */

import { fileURLToPath } from 'node:url'
import type { Artifact } from '../codegen/artifact.ts'
import type { CudaArtifact } from '../codegen/cuda/manifest.ts'
import { DEFAULT_CAPABILITIES, emit, emitCuda, Unsupported } from '../codegen/index.ts'
import { createCompiler, type CompiledPattern } from '../compiler/index.ts'
import { PATTERNS, SELECTIONS } from '../patterns/index.ts'
import { SELECTION_EXAMPLES } from '../patterns/selection-examples.ts'
import type { PreparedSelections, SelectionUnit } from './selection-cases.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

type Consts = Readonly<Record<string, number>>

/** Beside an example's own consts: kernels have tiles of 32 or 64, and a skip is asked of a whole tile. */
const SMALL: Readonly<Record<string, Consts>> = { blasst: { tileQ: 32, tileKv: 32 } }

/** Blocks of whole tiles, for which faster kernels are made; an example's compression is of windows of 8. */
const WIDE: Readonly<Record<string, Consts>> = {
  'minference-block': { block: 64 },
  xattention: { block: 128, step: 16 },
  'minference-vertical-slash': { block: 64, last: 64, firstKeys: 8, nearest: 20 },
  anchor: { block: 64, group: 128 },
  pbs: { block: 64, segment: 128 },
  moba: { block: 64 },
  quest: { page: 16 },
  dsa: {},
  hisa: { block: 64 },
  nsa: { size: 8, step: 4, block: 64 },
  blasst: { tileQ: 64, tileKv: 64 },
}

/** Head dims of the checks, and of what is timed. */
const DIM = { small: 64, wide: 128 } as const
const TIMED_ON_GPU: readonly string[] = ['minference-block', 'anchor']

const compiler = createCompiler()

function compiled(name: string, file: string, consts: Consts): CompiledPattern {
  const { patterns, diagnostics } = compiler.compile(ROOT + file, { consts })
  const found = patterns.find((p) => p.name === name)
  const wrong = diagnostics.find((d) => d.severity !== 'note')
  if (!found || wrong) throw new Error(`${file}: ${wrong?.text ?? 'the pattern is missing'}`)
  return found
}

/** Every kernel of WebGPU that computes the program: one whose tile is part of the meaning has but one. */
function wgsl(pattern: CompiledPattern, headDim: number, dtype: 'f32' | 'f16'): Artifact {
  const of = (capabilities: typeof DEFAULT_CAPABILITIES) =>
    emit(pattern, { target: 'wgsl', headDims: [headDim], dtypes: [dtype], capabilities })
  const able = DEFAULT_CAPABILITIES.filter((capability) => {
    try {
      return of([capability]).stages!.variants.length > 0
    } catch (error) {
      if (error instanceof Unsupported) return false
      throw error
    }
  })
  return of(able)
}

const cuda = (pattern: CompiledPattern, headDim: number, dtype: 'bf16' | 'f16'): CudaArtifact =>
  emitCuda(pattern, { headDims: [headDim], dtypes: [dtype] })

/** What runs where there is no compiler. `names`: of patterns; all that select if there are none. */
export function prepareSelections(
  names: readonly string[] = SELECTIONS.map((s) => s.pattern.name),
): PreparedSelections {
  const units: { wgsl: SelectionUnit<Artifact>[]; cuda: SelectionUnit<CudaArtifact>[] } = {
    wgsl: [],
    cuda: [],
  }
  const timed: { wgsl: Record<string, Artifact>; cuda: Record<string, CudaArtifact> } = { wgsl: {}, cuda: {} }
  for (const { pattern, file } of SELECTIONS.filter((s) => names.includes(s.pattern.name))) {
    const { name } = pattern
    for (const grain of ['small', 'wide'] as const) {
      const consts = grain === 'small' ? { ...SELECTION_EXAMPLES[name]!.consts, ...SMALL[name] } : WIDE[name]!
      const made = compiled(name, file, consts)
      const unit = { pattern: name, grain, consts, headDim: DIM[grain], extra: [] }
      for (const dtype of ['bf16', 'f16'] as const)
        units.cuda.push({ ...unit, dtype, artifact: cuda(made, DIM[grain], dtype) })
      if (grain === 'small')
        for (const dtype of ['f32', 'f16'] as const)
          units.wgsl.push({ ...unit, dtype, artifact: wgsl(made, DIM.small, dtype) })
    }
    // Its tiles of 128 are none that a kernel has.
    if (name === 'blasst') continue
    const own = compiled(name, file, {})
    timed.cuda[name] = cuda(own, DIM.wide, 'bf16')
    if (TIMED_ON_GPU.includes(name)) timed.wgsl[name] = wgsl(own, DIM.wide, 'f16')
  }
  const dense = PATTERNS.find(({ pattern }) => pattern.name === 'causal')!
  const causal = compiled('causal', dense.file, {})
  timed.cuda['causal'] = emitCuda(causal, { headDims: [DIM.wide], dtypes: ['bf16'] })
  timed.wgsl['causal'] = emit(causal, { target: 'wgsl', headDims: [DIM.wide], dtypes: ['f16'] })
  return { units, timed }
}
