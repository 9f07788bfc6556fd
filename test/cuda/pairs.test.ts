/** Query units that share a Hopper block: drawn lists in; what their records hold, and how many keys each row meets, out. */

import { createHash } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import type { CudaArtifact } from '../../codegen/cuda/manifest.ts'
import { emitCuda } from '../../codegen/index.ts'
import { createCompiler } from '../../compiler/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, loadCudaKernel } from '../../runtime/cuda.ts'
import type { CudaDriver, CudaFunction, CudaModule, Launch, ModuleSource } from '../../runtime/cuda/driver.ts'
import { openEmulation, type EmulatedDriver } from '../../runtime/cuda/emulated.ts'
import type { Shape } from '../../runtime/tensor.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'

const driver = await openEmulation({ multiprocessors: 2, capability: { major: 9, minor: 0 } })
afterAll(() => driver.release())

const UNIT = 64
const HEADS = 2

/** Lists of every kind: blocks and spans of a unit's own, keys that all units have, and keys of a unit's own. */
const TEXT = `
import { attend, blocks, dot, i32, pattern, pool, skew, softmax, topK, union, whole } from './dsl/index.ts'
export const lists = pattern({
  name: 'lists',
  cite: 'a test',
  params: { most: i32(700, { min: 1, max: 1024 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, most }) => {
    const p = softmax(dot(Q, K, { scale }))
    const near = topK(dot(pool(Q, blocks(64), 'mean'), pool(K, blocks(64), 'mean'), { scale }), 8)
    const slashes = pool(topK(pool(skew(p), { q: whole }, 'sum'), most), { q: blocks(64) }, 'any')
    const keys = topK(pool(p, { q: whole }, 'sum'), most)
    const own = topK(dot(pool(Q, blocks(64), 'mean'), K, { scale }), most)
    return attend(Q, K, V, union(near, slashes, keys, own))
  },
})
`

const { patterns } = createCompiler().compile(`${PACKAGE_ROOT}/lists.ts`, { text: TEXT, consts: {} })
const artifact: CudaArtifact = emitCuda(patterns[0]!, { headDims: [64], dtypes: ['bf16'] })

interface Drawn {
  readonly qLen: number
  readonly kvLen: number
  /** Units that have queries, the first of them, and of each head and unit its lists: blocks, spans, keys of all, keys of its own. */
  readonly first: number
  readonly units: number
  readonly blocks: readonly (readonly number[])[]
  readonly spans: readonly (readonly number[])[]
  readonly keys: readonly (readonly number[])[]
  readonly own: readonly (readonly number[])[]
}

type Random = () => number
const below = (random: Random, n: number): number => Math.floor(random() * n)
const some = (random: Random, n: number, share: number): number[] =>
  Array.from({ length: n }, (_, i) => i).filter(() => random() < share)

/** Disjoint, ascending, as many as there is room for at most. */
function spansOf(random: Random, kvLen: number, near: readonly number[]): number[] {
  const spans: number[] = []
  const most = Math.floor(kvLen / 65) + 2
  // The unit before has it a little further on, or not at all.
  for (let i = 0; i < near.length && random() < 0.7; i += 2)
    spans.push(near[i]! + below(random, 9), near[i + 1]!)
  let at = spans.length > 0 ? spans.at(-1)! : below(random, 100)
  while (at < kvLen && random() < 0.8) {
    const end = Math.min(kvLen, at + 1 + below(random, random() < 0.5 ? 64 : 300))
    spans.push(at + (spans.at(-1) === at ? below(random, 2) : 0), end)
    at = end + below(random, 90)
  }
  const proper = spans.filter((_, i) => spans[i - (i % 2)]! < spans[i - (i % 2) + 1]!)
  return proper.slice(0, 2 * most)
}

function drawn(seed: number): Drawn {
  const random = seededRandom(seed)
  const kvLen = 1 + below(random, 600)
  const qLen = [kvLen, 1, 1 + below(random, kvLen)][below(random, 3)]!
  const first = Math.floor((kvLen - qLen) / UNIT)
  const units = Math.floor((kvLen - 1) / UNIT) + 1 - first
  const records = Array.from({ length: HEADS * units }, (_, i) => i)
  const spans: number[][] = []
  for (const r of records) spans.push(spansOf(random, kvLen, r % units === 0 ? [] : spans[r - 1]!))
  const share = () => [0, 0.01, 0.3, 0.9][below(random, 4)]!
  return {
    ...{ qLen, kvLen, first, units, spans },
    blocks: records.map(() => some(random, Math.ceil(kvLen / UNIT), 0.3).slice(0, 8)),
    keys: Array.from({ length: HEADS }, () => some(random, kvLen, share())),
    own: records.map(() => some(random, kvLen, share())),
  }
}

/** The buffer of a list. */
function listWords(units: number, records: readonly (readonly number[])[], step: number): Int32Array {
  const starts = records.map((_, i) => records.slice(0, i).reduce((sum, ids) => sum + ids.length, 0))
  return Int32Array.from([
    ...[units, 0, 0, 0],
    ...records.map((ids) => ids.length / step),
    ...starts,
    ...records.flat(),
  ])
}

const bytesOf = (words: Int32Array | Uint32Array) =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength)

/** What the queries of a unit have, whether they may see it or not. */
function setOf(
  { kvLen, first, units, blocks, spans, keys, own }: Drawn,
  head: number,
  unit: number,
): Set<number> {
  const at = head * units + unit - first
  const has = new Set([...keys[head]!, ...own[at]!])
  for (const b of blocks[at]!)
    for (let key = b * UNIT; key < Math.min(kvLen, (b + 1) * UNIT); key++) has.add(key)
  for (let i = 0; i < spans[at]!.length; i += 2)
    for (let key = spans[at]![i]!; key < spans[at]![i + 1]!; key++) has.add(key)
  return has
}

interface Walked {
  /** By (head, record), of its stride. */
  readonly records: readonly Uint32Array[]
  readonly out: Float32Array
  readonly lse: Float32Array
}

interface Watched {
  /** Of warps and lanes. */
  readonly order: number
  /** 0: each row's log-sum-exp tells how many keys it met; else the logits of the last keys are so much greater. */
  readonly slope?: number
  /** Of the text over sets. */
  readonly change?: (code: string) => string
}

/** The kernels over sets alone, on lists that are given. */
async function walked(
  driver: EmulatedDriver,
  given: Drawn,
  { order, slope = 0, change = (code) => code }: Watched,
): Promise<Walked> {
  const { qLen, kvLen, first, units } = given
  const at = (name: string) => artifact.call.fields.find((f) => f.name === name)!.offset
  const names = new Map<CudaFunction, string>()
  const records: Uint32Array[] = []
  const loadModule = async (source: ModuleSource): Promise<CudaModule> => {
    if (!source.id.endsWith('gather')) return { entry: (name) => ({ name }), release: () => {} }
    const code = change(source.code)
    const hash = createHash('sha256').update(code).digest('hex')
    const module = await driver.loadModule({ ...source, code, hash })
    return {
      entry: (name, sharedBytes) => {
        const entry = module.entry(name, sharedBytes)
        names.set(entry, name)
        return entry
      },
      release: () => module.release(),
    }
  }
  const launch = (wanted: Launch): void => {
    const name = names.get(wanted.entry)
    if (name === undefined) return
    const [call] = wanted.params as [Uint8Array]
    const view = new DataView(call.buffer, call.byteOffset)
    const pointer = (n: string, i = 0) => view.getBigUint64(at(n) + 8 * i, true)
    if (name === 'list')
      for (const [i, words] of [
        listWords(units, given.blocks, 1),
        listWords(units, given.spans, 2),
        listWords(1, given.keys, 1),
        listWords(units, given.own, 1),
      ].entries())
        driver.copyIn(pointer('parts', i), bytesOf(words))
    driver.launch(wanted)
    if (name !== 'list') return
    driver.synchronize()
    const stride = view.getInt32(at('listStride'), true)
    const pairs = Math.floor((first + units - 1) / 2) - Math.floor(first / 2) + 1
    const perHead = Math.floor((qLen + 254) / 128)
    for (let i = 0; i < HEADS * pairs; i++) {
      const words = new Uint32Array(stride)
      const record = Math.floor(i / pairs) * perHead + (i % pairs)
      driver.copyOut(bytesOf(words), pointer('list') + BigInt(4 * stride * record))
      records.push(words)
    }
  }
  const own: Readonly<Record<string, unknown>> = { loadModule, launch }
  const alone = new Proxy(driver as CudaDriver, {
    get(target, key) {
      if (typeof key === 'string' && Object.hasOwn(own, key)) return own[key]
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    },
  })
  const filled = (shape: Shape, value: (i: number) => number) => ({
    data: bfloatArray(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => value(i))),
    shape,
    dtype: 'bf16' as const,
  })
  driver.setOrder(order)
  const kernel = loadCudaKernel(JSON.stringify(artifact), alone)
  const got = await cudaAttention(kernel, {
    q: filled([1, HEADS, qLen, UNIT], () => slope / 8),
    k: filled([1, 1, kvLen, UNIT], (i) => Math.floor(i / UNIT) / kvLen),
    v: filled([1, 1, kvLen, UNIT], () => 1),
    params: { most: 1024 },
  })
  driver.synchronize()
  kernel.release()
  driver.setOrder(0)
  return { records, out: readBfloats(got.out.data as Uint16Array), lse: got.lse.data as Float32Array }
}

const readBfloats = (data: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(data, (half) => half << 16).buffer)

/** Keys of the record by owner: once for each time that they stand in it. */
function owned(words: Uint32Array): readonly [first: number[], second: number[]] {
  const [runs, both, first, second] = words as unknown as [number, number, number, number]
  const keys: [number[], number[]] = [[], []]
  const add = (key: number, owners: number) => keys.forEach((mine, u) => (owners >> u) & 1 && mine.push(key))
  for (const run of words.subarray(4, 4 + runs)) {
    const length = ((run >>> 24) & 63) + 1
    // What is shared is a whole tile, or the end of some.
    for (let i = 0; i < length; i++) add((run & 0xffffff) + i, run >>> 30)
  }
  const columns = words.subarray(4 + runs, 4 + runs + both + first + second)
  columns.forEach((key, i) => add(key, i < both ? 3 : i < both + first ? 1 : 2))
  expect(4 + runs + both + first + second).toBeLessThanOrEqual(words.length)
  return keys
}

const ascending = (keys: Iterable<number>): number[] => [...keys].toSorted((a, b) => a - b)

/** Null, or the first row that is not the sum over its keys. */
function wrongRow(given: Drawn, slope: number, { out, lse }: Walked): string | null {
  const { qLen, kvLen } = given
  const logits = Array.from(
    readBfloats(bfloatArray(Float32Array.from({ length: kvLen }, (_, i) => i / kvLen))),
  )
  for (let head = 0; head < HEADS; head++)
    for (let row = 0; row < qLen; row++) {
      const position = kvLen - qLen + row
      const sees = [...setOf(given, head, Math.floor(position / UNIT))].filter((key) => key <= position)
      const sum = sees.reduce((all, key) => all + Math.exp(slope * logits[key]!), 0)
      const [gotOut, gotLse] = [out[(head * qLen + row) * UNIT]!, lse[head * qLen + row]!]
      const right =
        sees.length === 0
          ? gotOut === 0 && gotLse === -Infinity
          : Math.abs(gotOut - 1) < 2 ** -6 && Math.abs(Math.exp(gotLse) / sum - 1) < 0.2 / sees.length
      if (!right)
        return `head ${head}, row ${row} of ${sees.length} keys: ${gotOut}, ${gotLse}, not ${Math.log(sum)}`
    }
  return null
}

test.each(Array.from({ length: 12 }, (_, seed) => seed))(
  'of drawn lists %i',
  { timeout: 120_000 },
  async (seed) => {
    const given = drawn(seed)
    const { first, units } = given
    const got = await walked(driver, given, { order: seed })
    const perHead = got.records.length / HEADS
    for (let head = 0; head < HEADS; head++)
      for (let unit = first - (first % 2); unit < first + units + ((first + units) % 2); unit++) {
        const record = got.records[head * perHead + Math.floor(unit / 2) - Math.floor(first / 2)]!
        const there = unit >= first && unit < first + units
        expect(ascending(owned(record)[unit % 2]!), `head ${head}, unit ${unit}`).toEqual(
          there ? ascending(setOf(given, head, unit)) : [],
        )
      }
    expect(wrongRow(given, 0, got)).toBeNull()
  },
)

/** Of two units the second has a tile at the start and some keys, and the first what lies between. */
const LOPSIDED: Drawn = {
  ...{ qLen: 128, kvLen: 1152, first: 16, units: 2 },
  blocks: Array.from({ length: 2 * HEADS }, () => []),
  keys: Array.from({ length: HEADS }, () => []),
  spans: Array.from({ length: 2 * HEADS }, (_, i) => (i % 2 === 0 ? [64, 1024] : [0, 64])),
  own: Array.from({ length: 2 * HEADS }, (_, i) => (i % 2 === 0 ? [] : [1050])),
}
test.each([0, 1, 2, 3])('a unit far behind the other, in order %i', { timeout: 120_000 }, async (order) => {
  expect(wrongRow(LOPSIDED, 4, await walked(driver, LOPSIDED, { order, slope: 4 }))).toBeNull()
})

const SPREADS = 'SPREADS = COLUMNS && RUN_SETS > 0;'

describe('a text over pairs that leaves out', () => {
  test.each<[about: string, from: string, to: string, wanted: RegExp]>([
    ['a pause', 'tell(book, teller, g, PAUSED);', '', /no thread can go on/],
    [
      'the stage of keys that are not its own',
      'giveBack(book->kEmpty[k.stage], owners);',
      '',
      /no thread can go on/,
    ],
    [
      'the stage of values that are not its own',
      'if (PAIRED && leads) giveBack',
      'if (false) giveBack',
      /no thread can go on/,
    ],
    [
      'which values are meant',
      'if (laneIndex() == 0) barrierWait(sharedAddress(&book->vFull[k.stage]), k.parity);',
      '',
      /still to bring/,
    ],
    ['what a pause leaves of the outputs', 'if (PAIRED) decayOutputs(first);', '', /row/],
    ['whose a run is', 'return PAIRED ? (int)(run >> 30) : 0;', 'return 3;', /row/],
    ['that it is done', 'if (!after.there) tellDone(book, teller);', '', /no thread can go on/],
  ])('%s', { timeout: 120_000 }, async (_, from, to, wanted) => {
    // The second unit's key comes last, and at once, since it is in pieces.
    const change = (code: string) => {
      const [changed, last] = [code.replace(from, to), code.replace(SPREADS, 'SPREADS = false;')]
      for (const text of [changed, last]) expect(text).not.toBe(code)
      return changed.replace(SPREADS, 'SPREADS = false;')
    }
    // A launch that fails leaves its device as it is.
    const alone = await openEmulation({ multiprocessors: 2, capability: { major: 9, minor: 0 } })
    const told = await walked(alone, LOPSIDED, { order: 0, slope: 4, change }).then(
      (got) => wrongRow(LOPSIDED, 4, got),
      (error: Error) => error.message,
    )
    alone.release()
    expect(told).toMatch(wanted)
  })
})
