/** safetensors on their way in: what is read, in which chunks, and every way in which a header can be wrong. */

import { describe, expect, test } from 'vitest'
import { openSafetensors } from '../../../runtime/model/safetensors.ts'
import { memorySource, type ModelSource } from '../../../runtime/model/source.ts'
import type { Checkpoint } from '../../../runtime/model/tensors.ts'
import { floats, refusal, safetensors, withHeader, type TinyTensor } from './tiny.ts'

const opened = async (bytes: Uint8Array<ArrayBuffer>): Promise<Checkpoint> =>
  (await openSafetensors(memorySource({ 'model.safetensors': bytes })))!

const half = (n: number): TinyTensor => ({
  dtype: 'F16',
  shape: [n],
  data: Uint8Array.from({ length: 2 * n }, (_, i) => i),
})

async function chunks(checkpoint: Checkpoint, name: string, chunkBytes: number): Promise<Uint8Array[]> {
  const found: Uint8Array[] = []
  for await (const chunk of checkpoint.stream(checkpoint.tensors.get(name)!, chunkBytes)) found.push(chunk)
  return found
}

describe('one file', () => {
  const bytes = safetensors({ a: floats([1, 2, 3, 4, 5, 6], [2, 3]), none: floats([], [0, 7]), b: half(333) })

  test('its tensors have name, type, shape and place', async () => {
    const { tensors } = await opened(bytes)
    const start = bytes.length - 24 - 666
    expect([...tensors.values()]).toEqual([
      { name: 'a', dtype: 'F32', shape: [2, 3], file: 'model.safetensors', begin: start, end: start + 24 },
      {
        name: 'none',
        dtype: 'F32',
        shape: [0, 7],
        file: 'model.safetensors',
        begin: start + 24,
        end: start + 24,
      },
      {
        name: 'b',
        dtype: 'F16',
        shape: [333],
        file: 'model.safetensors',
        begin: start + 24,
        end: bytes.length,
      },
    ])
  })

  test('data comes in chunks of whole elements, each in memory of its own', async () => {
    const checkpoint = await opened(bytes)
    const [a] = await chunks(checkpoint, 'a', 256)
    expect([...new Float32Array(a!.buffer)]).toEqual([1, 2, 3, 4, 5, 6])
    expect(await chunks(checkpoint, 'none', 256)).toEqual([])
    const b = await chunks(checkpoint, 'b', 259)
    expect(b.map((chunk) => chunk.length)).toEqual([256, 256, 154])
    expect(b.map((chunk) => chunk.byteOffset)).toEqual([0, 0, 0])
    expect(b.flatMap((chunk) => [...chunk])).toEqual(Array.from({ length: 666 }, (_, i) => i % 256))
  })

  test('no read is larger than a header or a chunk', async () => {
    const reads: number[] = []
    const memory = memorySource({ 'model.safetensors': bytes })
    const source: ModelSource = {
      ...memory,
      read: (name, range) => {
        reads.push(range.end - range.begin)
        return memory.read(name, range)
      },
    }
    await chunks((await openSafetensors(source))!, 'b', 256)
    expect(Math.max(...reads)).toBeLessThanOrEqual(256)
  })

  test('types that no weight has are listed all the same', async () => {
    const { tensors } = await opened(
      safetensors({ ids: { dtype: 'I64', shape: [1], data: new Uint8Array(8) } }),
    )
    expect(tensors.get('ids')?.dtype).toBe('I64')
  })

  test('there may be spaces after the header, and names such as those of every object', async () => {
    const padded = withHeader(
      '{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"constructor":{"dtype":"BOOL","shape":[],"data_offsets":[2,3]}}   ',
      [new Uint8Array(3)],
    )
    expect([...(await opened(padded)).tensors.keys()]).toEqual(['__proto__', 'constructor'])
  })
})

describe('shards', () => {
  const one = safetensors({ a: floats([1]) })
  const two = safetensors({ b: floats([2]) })
  const index = (map: unknown) => JSON.stringify({ metadata: { total_size: 8 }, weight_map: map })
  const open = (map: unknown, files = { 'one.safetensors': one, 'two.safetensors': two }) =>
    openSafetensors(memorySource({ ...files, 'model.safetensors.index.json': index(map) }, 'the folder'))

  test('are read as their index says', async () => {
    const checkpoint = await open({ a: 'one.safetensors', b: 'two.safetensors' })
    expect([...checkpoint!.tensors.values()].map(({ name, file }) => [name, file])).toEqual([
      ['a', 'one.safetensors'],
      ['b', 'two.safetensors'],
    ])
    expect([...new Float32Array((await chunks(checkpoint!, 'b', 256))[0]!.buffer as ArrayBuffer)]).toEqual([
      2,
    ])
  })

  test('a folder without either is none', async () => {
    expect(await openSafetensors(memorySource({ 'config.json': '{}' }))).toBeNull()
  })

  test.each<[string, unknown, string]>([
    [
      'a shard that is missing',
      { a: 'one.safetensors', b: 'three.safetensors' },
      'error[model-file-missing]: the folder has no three.safetensors',
    ],
    [
      'a tensor in another shard',
      { a: 'two.safetensors', b: 'one.safetensors' },
      'error[weights-record]: model.safetensors.index.json: the header’s record of a in two.safetensors is wrong: it is in one.safetensors',
    ],
    [
      'a tensor in no shard',
      { a: 'one.safetensors', b: 'two.safetensors', c: 'one.safetensors' },
      'error[weights-record]: model.safetensors.index.json: the header’s record of c in one.safetensors is wrong: the file does not have it',
    ],
    [
      'a place outside the folder',
      { a: '../one.safetensors' },
      'error[model-file-name]: model.safetensors.index.json, a: expected the name of a file in the model\'s own folder, got "../one.safetensors"',
    ],
    [
      'no map',
      'one.safetensors',
      'error[model-field]: model.safetensors.index.json: expected weight_map to be a record of tensors and files, got "one.safetensors"',
    ],
  ])('%s', async (_, map, text) => {
    expect(await refusal(() => open(map))).toBe(text.replaceAll('’', "'"))
  })

  test('a tensor in two of them', async () => {
    const files = { 'one.safetensors': one, 'two.safetensors': one }
    expect(await refusal(() => open({ a: 'one.safetensors', b: 'two.safetensors' }, files))).toBe(
      'error[weight-twice]: a is in the checkpoint more than once: one.safetensors and two.safetensors',
    )
  })
})

describe('refusals', () => {
  const a = floats([1, 2, 3, 4], [2, 2])
  const changed = (change: object) =>
    safetensors({ a }, (record) => ({ ...record, a: { ...(record['a'] as object), ...change } }))
  const record = (text: string) =>
    `error[weights-record]: model.safetensors: the header's record of a is wrong: ${text}`
  const header = (text: string) =>
    `error[weights-header]: model.safetensors: not a checkpoint that can be read: ${text}`
  const claiming = (bytes: bigint) => {
    const file = safetensors({ a })
    new DataView(file.buffer).setBigUint64(0, bytes, true)
    return file
  }
  const rest = safetensors({ a }).length - 8

  test.each<[string, Uint8Array<ArrayBuffer>, string]>([
    ['an empty file', new Uint8Array(), header('a header begins with 8 bytes, the file has 0')],
    [
      'a header longer than the file',
      claiming(BigInt(rest + 1)),
      header(`its header claims ${rest + 1} bytes, the file has ${rest} after it`),
    ],
    [
      'a header of exabytes',
      claiming(2n ** 64n - 1n),
      header(`its header claims ${2n ** 64n - 1n} bytes, the file has ${rest} after it`),
    ],
    ['no header', withHeader(''), header('its header does not begin with {')],
    ['a list as the header', withHeader('[]'), header('its header does not begin with {')],
    ['spaces before the header', withHeader(' {}'), header('its header does not begin with {')],
    [
      'a pointer of Git LFS',
      new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n'),
      'error[model-file-pointer]: model.safetensors is a pointer of Git LFS, not the file itself; run `git lfs pull` in the folder',
    ],
    [
      'metadata that are no texts',
      safetensors({ a }, (r) => ({ ...r, __metadata__: { n: 1 } })),
      header('its __metadata__ is no record of texts'),
    ],
    ['a record that is none', safetensors({ a }, (r) => ({ ...r, a: 1 })), record('it is no record')],
    ['a field that is not known', changed({ strides: [2, 1] }), record('there is no field strides')],
    [
      'a dtype that is not known',
      changed({ dtype: 'float32' }),
      record(
        'there is no dtype "float32"; there are F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, C64, ' +
          'F8_E4M3, F8_E5M2, F8_E8M0, F6_E2M3, F6_E3M2, F4',
      ),
    ],
    [
      'a negative size',
      changed({ shape: [-2, -2] }),
      record('expected a shape of at most 8 whole numbers, got [-2,-2]'),
    ],
    [
      'a size that is no whole number',
      changed({ shape: [1.5] }),
      record('expected a shape of at most 8 whole numbers, got [1.5]'),
    ],
    [
      'a product beyond counting',
      changed({ shape: [2 ** 30, 2 ** 30] }),
      record('F32 of shape [1073741824, 1073741824] takes too many bytes, it has 16'),
    ],
    [
      'a size that does not fit',
      changed({ shape: [2, 3] }),
      record('F32 of shape [2, 3] takes 24 bytes, it has 16'),
    ],
    [
      'data that ends before it begins',
      changed({ data_offsets: [16, 0] }),
      record('its data lies at 16 to 0, the file has 16 bytes of data'),
    ],
    [
      'data beyond the end',
      changed({ data_offsets: [4, 20] }),
      record('its data lies at 4 to 20, the file has 16 bytes of data'),
    ],
    [
      'one offset',
      changed({ data_offsets: [16] }),
      record('expected data_offsets of two whole numbers, got [16]'),
    ],
    [
      'two tensors in one place',
      safetensors({ a, b: floats([5]) }, (r) => ({
        ...r,
        b: { dtype: 'F32', shape: [1], data_offsets: [12, 16] },
      })),
      "error[weights-record]: model.safetensors: the header's record of b is wrong: its data overlaps that of another tensor",
    ],
    [
      'a gap',
      safetensors({ gap: floats([5]), a }, ({ gap: _, ...r }) => r),
      record('4 bytes before it are nobody’s'.replace('’', "'")),
    ],
    ['bytes at the end', withHeader('{}', [new Uint8Array(5)]), header("5 bytes at its end are no tensor's")],
    [
      'a file that was cut off',
      safetensors({ a }).slice(0, -1),
      record('its data lies at 0 to 16, the file has 15 bytes of data'),
    ],
    [
      'a name twice',
      withHeader(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        [new Uint8Array(1)],
      ),
      header('its header has "a" twice'),
    ],
    [
      'a field twice',
      withHeader('{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}', [new Uint8Array(1)]),
      header('its header has "shape" twice'),
    ],
    [
      'bytes that are no text',
      Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff),
      'error[model-json]: model.safetensors: expected a JSON record, got something else: it is not UTF-8',
    ],
  ])('%s', async (_, bytes, text) => {
    expect(await refusal(() => opened(bytes))).toBe(text)
  })

  test('a header that is no JSON', async () => {
    expect(await refusal(() => opened(withHeader('{"a":')))).toMatch(
      /^error\[model-json\]: model.safetensors: /,
    )
    expect(await refusal(() => opened(withHeader(`{"a":${'['.repeat(1e5)}`)))).toMatch(/^error\[model-json\]/)
  })

  test('an index that is larger than any', async () => {
    const memory = memorySource({})
    const source: ModelSource = {
      ...memory,
      size: (name) => Promise.resolve(name.endsWith('.json') ? 1e9 : null),
    }
    expect(await refusal(() => openSafetensors(source))).toBe(
      'error[model-file-large]: model.safetensors.index.json: expected at most 100000000 bytes, got 1000000000',
    )
  })

  test.each([0, 255, 1e3 + 0.5, Number.NaN])('chunks of %d bytes', async (size) => {
    const checkpoint = await opened(safetensors({ a }))
    expect(await refusal(() => checkpoint.stream(checkpoint.tensors.get('a')!, size))).toBe(
      `error[chunk-bytes]: chunkBytes: expected a whole number of at least 256, got ${size}`,
    )
  })
})
