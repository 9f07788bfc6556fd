/** Which variant a call runs: the first in the artefact's order that the device can, and what is said when none can. */

import { describe, expect, test } from 'vitest'
import { chooseVariant, type Powers } from '../../runtime/variant.ts'
import { handmadeArtifact } from './handmade.ts'

const powers: Powers = {
  features: new Set(['subgroups']),
  limits: {
    maxComputeWorkgroupStorageSize: 32768,
    maxComputeInvocationsPerWorkgroup: 256,
    maxComputeWorkgroupSizeX: 256,
    maxStorageBuffersPerShaderStage: 8,
  },
  subgroup: { min: 4, max: 4 },
}
const needs = { workgroupBytes: 16384, invocations: 64, storageBuffers: 7 }
const artifact = handmadeArtifact(
  { capability: { name: 'wide', limits: { ...needs, workgroupBytes: 49152 } } },
  { capability: { name: 'half', features: ['shader-f16'], limits: needs } },
  { capability: { name: 'waves', features: ['subgroups'], limits: needs, subgroup: { min: 16, max: 128 } } },
  { capability: { name: 'portable', limits: needs } },
  { headDim: 16, dtype: 'f16' },
)
const wanted = { headDim: 8, valueDim: 8, dtype: 'f32' } as const
const of = (p: Powers, id?: string) => chooseVariant(artifact, wanted, p, id).capability.name

describe('choice of a variant', () => {
  test('the first that the device can run', () => {
    expect(of(powers)).toBe('portable')
    expect(of({ ...powers, subgroup: { min: 16, max: 32 } })).toBe('waves')
    expect(of({ ...powers, features: new Set(['shader-f16']) })).toBe('half')
    expect(of({ ...powers, limits: { ...powers.limits, maxComputeWorkgroupStorageSize: 49152 } })).toBe(
      'wide',
    )
  })

  test('the one that was asked for', () => {
    expect(of({ ...powers, subgroup: { min: 16, max: 32 } }, 'd8-f32-portable')).toBe('portable')
    expect(() => of(powers, 'd8-f32-other')).toThrow(
      'no variant for headDim 8, f32 called d8-f32-other; it has d8-f32-wide',
    )
  })

  test('one that is missing: those present are listed', () => {
    expect(() => chooseVariant(artifact, { headDim: 8, valueDim: 4, dtype: 'f16' }, powers)).toThrow(
      expect.objectContaining({
        code: 'no-variant',
        message:
          'the artefact has no variant for headDim 8, valueDim 4, f16; ' +
          'it has d8-f32-wide, d8-f32-half, d8-f32-waves, d8-f32-portable, d16-f16-portable',
      }),
    )
  })

  test('none that runs: every reason is named with both values', () => {
    const small: Powers = {
      ...powers,
      subgroup: null,
      limits: { ...powers.limits, maxStorageBuffersPerShaderStage: 6 },
    }
    expect(() => of(small)).toThrow(
      expect.objectContaining({
        code: 'variant-needs',
        message:
          'no variant for headDim 8, f32 runs on this device: ' +
          'd8-f32-wide needs maxComputeWorkgroupStorageSize = 49152, the device has 32768; ' +
          'd8-f32-half needs the feature shader-f16; ' +
          'd8-f32-waves needs maxStorageBuffersPerShaderStage = 7, the device has 6; ' +
          'd8-f32-portable needs maxStorageBuffersPerShaderStage = 7, the device has 6',
      }),
    )
    expect(() => of({ ...powers, subgroup: null }, 'd8-f32-waves')).toThrow(
      'needs subgroups of 16 to 128, the device names no sizes',
    )
    expect(() => of(powers, 'd8-f32-waves')).toThrow('needs subgroups of 16 to 128, the device has 4 to 4')
  })
})
