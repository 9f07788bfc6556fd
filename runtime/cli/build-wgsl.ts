/** `heddle build --target wgsl`: a compiled pattern in; its artefact, kernels and typed wrapper out. */

import * as path from 'node:path'
import {
  CAPABILITY_NAMES,
  DEFAULT_CAPABILITIES,
  emit,
  type Artifact,
  type CapabilityName,
  type Dtype,
} from '../../codegen/index.ts'
import { wordList } from './args.ts'
import type { BuildTarget } from './builder.ts'
import { generated, textsOf } from './stage-texts.ts'

export const WGSL_FLAGS = {
  capability: {
    type: 'string',
    description: `wgsl: variants by what an adapter can do: ${CAPABILITY_NAMES.join(', ')} (default ${DEFAULT_CAPABILITIES.join(',')})`,
    valueHint: 'list',
  },
} as const

interface WgslOptions {
  readonly headDims: readonly number[]
  readonly valueDims: readonly number[]
  readonly dtypes: readonly Dtype[]
  readonly capabilities?: readonly CapabilityName[]
}

export function wgslTarget(
  { dtype, capability }: { readonly dtype: string | undefined; readonly capability: string | undefined },
  dims: Pick<WgslOptions, 'headDims' | 'valueDims'>,
): BuildTarget {
  const options: WgslOptions = {
    ...dims,
    dtypes: wordList('dtype', dtype, ['f32'], ['f32', 'f16']),
    ...(capability === undefined
      ? {}
      : { capabilities: wordList('capability', capability, [], CAPABILITY_NAMES) }),
  }
  return {
    name: 'wgsl',
    key: options,
    notes: [],
    artefactOf: (pattern) => `${pattern}.json`,
    make: async (pattern, folder, compiled) => {
      const { wrapperOf } = await import('../../codegen/wrapper.ts')
      const started = performance.now()
      const artifact: Artifact = generated(pattern, 'wgsl', () =>
        emit(pattern, { target: 'wgsl', ...options }),
      )
      const compileMs = Math.round((compiled + performance.now() - started) * 10) / 10
      const at = (end: string) => path.join(folder, `${pattern.name}.${end}`)
      const wrapper = wrapperOf(artifact)
      const texts = [
        ...artifact.variants.map((v) => ({ variant: v.id, end: v.id, code: v.code })),
        ...(artifact.stages?.variants ?? []).flatMap((v) =>
          textsOf(v).map(({ name, code }) => ({ variant: v.id, end: `${v.id}.${name}`, code })),
        ),
      ]
      const kernels = texts.map(({ variant, end, code }) => ({
        path: at(`${end}.wgsl`),
        bytes: code,
        variant,
      }))
      // The artefact last: it holds the kernels' text itself, so it is whole whatever happens to the files beside it.
      const files = [
        ...kernels,
        { path: at('d.ts'), bytes: wrapper.dts },
        { path: at('ts'), bytes: wrapper.ts },
        { path: at('json'), bytes: `${JSON.stringify(artifact, null, 1)}\n` },
      ]
      const rows = kernels.map((k) => ({
        pattern: pattern.name,
        target: 'wgsl',
        variant: k.variant,
        file: k.path,
        bytes: Buffer.byteLength(k.bytes),
        compileMs,
        tiles: artifact.tiles,
      }))
      return { files, rows }
    },
  }
}
