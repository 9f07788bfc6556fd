/** Artefacts on their way in: what is refused and in which words, and that the hash is the one codegen writes. */

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { ARTIFACT_VERSION, UNIFORM_FIELDS, type Artifact } from '../../codegen/artifact.ts'
import { contentHash as builtHash } from '../../codegen/hash.ts'
import { parseArtifact, READS_VERSION } from '../../runtime/artifact.ts'
import { canonicalJson, contentHash, sha256 } from '../../runtime/hash.ts'
import { FIXED_UNIFORMS } from '../../runtime/meta.ts'
import { handmadeArtifact, sealed } from './handmade.ts'

const good = handmadeArtifact({}, { dtype: 'f16', list: true })

/** The same record with something else in it, and the hash that fits. */
const changed = (change: (a: { -readonly [K in keyof Artifact]: Artifact[K] }) => void): unknown => {
  const copy = structuredClone(good)
  change(copy)
  return sealed(copy)
}
const withVariant = (change: object) => changed((a) => (a.variants = [{ ...a.variants[0]!, ...change }]))

describe('a good artefact', () => {
  test('is read from its text and from its record', () => {
    expect(parseArtifact(good)).toBe(good)
    expect(parseArtifact(JSON.stringify(good))).toEqual(good)
    expect(parseArtifact(JSON.stringify(good, null, 2))).toEqual(good)
  })

  test('may have tables without bounds, which JSON writes as null', () => {
    const open = changed(
      (a) =>
        (a.tables = [
          { name: 'docStart', type: 'f32', dims: [3], monotone: false, min: -Infinity, max: Infinity },
        ]),
    )
    const { tables } = parseArtifact(JSON.stringify(open))
    expect(tables[0]).toMatchObject({ min: null, max: null })
  })

  test('has the version and the uniforms that codegen writes', () => {
    expect(READS_VERSION).toBe(ARTIFACT_VERSION)
    expect(FIXED_UNIFORMS).toEqual(UNIFORM_FIELDS.map((f) => f.name))
  })
})

describe('refusals', () => {
  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'not a Heddle artefact: it is no JSON record'],
    ['a list', [good], 'not a Heddle artefact: it is no JSON record'],
    ['other JSON', { name: 'heddle' }, 'not a Heddle artefact: it has no version and hash'],
    [
      'no tile',
      withVariant({ tile: { q: 1 } }),
      'not a Heddle artefact: variants[0].tile.kv is no positive whole number',
    ],
    [
      'code that is no text',
      withVariant({ code: 7 }),
      'not a Heddle artefact: variants[0].code is no string',
    ],
    [
      'another target',
      changed((a) => Object.assign(a, { target: 'cuda' })),
      'not a Heddle artefact: target is "cuda", none of wgsl',
    ],
    [
      'a field missing',
      changed((a) => Object.assign(a, { tables: undefined })),
      'not a Heddle artefact: tables is no list',
    ],
    [
      'a dtype',
      withVariant({ dtype: 'bf16' }),
      'not a Heddle artefact: variants[0].dtype is "bf16", none of f32, f16',
    ],
    [
      'uniforms out of order',
      withVariant({ uniforms: [{ name: 'scale', type: 'f32' }] }),
      'not a Heddle artefact: the uniforms of d8-f32-portable are scale',
    ],
    [
      'a binding twice',
      withVariant({ bindings: [good.variants[0]!.bindings[2], good.variants[0]!.bindings[2]] }),
      'not a Heddle artefact: d8-f32-portable binds q twice',
    ],
    [
      'a table that is not there',
      changed((a) => (a.tables = [])),
      'not a Heddle artefact: d8-f32-portable binds a table docStart that the artefact does not declare',
    ],
    [
      'an unknown op',
      changed((a) => (a.derived = [{ name: 'x', type: 'i32', value: { op: 'gamma', src: [1] } }])),
      'not a Heddle artefact: derived x uses op gamma, which this runtime does not know',
    ],
    [
      'an unknown param',
      changed((a) => (a.derived = [{ name: 'x', type: 'i32', value: { param: 'span' } }])),
      'not a Heddle artefact: derived x uses param span, which this runtime does not know',
    ],
    [
      'a position in a derived uniform',
      changed((a) => (a.derived = [{ name: 'x', type: 'i32', value: { var: 'q' } }])),
      'not a Heddle artefact: derived x uses var q, which this runtime does not know',
    ],
  ])('%s', (_, record, message) => {
    expect(() => parseArtifact(record)).toThrow(expect.objectContaining({ code: 'not-an-artifact', message }))
  })

  test('text that is no JSON, as a file cut off', () => {
    const text = JSON.stringify(good)
    expect(() => parseArtifact(text.slice(0, text.length / 2))).toThrow(
      expect.objectContaining({ code: 'not-an-artifact', message: expect.stringContaining('JSON') }),
    )
  })

  test('another version, before anything else is looked at', () => {
    expect(() => parseArtifact({ version: 2, hash: '' })).toThrow(
      expect.objectContaining({
        code: 'artifact-version',
        message: 'this runtime reads artefacts of version 1, got version 2: build it again',
      }),
    )
  })

  test('a changed byte', () => {
    const code = good.variants[0]!.code.replace('acc[d] * inverse', 'acc[d]')
    const record = { ...good, variants: [{ ...good.variants[0]!, code }, ...good.variants.slice(1)] }
    const got = contentHash(record)
    expect(got).not.toBe(good.hash)
    expect(() => parseArtifact(record)).toThrow(
      expect.objectContaining({
        code: 'artifact-hash',
        message: `the artefact says hash ${good.hash}, its content has ${got}: it was changed or cut off after the build`,
      }),
    )
  })
})

describe('hash', () => {
  test.each(['', 'abc', 'é€😀'.repeat(500), 'x'.repeat(55), 'x'.repeat(56), 'x'.repeat(64), 'x'.repeat(119)])(
    'SHA-256 of %j',
    (text) => {
      expect(sha256(text)).toBe(createHash('sha256').update(text).digest('hex'))
    },
  )

  test('canonical JSON: sorted keys at every level, no spaces, undefined left out', () => {
    expect(canonicalJson({ b: [1, { d: null, c: 'x"' }], a: undefined, B: -0.5 })).toBe(
      '{"B":-0.5,"b":[1,{"c":"x\\"","d":null}]}',
    )
  })

  test('is the one that codegen writes', () => {
    expect(contentHash({ ...good })).toBe(builtHash(good))
  })
})
