/** A CUDA artefact in; every text of it by a name of its own, and the artefact with what was compiled of them, out. */

import type {
  Cubin,
  CudaArtifact,
  CudaFaster,
  CudaStageForm,
  CudaStageKernel,
  CudaVariant,
} from '../../codegen/cuda/manifest.ts'

const formId = (program: string, kernel: CudaStageKernel, { id }: CudaStageForm) =>
  `${kernelId(program, kernel)}.${id}`

/** What a compiler needs to know of a text. */
export type CudaText = Pick<CudaVariant, 'id' | 'code' | 'capability' | 'suffix'>

const kernelId = (program: string, { name }: CudaStageKernel) => `${program}.${name}`
const fasterId = (program: string, kernel: CudaStageKernel, { variant }: CudaFaster) =>
  `${kernelId(program, kernel)}.${variant.skeleton}`

/** Variants, then of each program its kernels, their other forms, and what is faster in place of one. */
export function textsOf({ variants, stages }: Pick<CudaArtifact, 'variants' | 'stages'>): CudaText[] {
  const programs = stages?.variants ?? []
  return [
    ...variants,
    ...programs.flatMap(({ id, capability, steps }) =>
      steps
        .flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
        .flatMap((kernel) => [
          { id: kernelId(id, kernel), code: kernel.code, capability, suffix: '' } as const,
          ...kernel.forms.map((f) => ({ ...f, id: formId(id, kernel, f) })),
          ...kernel.faster.map((f) => ({ ...f.variant, id: fasterId(id, kernel, f) })),
        ]),
    ),
  ]
}

/** @param cubinsOf those of a text, by its name */
export function withCubins(
  artifact: CudaArtifact,
  cubinsOf: (text: string) => readonly Cubin[],
): CudaArtifact {
  const { variants, stages } = artifact
  const made = (program: string, kernel: CudaStageKernel): CudaStageKernel => ({
    ...kernel,
    cubins: cubinsOf(kernelId(program, kernel)),
    forms: kernel.forms.map((f) => ({ ...f, cubins: cubinsOf(formId(program, kernel, f)) })),
    faster: kernel.faster.map((f) => ({
      ...f,
      variant: { ...f.variant, cubins: cubinsOf(fasterId(program, kernel, f)) },
    })),
  })
  return {
    ...artifact,
    variants: variants.map((v) => ({ ...v, cubins: cubinsOf(v.id) })),
    stages: stages && {
      ...stages,
      variants: stages.variants.map((v) => ({
        ...v,
        steps: v.steps.map((s) =>
          s.kind === 'once'
            ? { ...s, kernel: made(v.id, s.kernel) }
            : { ...s, kernels: s.kernels.map((k) => made(v.id, k)) },
        ),
      })),
    },
  }
}
