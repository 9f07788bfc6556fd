/** A WebGPU device in; a runner of WGSL kernels on it out. */

import type { Dtype, StageVariant } from '../../codegen/artifact.ts'
import { emitWhereAble, type CapabilityName } from '../../codegen/index.ts'
import { attention, loadKernel, plain32 } from '../index.ts'
import { kernelsOf } from '../stages.ts'
import type { StorageDtype } from '../tensor.ts'
import { chooseVariant, powersOf } from '../variant.ts'
import type { CaseVariant } from './cases.ts'
import { pickerOf, type Runner, type VariantChoice } from './runner.ts'

/** Head dims that kernels meet in practice, and odd ones; the small ones come often because their cases are cheap. */
const HEAD_DIMS = [8, 16, 16, 32, 32, 59, 64, 80, 96, 100, 128] as const

export function variantOf(seed: number, dtype?: StorageDtype): VariantChoice & { readonly dtype: Dtype } {
  const { pick, chance } = pickerOf(seed)
  const headDim = pick(HEAD_DIMS)
  const valueDim = chance() < 0.25 ? pick(HEAD_DIMS) : headDim
  const drawn = chance() < 0.35 ? 'f16' : 'f32'
  return { headDim, valueDim, dtype: dtype === 'f32' || dtype === 'f16' ? dtype : drawn }
}

/** What is drawn for a program hangs on its own sizes; its tiles are those of its attention. */
function programVariant(variant: StageVariant): CaseVariant & { readonly id: string } {
  const { id, headDim, valueDim, dtype } = variant
  const attend = kernelsOf(variant).find((k) => k.kind === 'attend')!
  return { id, headDim, valueDim, dtype, tile: attend.variant.tile }
}

/** @param capabilities those of the target to choose among; by default those that are built by default */
export const webgpuRunner = (device: GPUDevice, capabilities?: readonly CapabilityName[]): Runner => ({
  target: 'wgsl',
  choose: variantOf,
  build: async (pattern, { headDim, valueDim, dtype }) => {
    const wanted = { headDim, valueDim, dtype: dtype === 'f16' ? 'f16' : 'f32' } as const
    const artifact = emitWhereAble(pattern, {
      target: 'wgsl',
      headDims: [headDim],
      valueDims: [valueDim],
      dtypes: [wanted.dtype],
      ...(capabilities ? { capabilities } : {}),
    })
    const kernel = loadKernel(artifact, device)
    const variant = artifact.stages
      ? programVariant(chooseVariant(artifact.stages, wanted, powersOf(device)))
      : kernel.variantFor(wanted)
    return {
      variant,
      plain: plain32,
      answer: (call) => attention(kernel, { ...call, variant: variant.id }),
      release: () => kernel.release(),
    }
  },
})
