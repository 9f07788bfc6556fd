/** Random programs: generated mask and score source, compiled and run, equals the same source run as TypeScript. */

import { afterAll, describe, expect, test } from 'vitest'
import { DSL, openTestDevice } from './helpers.ts'
import { checkProgram, checkText } from './program-check.ts'

const PROGRAMS = 160
const CHUNK = 10
const CASES = 5
/** Programs of seeds SEED, SEED + 1, ..: the same ones in every run; `npm run fuzz` goes on with others. */
const SEED = 1

const opened = await openTestDevice()
afterAll(() => opened?.close())

describe.skipIf(!opened)('random programs', () => {
  const chunks = Array.from({ length: PROGRAMS / CHUNK }, (_, i) => SEED + i * CHUNK)

  test.each(chunks)(
    `compile, and equal their TypeScript: ${CHUNK} from seed %i`,
    { timeout: 120_000 },
    async (first) => {
      for (let seed = first; seed < first + CHUNK; seed++) {
        const { failure } = await checkProgram(opened!.device, seed, CASES)
        expect(failure).toBeNull()
      }
    },
  )

  // A branch in a helper that is inlined for each of a thread's pairs once kept a software driver busy for minutes.
  test('a program of many bit conditions builds in time', { timeout: 30_000 }, async () => {
    const text = `import { i32, isPow2, mod, pattern } from '${DSL}'
      const OFFSETS = [3, 0, 17, 40, -5]
      export const program = pattern({
        name: 'program',
        params: { limit: i32(13, { min: 1, max: 16 }), turn: i32(0, { min: 0, max: 1 }) },
        mask: ({ q, kv, limit, turn }) => {
          if (turn === 1) return isPow2(kv + q)
          if (q - kv < limit) return mod(q, 24) === mod(kv, 24)
          return isPow2(kv <= q || q > OFFSETS[mod(kv, 5)]! ? kv << 3 : kv)
        },
      })`
    expect(await checkText(opened!.device, text, 1, CASES)).toBeNull()
  })

  // Without parentheses WGSL reads `f(kv < a, b >> 1u)` as a template `kv<a, b>`.
  test('comparisons and shifts in one list of arguments', async () => {
    const text = `import { floorDiv, i32, pattern, perHead, table } from '${DSL}'
      export const program = pattern({
        name: 'program',
        params: { limit: perHead(i32(30, { min: 1, max: 1048576 })), offset: i32(3, { min: 0, max: 200 }) },
        tables: { ids: table('i32', ['head', 8], { min: 0, max: 40 }) },
        mask: ({ q, kv, head, limit, offset, ids }) => {
          if (ids.at(head, q) <= 2) return q > -16
          if (q - kv < limit) return true
          return (kv < offset || kv <= q ? kv - 14 : floorDiv(q, 2)) < kv
        },
      })`
    expect(await checkText(opened!.device, text, 1, CASES)).toBeNull()
  })
})
