/** NaN and infinity in keys and values that a query does not attend: the result is what it is without them. */

import { afterAll, describe, expect, test } from 'vitest'
import { document, full } from '../patterns/index.ts'
import type { Tensor } from '../runtime/tensor.ts'
import { randomTensor } from '../runtime/testing/cases.ts'
import { Bench, compiled, DSL, openTestDevice, program, type Result } from './helpers.ts'

const opened = await openTestDevice()
const bench = opened && new Bench(opened)
afterAll(() => bench?.close())

describe.skipIf(!bench)('NaN and infinity do not leak', () => {
  const lab = bench!
  const length = 150

  /** Documents of uneven lengths: masked keys in visited tiles, and whole tiles not visited. */
  const ids = Int32Array.from({ length }, (_, i) => (i < 37 ? 0 : i < 101 ? 1 : 2))
  const { compiled: form } = program(`import { pattern, table } from '${DSL}'
    export const program = pattern({
      name: 'program',
      tables: { ids: table('i32', ['kvLen'], { min: 0, max: 2, monotone: true }) },
      mask: ({ q, kv, ids }) => kv <= q && ids.at(q) === ids.at(kv),
    })`)

  describe.each(['f32', 'f16'] as const)('%s', (dtype) => {
    const [q, k, v] = [4, 2, 2].map((heads, i) => randomTensor([1, heads, length, 8], dtype, i)) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const POISON = {
      NaN: [Number.NaN, 0x7e00],
      Infinity: [Infinity, 0x7c00],
      '-Infinity': [-Infinity, 0xfc00],
    } as const
    type Poison = keyof typeof POISON
    const poisoned = (t: Tensor, poison: Poison, rows: (row: number) => boolean): Tensor => {
      const data = t.data.slice()
      for (let row = 0; row < data.length / 8; row++) {
        if (rows(row % length)) data.fill(POISON[poison][dtype === 'f32' ? 0 : 1], row * 8, row * 8 + 8)
      }
      return { ...t, data }
    }

    test.each(Object.keys(POISON) as Poison[])(
      '%s in keys and values that no query attends',
      async (poison) => {
        const kernel = lab.kernel(form, { dtype })
        // Only the queries of the middle document are real, so the others' keys are masked for all of them.
        const call = { q, tables: { ids }, lengths: [{ qRow: 37, qLen: 64, qStart: 37 }] }
        const clean = await lab.run(kernel, { ...call, k, v })
        const elsewhere = (row: number) => ids[row] !== 1
        expect(await lab.run(kernel, { ...call, k: poisoned(k, poison, elsewhere), v })).toEqual(clean)
        expect(await lab.run(kernel, { ...call, k, v: poisoned(v, poison, elsewhere) })).toEqual(clean)
      },
    )

    test.each(Object.keys(POISON) as Poison[])(
      '%s in keys before a query and masked for it alone',
      async (poison) => {
        const kernel = lab.kernel(form, { dtype })
        const clean = await lab.run(kernel, { q, k, v, tables: { ids } })
        // The last key of a document is attended by one row only: every other row must not see it.
        const last = (row: number) => row === 36 || row === 149
        const rows = (r: Result) => [...r.lse].map((x, i) => (last(i % length) ? 0 : x))
        const outs = (r: Result) => r.out.map((x, i) => (last(Math.floor(i / 8) % length) ? 0 : x))
        for (const changed of [
          { k: poisoned(k, poison, last), v },
          { k, v: poisoned(v, poison, last) },
        ]) {
          const got = await lab.run(kernel, { q, tables: { ids }, ...changed })
          expect(rows(got)).toEqual(rows(clean))
          expect(outs(got)).toEqual(outs(clean))
        }
      },
    )

    test.each(Object.keys(POISON) as Poison[])(
      '%s in rows at or beyond kvLen, and before kvStart',
      async (poison) => {
        for (const pattern of [full, document]) {
          const kernel = lab.kernel(compiled(pattern), { dtype })
          const tables = pattern === document ? { docId: new Int32Array(length) } : {}
          const call = { q, tables, lengths: [{ kvStart: 11, kvLen: 70, qLen: 60 }] }
          const outside = (row: number) => row < 11 || row >= 81
          const clean = await lab.run(kernel, { ...call, k, v })
          const got = await lab.run(kernel, {
            ...call,
            k: poisoned(k, poison, outside),
            v: poisoned(v, poison, outside),
          })
          expect(got).toEqual(clean)
          expect([...clean.out].every(Number.isFinite)).toBe(true)
        }
      },
    )
  })
})
