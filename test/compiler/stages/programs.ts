/** Random forward programs: choices in, the text of a pattern file out. Small units, so that all of them are met. */

import type { Draw } from '../../../runtime/testing/draw.ts'
import { PROGRAM_NAME } from '../../programs.ts'

/** Text of scores with the axes that it has, so that what is made of it fits. */
interface Scores {
  readonly text: string
  readonly q: number
  readonly kv: number
  readonly share: 'head' | 'kvHead' | 'request'
}

const BLOCKS = [2, 4, 8] as const
const units = (size: number): string => (size === 1 ? 'h.tokens' : `h.blocks(${size})`)
const coarser = (d: Draw, size: number): number => d.pick([1, 2, 4, 8, 16].filter((n) => n % size === 0))

/** Rows of a side, pooled to blocks or as they are, and changed element by element. */
function rows(d: Draw, of: 'Q' | 'K'): { readonly text: string; readonly size: number } {
  const size = d.pick([1, ...BLOCKS])
  const how = d.pick(['mean', 'sum', 'max'])
  const cut = size === 1 ? of : `h.pool(${of}, h.blocks(${size}), '${how}')`
  const changed = d.oneIn(3)
    ? `h.map(${cut}, (x, c) => ${d.pick(['h.max(x, 0)', 'x * 0.5 + c * 0.25'])})`
    : cut
  return { text: d.oneIn(4) ? `h.quantize(${changed}, '${d.pick(['int8', 'sign'])}')` : changed, size }
}

function dot(d: Draw): Scores {
  const [q, kv] = [rows(d, 'Q'), rows(d, 'K')]
  const visible = d.pick(['any', 'any', 'all', 'off'])
  return {
    text: `h.dot(${q.text}, ${kv.text}, { scale, visible: '${visible}' })`,
    q: q.size,
    kv: kv.size,
    share: 'head',
  }
}

const CELLS = [
  's * 2 - 0.25',
  's + (kv.first === 0 ? 1 : 0)',
  's + (q.last - kv.first) * 0.125',
  'h.floorDiv(q.index, 2) === kv.index ? 1 : s',
  'kv.length > 1 ? s : -Infinity',
  'Math.exp(h.min(s, 3)) - head * 0.5',
  'h.mod(kv.first, 3) === 1 ? s : s - weight',
] as const

function scores(d: Draw, depth: number): Scores {
  if (depth === 0) return dot(d)
  const s = scores(d, depth - 1)
  switch (d.choose(5)) {
    case 0:
      return { ...s, text: `h.map(${s.text}, (s, { q, kv, head }) => ${d.pick(CELLS)})` }
    case 1:
      return { ...s, text: `h.softmax(${s.text})` }
    case 2: {
      const [q, kv] = [coarser(d, s.q), coarser(d, s.kv)]
      const to = `{ q: ${units(q)}, kv: ${units(kv)} }`
      const of = d.oneIn(3) ? `, ({ kv, into }) => kv.first < into.kv.first + ${1 + d.choose(3)}` : ''
      return { ...s, q, kv, text: `h.pool(${s.text}, ${to}, '${d.pick(['sum', 'mean', 'max'])}'${of})` }
    }
    case 3: {
      if (s.share !== 'head') return s
      const share = d.pick(['kvHead', 'request'] as const)
      return { ...s, share, text: `h.pool(${s.text}, { share: '${share}' }, '${d.pick(['sum', 'max'])}')` }
    }
    default: {
      const limit = d.pick(['q - kv < 7', 'kv < 9', 'h.mod(q + kv, 2) === 0'])
      return { ...s, text: `h.within(${s.text}, h.where(({ q, kv }) => ${limit}))` }
    }
  }
}

const FORCES = ['kv.index === 0', 'kv.last >= q.first', 'kv.first === q.first || kv.index < 2'] as const

/** A set of tokens or blocks, and algebra over such. */
function set(d: Draw, depth: number): string {
  if (depth > 0 && d.oneIn(2)) {
    const word = d.pick(['union', 'intersect', 'difference'])
    return `h.${word}(${set(d, depth - 1)}, ${set(d, depth - 1)})`
  }
  const s = scores(d, d.choose(3))
  // A list over tokens on both sides has no bound that a buffer could have, but for a choice of a fixed number.
  const fine = s.q === 1 && s.kv === 1
  switch (fine ? d.choose(2) : d.choose(5)) {
    case 0: {
      const force = fine || d.oneIn(2) ? '' : `, { force: ({ q, kv }) => ${d.pick(FORCES)} }`
      return `h.topK(${s.text}, ${d.pick(['count', '2'])}${force})`
    }
    case 1:
      return `h.where(({ q, kv }) => ${d.pick(['q - kv < span', 'kv < 3', 'h.floorDiv(q, 4) === h.floorDiv(kv, 4)'])})`
    case 2:
      return `h.topP(h.softmax(${s.text}), ${d.pick(['0.5', 'mass'])}, { cross: '${d.pick(['keep', 'drop'])}' })`
    case 3:
      return `h.where(${s.text}, (s) => s > ${d.pick(['0', '0.125', 'weight'])})`
    default:
      return `h.pool(h.where(${s.text}, (s) => s > 0), { q: ${units(coarser(d, s.q))} }, '${d.pick(['any', 'all'])}')`
  }
}

export function forwardProgram(d: Draw): string {
  const [first, second] = [set(d, 2), set(d, 1)]
  const result = d.pick([
    'h.attend(Q, K, V, first)',
    'h.attend(Q, K, V, second, { after: h.attend(Q, K, V, first) })',
    'h.gated([h.attend(Q, K, V, first), () => 0.5], [h.attend(Q, K, V, second), ({ head, q }) => 0.25 * head + q])',
    'span > 3 ? h.attend(Q, K, V, first) : h.attend(Q, K, V, second)',
    'h.attend(Q, K, V, h.union(first, second), { bias: ({ kv }) => 0.125 * kv.index })',
  ])
  return `import * as h from 'heddle'

export const ${PROGRAM_NAME} = h.pattern({
  name: '${PROGRAM_NAME}',
  params: {
    count: h.i32(${1 + d.choose(4)}, { min: 1, max: 64 }),
    span: h.i32(${1 + d.choose(8)}, { min: 0, max: 64 }),
    mass: h.f32(0.75, { min: 0, max: 1 }),
    weight: h.f32(0.5, { min: -4, max: 4 }),
  },
  mask: ({ q, kv }) => ${d.pick(['kv <= q', 'kv <= q && q - kv < 17', 'true'])},
  forward: ({ Q, K, V, scale, count, span, mass, weight }) => {
    const first = ${first}
    const second = ${second}
    return ${result}
  },
})
`
}
