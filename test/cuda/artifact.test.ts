/** CUDA artefacts on their way in: what is accepted, and what is wrong with the others in words. */

import { describe, expect, test } from 'vitest'
import { CALL_FIELDS } from '../../codegen/cuda/call.ts'
import type { CudaArtifact } from '../../codegen/cuda/manifest.ts'
import { cudaContentHash, parseCudaArtifact } from '../../runtime/cuda/artifact.ts'
import { CALL_KNOWN } from '../../runtime/cuda/block.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { artifact, VARIANTS } from './handmade.ts'

const good = artifact()

function refusal(source: unknown): HeddleError {
  try {
    parseCudaArtifact(source)
  } catch (error) {
    if (error instanceof HeddleError) return error
    throw error
  }
  throw new Error('it was accepted')
}

const signed = (record: Record<string, unknown>) => ({ ...record, hash: cudaContentHash(record) })
const first = (change: Record<string, unknown>) =>
  signed({ ...good, variants: [{ ...VARIANTS[0], ...change }, ...VARIANTS.slice(1)] })

test('a record and its text are accepted, with cubins that came later', () => {
  expect(parseCudaArtifact(good)).toBe(good)
  const cubin = { arch: 'sm_80', file: 'a.cubin', sha256: '00', resources: [] } as const
  const built: CudaArtifact = { ...good, variants: good.variants.map((v) => ({ ...v, cubins: [cubin] })) }
  expect(parseCudaArtifact(JSON.stringify(built))).toEqual(built)
})

test('this runtime fills the struct that kernels are printed with', () => {
  expect(new Map(CALL_FIELDS.map(({ name, type, count }) => [name, { type, count }]))).toEqual(CALL_KNOWN)
})

describe('refused is', () => {
  test.each([
    ['no JSON', '{', 'not-an-artifact', 'JSON'],
    ['no record', '[]', 'not-an-artifact', 'no JSON record'],
    ['another JSON file', {}, 'not-an-artifact', 'no version and hash'],
    ['another version', { ...good, version: 1 }, 'artifact-version', 'got version 1'],
    ['another target', { ...good, target: 'wgsl' }, 'not-an-artifact', 'target is "wgsl", none of cuda'],
    ['a missing field', { ...good, call: undefined }, 'not-an-artifact', 'call is no record'],
    ['a field of another type', first({ tile: { q: 0, kv: 64 } }), 'not-an-artifact', 'variants[0].tile.q'],
    [
      'an unknown skeleton',
      first({ skeleton: 'volta' }),
      'not-an-artifact',
      'variants[0].skeleton is "volta"',
    ],
    [
      'a rule that reads what there is not',
      first({ workspace: { counters: 0, list: { var: 'kvLen' }, scratch: 0 } }),
      'not-an-artifact',
      'd64-bf16-decode: list uses var kvLen',
    ],
    [
      'a field of the struct that this runtime does not fill',
      signed({ ...good, call: { bytes: 8, fields: [{ name: 'theta', type: 'f32', count: 1, offset: 0 }] } }),
      'not-an-artifact',
      'call has theta',
    ],
    ['a changed record', { ...good, pattern: 'other' }, 'artifact-hash', 'changed or cut off'],
    ['a changed text', first({ code: '// another' }), 'artifact-hash', 'changed or cut off'],
  ] as const)('%s', (_, source, code, text) => {
    const error = refusal(source)
    expect(error.code).toBe(code)
    expect(error.message).toContain(text)
  })
})
