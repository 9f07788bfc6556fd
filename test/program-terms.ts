/** Random terms of a pattern: choices in, the text of integer expressions and conditions out, with what they use. */

import type { Draw } from '../runtime/testing/draw.ts'

/** What a generated expression is: its text, and bounds that the language must be able to prove. */
export interface Int {
  readonly text: string
  readonly lo: number
  readonly hi: number
}

export interface Declared {
  readonly name: string
  readonly spec: string
}

/** What a file has declared so far, and the words of the DSL that it uses. */
export interface File {
  readonly words: Set<string>
  readonly params: Declared[]
  readonly tables: Declared[]
  readonly consts: Declared[]
  readonly top: string[]
  readonly helpers: Set<string>
}

/** Names that an expression may use: fields of the index record, loop counters, local constants, a helper's arguments. */
export interface Scope {
  readonly file: File
  readonly ints: readonly Int[]
  readonly fields: Set<string>
}

const LONGEST = 2 ** 22
const LARGEST = 2 ** 31 - 1
const WIDEST = 2 ** 30
const HEADS = 2 ** 16

const FIELDS: readonly Int[] = [
  { text: 'kv', lo: 0, hi: LONGEST - 1 },
  { text: 'q', lo: -LONGEST, hi: LONGEST - 1 },
  { text: 'kvLen', lo: 0, hi: LONGEST },
  { text: 'qLen', lo: 0, hi: LONGEST },
  { text: 'head', lo: 0, hi: HEADS - 1 },
  { text: 'kvHead', lo: 0, hi: HEADS - 1 },
  { text: 'batch', lo: 0, hi: HEADS - 1 },
  { text: 'qHeads', lo: 1, hi: HEADS },
  { text: 'kvHeads', lo: 1, hi: HEADS },
  { text: 'headDim', lo: 1, hi: 4096 },
]

const fits = (e: Int): boolean => e.lo >= -LARGEST - 1 && e.hi <= LARGEST
const hull = (values: readonly number[]): [number, number] => [Math.min(...values), Math.max(...values)]
const corners = (a: Int, b: Int, f: (x: number, y: number) => number): [number, number] =>
  hull([f(a.lo, b.lo), f(a.lo, b.hi), f(a.hi, b.lo), f(a.hi, b.hi)])
const made = (text: string, [lo, hi]: readonly [number, number]): Int => ({ text, lo: lo + 0, hi: hi + 0 })
const literal = (n: number): Int => ({ text: n < 0 ? `(${n})` : String(n), lo: n, hi: n })

const isLiteral = ({ text }: Int): boolean => /^\(?-?\d+\)?$/.test(text)

export function word(s: Scope, name: string): string {
  s.file.words.add(name)
  return name
}

function field(d: Draw, s: Scope): Int {
  const roll = d.choose(10)
  const e = roll < 4 ? FIELDS[0]! : roll < 8 ? FIELDS[1]! : d.pick(FIELDS)
  s.fields.add(e.text)
  return e
}

const PARAM_NAMES = ['window', 'stride', 'limit', 'offset', 'span', 'period'] as const

/** A declared integer param, or one made for the occasion. Positive ones may divide. */
function param(d: Draw, s: Scope, positive: boolean): Int {
  const known = s.file.params.length
  const name = PARAM_NAMES[known]
  if (name === undefined) return literal(positive ? d.int(1, 9) : d.int(-9, 9))
  const bounds = positive
    ? d.pick([
        { lo: 1, hi: 16 },
        { lo: 1, hi: 1 << 20 },
      ])
    : d.pick([
        { lo: 0, hi: 200 },
        { lo: -64, hi: 64 },
        { lo: -WIDEST, hi: WIDEST },
      ])
  const value = d.smallInt(Math.max(bounds.lo, -60), Math.min(bounds.hi, 60))
  const range = bounds.hi === WIDEST ? '' : `, { min: ${bounds.lo}, max: ${bounds.hi} }`
  const i32 = `${word(s, 'i32')}(${value}${range})`
  const spec = d.oneIn(4) ? `${word(s, 'perHead')}(${i32})` : i32
  s.file.params.push({ name, spec })
  s.fields.add(name)
  return { text: name, ...bounds }
}

/** A whole number made from a float param and a length: a uniform that the runtime derives. */
function derived(d: Draw, s: Scope): Int {
  if (!s.file.params.some((p) => p.name === 'share')) {
    const spec = `${word(s, 'f32')}(${d.int(0, 16) / 16}, { min: 0, max: 1 })`
    s.file.params.push({ name: 'share', spec: d.oneIn(3) ? `${word(s, 'perHead')}(${spec})` : spec })
  }
  s.fields.add('share').add('kvLen')
  const rounding = d.pick(['Math.floor', 'Math.ceil'])
  return { text: `${rounding}(share * kvLen)`, lo: -WIDEST, hi: WIDEST }
}

function load(d: Draw, s: Scope, depth: number): Int {
  const i32 = `'i32'`
  const make = (name: string, dims: string, index: string): Int => {
    if (!s.file.tables.some((t) => t.name === name)) {
      const bounds = name === 'starts' ? '{ monotone: true }' : '{ min: 0, max: 40 }'
      s.file.tables.push({ name, spec: `${word(s, 'table')}(${i32}, ${dims}, ${bounds})` })
    }
    s.fields.add(name)
    const wide = name === 'starts'
    return { text: `${name}.at(${index})`, lo: wide ? -WIDEST : 0, hi: wide ? WIDEST : 40 }
  }
  switch (d.choose(5)) {
    case 0:
      return make('ids', `['kvLen']`, index(d, s, depth))
    case 1:
      return make('starts', `['kvLen']`, index(d, s, depth))
    case 2: {
      s.fields.add('head')
      return make('perHeadIds', `['head', 8]`, `head, ${index(d, s, depth)}`)
    }
    case 3: {
      s.fields.add('batch')
      return make('batchIds', `['batch', 'kvLen']`, `batch, ${index(d, s, depth)}`)
    }
    default: {
      s.fields.add('q').add('kvLen').add('qLen')
      return make('rows', `['qLen']`, 'q - (kvLen - qLen)')
    }
  }
}

/** What a table is read at: often a position, sometimes out of range. */
function index(d: Draw, s: Scope, depth: number): string {
  if (d.oneIn(3)) return int(d, s, depth - 1).text
  const e = d.pick([FIELDS[0]!, FIELDS[1]!])
  s.fields.add(e.text)
  return e.text
}

/** Something that is surely positive: a constant or a param. */
function divisor(d: Draw, s: Scope): Int {
  return d.oneIn(3) ? param(d, s, true) : literal(d.pick([2, 3, 4, 5, 7, 8, 16, 24, 64, 1]))
}

function arithmetic(d: Draw, s: Scope, depth: number): Int {
  const a = int(d, s, depth - 1)
  const b = () => int(d, s, depth - 1)
  const call = (name: string, ...args: readonly Int[]) =>
    `${word(s, name)}(${args.map((x) => x.text).join(', ')})`
  const full: readonly [number, number] = [-LARGEST - 1, LARGEST]
  switch (d.choose(20)) {
    case 0: {
      const y = b()
      return made(`(${a.text} - ${y.text})`, [a.lo - y.hi, a.hi - y.lo])
    }
    case 1: {
      const y = b()
      return made(`(${a.text} + ${y.text})`, [a.lo + y.lo, a.hi + y.hi])
    }
    case 2: {
      const y = divisor(d, s)
      return made(
        call('floorDiv', a, y),
        corners(a, y, (m, n) => Math.floor(m / n)),
      )
    }
    case 3: {
      const y = divisor(d, s)
      return made(call('mod', a, y), [0, y.hi - 1])
    }
    case 4: {
      const y = d.oneIn(3) ? b() : literal(d.int(-5, 9))
      return made(
        `(${a.text} * ${y.text})`,
        corners(a, y, (m, n) => m * n),
      )
    }
    case 5: {
      const y = b()
      return made(call('min', a, y), [Math.min(a.lo, y.lo), Math.min(a.hi, y.hi)])
    }
    case 6: {
      const y = b()
      return made(call('max', a, y), [Math.max(a.lo, y.lo), Math.max(a.hi, y.hi)])
    }
    case 7:
      return made(call('abs', a), [0, Math.max(-a.lo, a.hi)])
    case 8: {
      const lo = d.int(-8, 32)
      const hi = lo + d.int(0, 64)
      return made(call('clamp', a, literal(lo), literal(hi)), [lo, hi])
    }
    case 9: {
      const y = divisor(d, s)
      return made(`(${a.text} % ${y.text})`, [1 - y.hi, y.hi - 1])
    }
    case 10: {
      const y = literal(d.pick([1, 7, 63, 6, 255]))
      return made(`(${a.text} & ${y.text})`, [0, y.hi])
    }
    case 11: {
      const y = b()
      return made(`(${a.text} ${d.pick(['|', '^', '&'])} ${y.text})`, full)
    }
    case 12:
      return made(`(~${a.text})`, [-1 - a.hi, -1 - a.lo])
    case 13: {
      const k = d.int(0, 6)
      return made(`(${a.text} << ${k})`, [a.lo * 2 ** k, a.hi * 2 ** k])
    }
    case 14: {
      const k = d.int(0, 8)
      return made(`(${a.text} >> ${k})`, [Math.floor(a.lo / 2 ** k), Math.floor(a.hi / 2 ** k)])
    }
    case 15:
      return made(`(${a.text} >>> ${d.int(1, 31)})`, [0, LARGEST])
    case 16:
      return made(call(d.pick(['popcount', 'log2Floor']), a), [-1, 32])
    case 17:
      return made(call('hash', ...d.pick([[a], [a, b()], [a, b(), literal(d.int(0, 9))]])), [0, LARGEST])
    case 18: {
      const [x, y] = [isLiteral(a) ? field(d, s) : a, b()]
      return made(`(${bool(d, s, depth - 1)} ? ${x.text} : ${y.text})`, hull([x.lo, x.hi, y.lo, y.hi]))
    }
    default:
      return made(`(-${a.text})`, [-a.hi, -a.lo])
  }
}

/** A whole-number expression that provably stays inside int32. */
export function int(d: Draw, s: Scope, depth: number): Int {
  if (depth > 0 && d.choose(3) > 0) {
    const e = arithmetic(d, s, depth)
    if (fits(e)) return e
  }
  const roll = d.choose(16)
  if (roll < 9) return s.ints.length > 0 && roll >= 6 ? d.pick(s.ints) : field(d, s)
  if (roll < 11) return literal(d.smallInt(-70, 130))
  if (roll < 13) return param(d, s, false)
  if (roll === 13) return constant(d, s, depth)
  if (roll === 14) return derived(d, s)
  return load(d, s, depth)
}

/** A module constant, a const of the pattern, or an element of a constant array. */
function constant(d: Draw, s: Scope, depth: number): Int {
  const { file } = s
  switch (d.choose(3)) {
    case 0: {
      // A literal's own type would make TypeScript refuse a comparison with another literal.
      const size = 'const SIZE: number = 24'
      if (!file.top.includes(size)) file.top.push(size)
      return { text: 'SIZE', lo: 24, hi: 24 }
    }
    case 1: {
      if (!file.consts.some((c) => c.name === 'block')) file.consts.push({ name: 'block', spec: '16' })
      s.fields.add('block')
      return { text: 'block', lo: 16, hi: 16 }
    }
    default: {
      const array = 'const OFFSETS = [3, 0, 17, 40, -5]'
      if (!file.top.includes(array)) file.top.push(array)
      const at = int(d, s, depth - 2)
      return { text: `OFFSETS[${word(s, 'mod')}(${at.text}, 5)]!`, lo: -5, hi: 40 }
    }
  }
}

export function bool(d: Draw, s: Scope, depth: number): string {
  if (depth > 0) {
    switch (d.choose(12)) {
      case 0:
      case 1:
        return `(${bool(d, s, depth - 1)} && ${bool(d, s, depth - 1)})`
      case 2:
      case 3:
        return `(${bool(d, s, depth - 1)} || ${bool(d, s, depth - 1)})`
      case 4:
        return `!${bool(d, s, depth - 1)}`
      case 5:
        return `(${bool(d, s, depth - 1)} ? ${bool(d, s, depth - 1)} : ${bool(d, s, depth - 1)})`
      case 6:
        return helper(d, s, depth)
      case 7:
        return `${word(s, 'isPow2')}(${int(d, s, depth).text})`
    }
  }
  return atom(d, s, depth)
}

/** A comparison: half of the time one that patterns are made of. */
export function atom(d: Draw, s: Scope, depth: number): string {
  const pos = () => {
    s.fields.add('q').add('kv')
  }
  switch (d.choose(14)) {
    case 0:
    case 1:
      pos()
      return '(kv <= q)'
    case 2:
    case 3:
      pos()
      return `(q - kv < ${param(d, s, d.oneIn(2)).text})`
    case 4:
      s.fields.add('kv')
      return `(kv < ${param(d, s, false).text})`
    case 5: {
      pos()
      const b = divisor(d, s).text
      const f = word(s, d.pick(['floorDiv', 'mod']))
      return `(${f}(q, ${b}) ${d.pick(['===', '>=', '!=='])} ${f}(kv, ${b}))`
    }
    case 6: {
      pos()
      return `(${word(s, 'mod')}(q - kv, ${divisor(d, s).text}) === 0)`
    }
    default: {
      const [a, b] = [int(d, s, depth), int(d, s, depth)]
      const left = isLiteral(a) && isLiteral(b) ? field(d, s) : a
      return `(${left.text} ${d.pick(['<', '<=', '>', '>=', '===', '!=='])} ${b.text})`
    }
  }
}

/** A call of a helper function, which is written at the top of the file. */
function helper(d: Draw, s: Scope, depth: number): string {
  const args: Int[] = [
    { text: 'a', lo: -LONGEST, hi: LONGEST },
    { text: 'b', lo: -LONGEST, hi: LONGEST },
  ]
  // The body reads its arguments only.
  const inner: Scope = { file: s.file, ints: args, fields: new Set() }
  const name = `near${s.file.helpers.size}`
  s.file.helpers.add(name)
  const difference = made('(a - b)', [-2 * LONGEST, 2 * LONGEST])
  const left = d.pick([difference, args[0]!, args[1]!])
  const bound = literal(d.int(-20, 60))
  const m = literal(d.pick([2, 3, 8, 32]))
  const body = d.pick([
    `return a - b < ${bound.text}`,
    `return ${word(inner, 'floorDiv')}(a, ${m.text}) === ${word(inner, 'floorDiv')}(b, ${m.text})`,
    `const gap = ${left.text}\n  if (gap < ${bound.text}) return ${word(inner, 'mod')}(gap, ${m.text}) === 0\n  return gap > ${bound.hi + 7}`,
    `for (let i = 0; i < ${m.text}; i++) {\n    if (${left.text} === i * ${m.hi + 1}) return true\n  }\n  return false`,
    `if (${word(inner, 'abs')}(${left.text}) <= ${bound.text}) {\n    return true\n  } else {\n    return a > b\n  }`,
  ])
  const [x, y] = [int(d, s, depth - 1), int(d, s, depth - 1)].map((e) => {
    if (e.lo >= -LONGEST && e.hi <= LONGEST) return e
    return made(`${word(s, 'clamp')}(${e.text}, -4194304, 4194304)`, [-LONGEST, LONGEST])
  }) as [Int, Int]
  s.file.top.push(
    d.oneIn(2)
      ? `const ${name} = (a: number, b: number): boolean => {\n  ${body}\n}`
      : `function ${name}(a: number, b: number): boolean {\n  ${body}\n}`,
  )
  return `${name}(${x.text}, ${y.text})`
}
