/** Pattern files for the command line's tests, as text. */

export const BAND = `import { pattern, i32 } from 'heddle'
import { near } from './near.ts'

export const band = pattern({
  name: 'band',
  cite: 'none',
  params: { window: i32(24, { min: 1, max: 4096 }) },
  mask: ({ q, kv, window }) => kv <= q && near(q, kv, window),
})
`
export const NEAR = `export const near = (q: number, kv: number, window: number): boolean => q - kv < window\n`

export const TWO = `import { pattern, perHead, i32, table } from 'heddle'

export const spans = pattern({
  name: 'spans',
  params: { span: perHead(i32(16, { min: 0, max: 4096 })) },
  mask: ({ q, kv, span }) => kv <= q && q - kv <= span,
})

export const packed = pattern({
  name: 'packed',
  tables: { id: table('i32', ['kvLen']) },
  mask: ({ q, kv, id }) => kv <= q && id.at(q) === id.at(kv),
})
`

export const PICKS = `import { attend, blocks, dot, i32, pattern, pool, topK } from 'heddle'

export const picks = pattern({
  name: 'picks',
  consts: { block: 16 },
  params: { k: i32(4, { min: 1, max: 4096 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, block, k }) =>
    attend(Q, K, V, topK(dot(pool(Q, blocks(block), 'mean'), pool(K, blocks(block), 'mean')), k)),
})
`

/** What it weighs may be below 0, which only a run can tell. */
export const WEIGHS = `import { attend, blocks, dot, pattern, pool, topP } from 'heddle'

export const weighs = pattern({
  name: 'weighs',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => attend(Q, K, V, topP(dot(Q, pool(K, blocks(16), 'mean')), 0.9)),
})
`

/** It reads a table of rows by position, which is another thing where queries are fewer than keys. */
export const PLACES = `import { pattern, table } from 'heddle'
export const places = pattern({
  name: 'places',
  tables: { part: table('i32', ['qLen'], { min: 0, max: 9 }) },
  mask: ({ q, kv, part }) => kv <= q && part.at(q) < 5,
})
`

/** Its maps are of vectors of 8. */
export const MAPS = `import { attend, dot, linear, pattern, table, topK } from 'heddle'

export const maps = pattern({
  name: 'maps',
  consts: { rank: 8 },
  tables: { w: table('f32', ['head', 'rank', 'headDim']) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, w }) => attend(Q, K, V, topK(dot(linear(Q, w), linear(K, w)), 4)),
})
`

/** Its tiles are no kernel's. */
export const SKIPS = `import { attend, f32, pattern } from 'heddle'
export const skips = pattern({
  name: 'skips',
  params: { less: f32(2, { min: 0, max: 100 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, less }) =>
    attend(Q, K, V, undefined, {
      tile: { q: 24, kv: 24 },
      skip: ({ tileMax, rowMax }) => tileMax < rowMax - less,
    }),
})
`

/** Its author divides positions. */
export const DIVIDES = `import { pattern } from 'heddle'
export const chunked = pattern({ name: 'chunked', mask: ({ q, kv }) => q / 64 === kv / 64 })
`

export const SYNTAX = `import { pattern } from 'heddle'
export const broken = pattern({ name: 'broken', mask: ({ q, kv }) => kv <= })
`

export const NOTHING = `export const answer = 42\n`

/** It would be seen if it ran. */
export const LOUD = `import { pattern } from 'heddle'
process.env.HEDDLE_TEST_RAN = 'yes'
export const loud = pattern({ name: 'loud', mask: ({ q, kv }) => kv <= q })
`

/** What runs is not what is read: the check must find it. */
export const LIAR = `import { pattern } from 'heddle'
export const liar = pattern({ name: 'liar', mask: ({ q, kv }) => kv <= q })
Object.assign(liar, { mask: ({ q, kv }: { q: number; kv: number }) => kv <= q && kv !== 3 })
`

export const THROWS = `import { pattern } from 'heddle'
export const late = pattern({ name: 'late', mask: ({ q, kv }) => kv <= q })
throw new Error('not today')
`
