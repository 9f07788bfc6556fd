/** The header of GGUF against Hugging Face's own reader: any values and tensors, read to the same. */

import { gguf as theirs } from '@huggingface/gguf'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readGgufHeader } from '../../../runtime/model/gguf-header.ts'
import { memorySource } from '../../../runtime/model/source.ts'
import { gguf, type GgufSpec, type GgufValue } from './tiny-gguf.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((s) => !s.startsWith('\uFEFF'))
const value: fc.Arbitrary<GgufValue> = fc.oneof(
  fc.nat(),
  fc.float({ noNaN: true, noInteger: true }),
  fc.boolean(),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
  text,
  fc.array(text, { minLength: 1 }),
  fc.array(fc.nat(), { minLength: 1 }),
)
const key = fc
  .stringMatching(/^[a-z.]{1,12}$/)
  .filter((k) => !['version', 'tensor_count', 'kv_count'].includes(k))
const tensor = fc.record({
  name: fc.stringMatching(/^[a-z.]{1,20}$/),
  shape: fc.array(fc.integer({ min: 1, max: 4096 }), { minLength: 1, maxLength: 4 }),
  type: fc.constantFrom(0, 1, 2, 8, 12, 30),
  offset: fc.bigInt({ min: 0n, max: 2n ** 40n }),
})

async function readByThem(bytes: Uint8Array<ArrayBuffer>): ReturnType<typeof theirs> {
  const answer = (_: unknown, init?: RequestInit) => {
    const [begin, last] = /(\d+)-(\d+)/.exec(new Headers(init?.headers).get('range')!)!.slice(1).map(Number)
    return Promise.resolve(new Response(bytes.slice(begin, last! + 1)))
  }
  return theirs('https://model.invalid/file.gguf', { fetch: answer as typeof fetch })
}

test('any header is what their reader makes of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(key, value, { maxKeys: 6 }),
      fc.uniqueArray(tensor, { maxLength: 6, selector: (t) => t.name }),
      async (values, tensors) => {
        const spec: GgufSpec = { values, tensors: tensors.map((t) => ({ ...t, data: new Uint8Array() })) }
        const bytes = gguf(spec)
        const ours = await readGgufHeader(memorySource({ 'a.gguf': bytes }), 'a.gguf')
        const { metadata, tensorInfos, tensorInfoByteRange } = await readByThem(bytes)
        const counts = { tensor_count: BigInt(tensors.length), kv_count: BigInt(Object.keys(values).length) }
        expect({ ...ours.values, ...counts, version: 3 }).toEqual(metadata)
        expect(ours.end).toBe(tensorInfoByteRange[1])
        expect(ours.tensors).toEqual(
          tensorInfos.map(({ name, shape, dtype, offset }) => ({
            name,
            sizes: shape.map(Number),
            type: dtype,
            offset,
          })),
        )
      },
    ),
  )
})

test('a header of many windows is read as one', async () => {
  const words = Array.from({ length: 60_000 }, (_, i) => `token ${i} ${'x'.repeat(i % 50)}`)
  const spec: GgufSpec = { values: { words, long: 'y'.repeat(3_000_000), after: 7 }, tensors: [] }
  const reads: number[] = []
  const source = memorySource({ 'a.gguf': gguf(spec) })
  const watched = {
    ...source,
    read: (name: string, range: { begin: number; end: number }) => {
      reads.push(range.end - range.begin)
      return source.read(name, range)
    },
  }
  const { values } = await readGgufHeader(watched, 'a.gguf')
  expect(values).toEqual(spec.values)
  expect(Math.max(...reads)).toBeLessThanOrEqual(3_000_000)
  expect(reads.length).toBeLessThan(12)
})
