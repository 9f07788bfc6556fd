/** Artefacts as records: what is in them agrees with the text, the bytes are the same each time, the limits hold. */

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { WgslReflect } from 'wgsl_reflect/wgsl_reflect.module.js'
import { UNIFORM_FIELDS } from '../../codegen/artifact.ts'
import { contentHash as builtHash } from '../../codegen/hash.ts'
import {
  CAPABILITY_NAMES,
  DEFAULT_CAPABILITIES,
  emit,
  type Artifact,
  type CapabilityName,
  type Variant,
} from '../../codegen/index.ts'
import { ceilingOf } from '../../codegen/schedule.ts'
import { contentHash } from '../../runtime/hash.ts'
import { chooseVariant } from '../../runtime/variant.ts'
import { complaints, openNull } from './devices.ts'
import { plan, PLAN_NAMES, type PlanName } from './plans.ts'

const HEAD_DIMS = [8, 59, 64, 80, 96, 100, 128, 256]

const emitted = (
  name: PlanName,
  headDims: readonly number[],
  capabilities: readonly CapabilityName[] = CAPABILITY_NAMES,
): Artifact => emit({ plan: plan(name) }, { target: 'wgsl', headDims, dtypes: ['f32', 'f16'], capabilities })

const entriesOf = (v: Variant): string[] => [v.entries.attend, v.entries.list].filter((e) => e !== null)

describe('every variant', () => {
  it.each(PLAN_NAMES)(
    'of %s passes Dawn, whole pipelines where the null device has the memory',
    async (name) => {
      const device = await openNull()
      const { variants } = emitted(name, name === 'a-shape' ? HEAD_DIMS : [59, 128])
      for (const v of variants) {
        const fits = v.capability.limits.workgroupBytes <= device.limits.maxComputeWorkgroupStorageSize
        expect(await complaints(device, v.code, fits ? entriesOf(v) : []), v.id).toEqual([])
      }
    },
  )

  it('of other value dims passes too', async () => {
    const device = await openNull()
    for (const [headDim, valueDim] of [
      [64, 128],
      [192, 128],
      [20, 36],
      [64, 59],
      [8, 256],
      [256, 8],
      [1, 1],
    ] as const) {
      const { variants } = emit(
        { plan: plan('causal') },
        {
          target: 'wgsl',
          headDims: [headDim],
          valueDims: [valueDim],
          dtypes: ['f32', 'f16'],
          capabilities: CAPABILITY_NAMES,
        },
      )
      for (const v of variants) expect(await complaints(device, v.code), v.id).toEqual([])
    }
  })

  it('fits the ceiling of its capability, and the portable ones the defaults of WebGPU', () => {
    for (const capability of CAPABILITY_NAMES) {
      for (const v of emitted('document', HEAD_DIMS, [capability]).variants) {
        const { workgroupBytes, invocations, storageBuffers } = v.capability.limits
        expect(workgroupBytes, v.id).toBeLessThanOrEqual(ceilingOf(capability).bytes)
        expect(invocations, v.id).toBeLessThanOrEqual(ceilingOf(capability).invocations)
        expect(storageBuffers, v.id).toBeLessThanOrEqual(8)
      }
    }
    expect(ceilingOf('portable')).toEqual({ bytes: 16384, invocations: 256 })
  })
})

describe('the manifest', () => {
  it.each(PLAN_NAMES)('of %s has the bindings, sizes and entry points of the text', (name) => {
    for (const v of emitted(name, [59, 64]).variants) {
      const found = new WgslReflect(v.code)
      const text = [...found.uniforms, ...found.storage].map((b) => ({
        binding: b.binding,
        group: b.group,
        type: b.type.getTypeName().replace(/, 0>$/, '>'),
        access: found.uniforms.includes(b) ? 'uniform' : b.access,
      }))
      expect(text.sort((a, b) => a.binding - b.binding)).toEqual(
        v.bindings.map((b) => ({ binding: b.binding, group: 0, type: b.type, access: b.access })),
      )
      expect(found.uniforms[0]!.size).toBe(v.uniforms.length * 4)
      expect(found.uniforms[0]!.members!.map((m) => ({ offset: m.offset, type: m.type.name }))).toEqual(
        v.uniforms.map((f, i) => ({ offset: 4 * i, type: f.type })),
      )
      expect(found.entry.compute.map((e) => ({ name: e.name, size: e.workgroupSize?.map(Number) }))).toEqual(
        entriesOf(v).map((e) => ({ name: e, size: [v.workgroup, 1, 1] })),
      )
    }
  })

  it('starts with the fixed uniforms, by their names, and goes on with scalar params', () => {
    const { variants, params } = emitted('reserved-words', [64], ['portable'])
    const names = variants[0]!.uniforms.map((f) => f.name)
    expect(names).toEqual([...UNIFORM_FIELDS.map((f) => f.name), ...params.map((p) => p.name)])
    expect(variants[0]!.code).toContain('target_2: i32')
    expect(variants[0]!.code).toContain('x_odd: i32')
  })

  it('leaves perHead params out of the uniforms and unread tables out of the bindings', () => {
    const shape = emitted('a-shape', [64], ['portable']).variants[0]!
    expect(shape.uniforms.map((f) => f.name)).toContain('window')
    expect(shape.uniforms.map((f) => f.name)).not.toContain('sinkTokens')
    const read = plan('document')
    const unread = emit(
      { plan: { ...plan('causal'), tables: read.tables } },
      { target: 'wgsl', headDims: [64], dtypes: ['f32'] },
    )
    expect(unread.variants[0]!.bindings.filter((b) => b.role === 'table')).toEqual([])
    expect(
      emitted('document', [64], ['portable'])
        .variants[0]!.bindings.map((b) => b.table)
        .filter(Boolean),
    ).toEqual(['docId'])
  })

  it('asks vector loads of head dims of whole vectors only', () => {
    const aligns = emitted('full', HEAD_DIMS, ['portable']).variants.map((v) => [v.headDim, v.align])
    expect(aligns.filter(([, align]) => align === 1).map(([d]) => d)).toEqual([59, 59])
  })

  it('has one variant per (headDim, dtype, capability), and none that a dtype has no use for', () => {
    const ids = emitted('full', [64]).variants.map((v) => v.id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toContain('d64-f16-shader-f16')
    expect(ids).not.toContain('d64-f32-shader-f16')
    const other = emit(
      { plan: plan('full') },
      { target: 'wgsl', headDims: [64], valueDims: [32], dtypes: ['f16'] },
    )
    expect(other.variants.map((v) => v.id)).toEqual(DEFAULT_CAPABILITIES.map((c) => `d64x32-f16-${c}`))
  })

  it('has its variants best first, whatever the order they are asked for', () => {
    const ids = (capabilities: readonly CapabilityName[]) =>
      emitted('full', [64], capabilities).variants.map((v) => v.capability.name)
    expect(ids(['portable', 'large48'])).toEqual(['large48', 'portable', 'large48', 'portable'])
    expect(DEFAULT_CAPABILITIES.at(-1)).toBe('portable')
  })

  it('gives a device that runs no unrolled text the portable one', () => {
    const { variants } = emit({ plan: plan('causal') }, { target: 'wgsl', headDims: [64], dtypes: ['f32'] })
    const software = {
      features: new Set(['subgroups']),
      subgroup: { min: 4, max: 4 },
      limits: {
        maxComputeWorkgroupStorageSize: 32768,
        maxComputeInvocationsPerWorkgroup: 256,
        maxComputeWorkgroupSizeX: 256,
        maxStorageBuffersPerShaderStage: 8,
      },
    }
    const wanted = { headDim: 64, valueDim: 64, dtype: 'f32' } as const
    expect(chooseVariant({ variants }, wanted, software).id).toBe('d64-f32-portable')
    expect(chooseVariant({ variants }, wanted, { ...software, subgroup: { min: 32, max: 32 } }).id).toBe(
      'd64-f32-unrolled',
    )
    const big = { ...software.limits, maxComputeWorkgroupStorageSize: 49152 }
    expect(chooseVariant({ variants }, wanted, { ...software, limits: big }).id).toBe('d64-f32-large48')
  })

  it('refuses head dims beyond its reach', () => {
    for (const headDim of [0, 257, 4096, 1.5, Number.NaN]) {
      expect(() =>
        emit({ plan: plan('full') }, { target: 'wgsl', headDims: [headDim], dtypes: ['f32'] }),
      ).toThrow(RangeError)
    }
  })
})

describe('the bytes', () => {
  it('carry the version of the package', () => {
    const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
    expect(emitted('full', [64], ['portable']).heddle).toBe((JSON.parse(text) as { version: string }).version)
  })

  it('are the same each time, and their hash is what the runtime computes', () => {
    for (const name of PLAN_NAMES) {
      const [a, b] = [emitted(name, [64]), emitted(name, [64])]
      expect(JSON.stringify(a)).toBe(JSON.stringify(b))
      expect(a.hash).toBe(contentHash({ ...a }))
      expect(a.hash).toBe(builtHash(a))
    }
  })

  it('change the hash when anything of the text changes', () => {
    const a = emitted('causal', [64], ['portable'])
    const [v] = a.variants
    expect(builtHash({ ...a, variants: [{ ...v!, code: v!.code.replace('32', '33') }] })).not.toBe(a.hash)
    expect(emitted('full', [64], ['portable']).hash).not.toBe(a.hash)
  })
})

describe('what must be absent', () => {
  /** The text between two lines that contain the words, the second beyond the first. */
  const between = (code: string, from: string, to: string): string => {
    const start = code.indexOf(from)
    expect(start, from).toBeGreaterThan(0)
    const end = code.indexOf(to, start)
    expect(end, to).toBeGreaterThan(start)
    return code.slice(start, end)
  }

  it('the mask and the bounds of keys, in the body of full tiles', () => {
    for (const name of ['a-shape', 'strided', 'document', 'alibi'] as const) {
      const { code } = emitted(name, [64], ['large48']).variants[0]!
      const full = between(code, '// full tiles', '// partial tiles')
      expect(full).not.toContain('keeps(')
      expect(full).not.toMatch(/inside|kvLen/)
      const partial = between(code, '// partial tiles', '// epilogue')
      expect(partial).toContain('keeps(')
      expect(partial).toContain('inside0')
    }
  })

  it('the mask where one body serves both, outside the branch of partial tiles', () => {
    const { code } = emitted('a-shape', [64], ['portable']).variants[0]!
    const outside = code.replace(/if \(!full\) \{\n\s*\/\/ partial tiles[^}]*\}/, '')
    expect(outside.split('keeps(')).toHaveLength(2)
    expect(code.split('keeps(').length).toBeGreaterThan(2)
  })

  it('the mask and its function, in a pattern that keeps every pair', () => {
    for (const v of emitted('full', [64], ['portable', 'large48']).variants)
      expect(v.code).not.toMatch(/keeps/)
  })

  it('the score, in a pattern that has none', () => {
    expect(emitted('causal', [64], ['portable']).variants[0]!.code).not.toMatch(/score\(/)
    expect(emitted('alibi', [64], ['portable']).variants[0]!.code).toMatch(/fn score\(/)
  })

  it('subgroup and half-float extensions, in portable text', () => {
    expect(
      emitted('causal', [64], ['portable', 'large48'])
        .variants.map((v) => v.code)
        .join(''),
    ).not.toMatch(/^enable/m)
    expect(emitted('causal', [64], ['subgroups']).variants[0]!.code).toMatch(/^enable subgroups;$/m)
    expect(emitted('causal', [64], ['shader-f16']).variants[0]!.code).toMatch(/^enable f16;$/m)
  })
})
