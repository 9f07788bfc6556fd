/** The texts of stage programs: Dawn takes every one, what they bind is what the artefact says, and portable ones need no more than the defaults. */

import { describe, expect, it } from 'vitest'
import { WgslReflect } from 'wgsl_reflect/wgsl_reflect.module.js'
import { STAGE_FIELDS, type StageModule } from '../../codegen/artifact.ts'
import { CAPABILITY_NAMES, emit, type Artifact } from '../../codegen/index.ts'
import { parseArtifact } from '../../runtime/artifact.ts'
import { FIXED_FIELDS } from '../../runtime/stage-sizes.ts'
import { kernelsOf } from '../../runtime/stages.ts'
import { DSL, program } from '../helpers.ts'
import { METHOD_NAMES, stageCase } from '../runtime/stage-cases.ts'
import { complaints, openNull } from './devices.ts'

const SIZES = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 64, kvLen: 64, headDim: 8 }

/** nsa's weights are a matrix of one head dim, and its combined states need pairs of halves; blasst's tiles are of one schedule. */
function artifactOf(name: string, capabilities: Parameters<typeof emit>[1]['capabilities']): Artifact {
  const { compiled } = stageCase(name, SIZES, 1)
  const own = name === 'nsa' ? [8] : [20, 59]
  return emit(compiled, {
    target: 'wgsl',
    headDims: own,
    dtypes: name === 'nsa' ? ['f32'] : ['f32', 'f16'],
    capabilities: name === 'blasst' ? ['portable', 'subgroups'] : capabilities!,
  })
}

const modulesOf = (artifact: Artifact): StageModule[] =>
  artifact.stages!.variants.flatMap(kernelsOf).filter((k) => k.kind === 'stage')

describe.each(METHOD_NAMES)('%s', (name) => {
  it('passes Dawn in every variant', { timeout: 120_000 }, async () => {
    const device = await openNull()
    const { variants } = artifactOf(name, CAPABILITY_NAMES).stages!
    expect(variants.length).toBeGreaterThan(0)
    const seen = new Set<string>()
    const { maxComputeWorkgroupStorageSize: bytes, maxComputeInvocationsPerWorkgroup: threads } =
      device.limits
    for (const kernel of variants.flatMap(kernelsOf))
      for (const text of kernel.kind === 'stage'
        ? [kernel, ...(kernel.forms ?? [])]
        : [kernel, ...(kernel.forms ?? [])].map((k) => k.variant)) {
        if (seen.has(text.code)) continue
        seen.add(text.code)
        const fits = 'sharedBytes' in text && text.sharedBytes <= bytes && text.workgroup <= threads
        expect(await complaints(device, text.code, fits ? ['run'] : []), kernel.name).toEqual([])
      }
  })

  it('binds what the artefact says, in order', () => {
    const texts = modulesOf(artifactOf(name, ['portable'])).flatMap((m) => [
      m,
      ...(m.forms ?? []).map(({ code }) => ({ ...m, code })),
    ])
    for (const { code, bindings, uniforms } of texts) {
      const reflected = new WgslReflect(code)
      const [block] = reflected.uniforms
      expect(block!.members!.length).toBe(uniforms.length)
      expect(uniforms.slice(0, STAGE_FIELDS.length)).toEqual(STAGE_FIELDS)
      const found = reflected.storage.map((s) => [s.binding, s.access])
      const said = bindings.filter((b) => b.role !== 'uniforms').map((b) => [b.binding, b.access])
      expect(found.toSorted()).toEqual(said.toSorted())
    }
  })

  it('is the same each time, and the runtime takes it', () => {
    const [a, b] = [artifactOf(name, ['portable']), artifactOf(name, ['portable'])]
    expect(JSON.stringify(a)).toBe(JSON.stringify(b))
    expect(parseArtifact(JSON.stringify(a)).stages).toEqual(JSON.parse(JSON.stringify(a.stages)))
  })

  it('fits the defaults of WebGPU where it is portable', () => {
    // Two lists and an order, or three lists, beside the tensors are one more than every device has.
    const buffers = name === 'pbs' || name === 'minference' ? 9 : 8
    for (const { capability, workgroup } of artifactOf(name, ['portable']).stages!.variants) {
      expect(capability.limits.workgroupBytes).toBeLessThanOrEqual(16384)
      expect(capability.limits.storageBuffers).toBeLessThanOrEqual(buffers)
      expect(workgroup).toBeLessThanOrEqual(256)
    }
  })
})

it('what is kept from call to call is refused', () => {
  const { compiled } = program(`
    import { attend, blocks, dot, pattern, pool, reuse, topK } from '${DSL}'
    export const program = pattern({
      name: 'kept',
      mask: ({ q, kv }) => kv <= q,
      forward: ({ Q, K, V }) =>
        attend(Q, K, V, reuse('pages', () => topK(dot(pool(Q, blocks(8), 'mean'), pool(K, blocks(8), 'mean')), 2), { steps: 4 })),
    })`)
  const build = () => emit(compiled, { target: 'wgsl', headDims: [8], dtypes: ['f32'] })
  expect(build).toThrow('no kernel computes a value that is kept from call to call')
})

it('the runtime knows how many fields come before the params', () => {
  expect(FIXED_FIELDS).toBe(STAGE_FIELDS.length)
})
