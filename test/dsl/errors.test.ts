/** Every error of the DSL: a wrong declaration in, its code and whole text out. */

import { describe, expect, it } from 'vitest'
import { EXAMPLES, exampleParams } from '../../patterns/index.ts'
import { MESSAGES, type Code, describe as inWords } from '../../dsl/messages.ts'
import {
  and,
  f32,
  i32,
  not,
  or,
  pattern,
  PatternError,
  perHead,
  rename,
  table,
  type Pattern,
} from '../../dsl/index.ts'
import { STAGE_CASES } from './stage-errors.ts'

const mask = () => true
/** JavaScript callers have no types; these calls are theirs. */
const untyped = <A extends readonly unknown[]>(f: (...args: never[]) => unknown, ...args: A): unknown =>
  (f as (...args: A) => unknown)(...args)
const make = (fields: unknown) => untyped(pattern, fields)

const local = pattern({ name: 'local', params: { window: i32(8, { min: 1 }) }, mask })
const wide: Pattern = pattern({ name: 'wide-local', params: { window: i32(64, { min: 1 }) }, mask })
const capped = pattern({ name: 'capped', mask, score: (s) => s })

const CASES: Record<Code, readonly (readonly [attempt: () => unknown, text: string])[]> = {
  ...STAGE_CASES,
  'bad-record': [
    [
      () => make(undefined),
      "error[bad-record]: pattern() takes one record, got undefined\nhint: write `pattern({ name: 'my-pattern', mask: ({ q, kv }) => kv <= q })`",
    ],
    [
      () => make([]),
      "error[bad-record]: pattern() takes one record, got []\nhint: write `pattern({ name: 'my-pattern', mask: ({ q, kv }) => kv <= q })`",
    ],
  ],
  'unknown-field': [
    [
      () => make({ name: 'x', mask, param: {} }),
      'error[unknown-field]: a pattern has no field `param`; its fields are name, cite, consts, params, tables, mask, score, sinkLogit, forward',
    ],
  ],
  'bad-name': [
    [
      () => make({ mask }),
      "error[bad-name]: a pattern's `name` is lower-case words joined by hyphens, got undefined\nhint: write something like `name: 'sliding-window'`",
    ],
    [
      () => pattern({ name: 'Sliding Window', mask }),
      "error[bad-name]: a pattern's `name` is lower-case words joined by hyphens, got 'Sliding Window'\nhint: write something like `name: 'sliding-window'`",
    ],
    [
      () => rename(local, {}, 'a--b'),
      "error[bad-name]: a pattern's `name` is lower-case words joined by hyphens, got 'a--b'\nhint: write something like `name: 'sliding-window'`",
    ],
  ],
  'bad-cite': [[() => make({ name: 'x', mask, cite: 7 }), 'error[bad-cite]: `cite` is a text, got 7']],
  'bad-function': [
    [
      () => make({ name: 'x' }),
      'error[bad-function]: `mask` must be a function (ix) => boolean, got undefined',
    ],
    [
      () => make({ name: 'x', mask: local }),
      'error[bad-function]: `mask` must be a function (ix) => boolean, got a heddle/pattern',
    ],
    [
      () => make({ name: 'x', mask, score: 2 }),
      'error[bad-function]: `score` must be a function (s, ix) => number, got 2',
    ],
    [
      () => make({ name: 'x', mask, sinkLogit: null }),
      'error[bad-function]: `sinkLogit` must be a function (ix) => number, got null',
    ],
  ],
  'bad-section': [
    [
      () => make({ name: 'x', mask, params: [i32(1)] }),
      'error[bad-section]: `params` must be a record of names, got [a param]',
    ],
  ],
  'bad-identifier': [
    [
      () => pattern({ name: 'x', params: { 'my-window': i32(1) }, mask }),
      'error[bad-identifier]: `my-window` in params cannot be a name: a name is a letter followed by letters, digits or single underscores',
    ],
    [
      () => pattern({ name: 'x', consts: { a__b: 1 }, mask }),
      'error[bad-identifier]: `a__b` in consts cannot be a name: a name is a letter followed by letters, digits or single underscores',
    ],
    [
      () => rename(local, { window: '_w' }),
      'error[bad-identifier]: `_w` in params cannot be a name: a name is a letter followed by letters, digits or single underscores',
    ],
  ],
  'reserved-name': [
    [
      () => make({ name: 'x', mask, params: { kvLen: i32(1) } }),
      'error[reserved-name]: `kvLen` in params is the name of a field of the index record\nhint: call it something else, such as `myKvLen`',
    ],
    [
      () => make({ name: 'x', mask, consts: { q: 1 } }),
      'error[reserved-name]: `q` in consts is the name of a field of the index record\nhint: call it something else, such as `myQ`',
    ],
    [
      () => make({ name: 'x', mask, tables: { head: table('i32', ['head']) } }),
      'error[reserved-name]: `head` in tables is the name of a field of the index record\nhint: call it something else, such as `myHead`',
    ],
    [
      () => rename(local, { window: 'kv' }),
      'error[reserved-name]: `kv` in params is the name of a field of the index record\nhint: call it something else, such as `myKv`',
    ],
  ],
  'duplicate-name': [
    [
      () => make({ name: 'x', mask, consts: { block: 8 }, params: { block: i32(8) } }),
      'error[duplicate-name]: `block` stands in both consts and params; a mask could not tell them apart',
    ],
    [
      () => rename(pattern({ name: 'x', params: { a: i32(1), b: i32(2) }, mask }), { a: 'b' }),
      'error[duplicate-name]: `b` stands in both params and params; a mask could not tell them apart',
    ],
  ],
  'bad-const': [
    [
      () => pattern({ name: 'x', consts: { half: 0.5 }, mask }),
      'error[bad-const]: const `half` must be an integer within +-2^30, got 0.5\nhint: a value that is no integer belongs in params, as f32(..)',
    ],
    [
      () => make({ name: 'x', mask, consts: { block: '8' } }),
      "error[bad-const]: const `block` must be an integer within +-2^30, got '8'\nhint: a value that is no integer belongs in params, as f32(..)",
    ],
  ],
  'bad-param': [
    [
      () => make({ name: 'x', mask, params: { window: 8 } }),
      'error[bad-param]: param `window` must be made by i32(..), f32(..) or perHead(..), got 8',
    ],
    [
      () => make({ name: 'x', mask, params: { id: table('i32', ['kvLen']) } }),
      'error[bad-param]: param `id` must be made by i32(..), f32(..) or perHead(..), got a table',
    ],
  ],
  'bad-bound': [
    [() => i32(8, { min: 0.5 }), 'error[bad-bound]: i32: `min` must be an integer within +-2^30, got 0.5'],
    [
      () => i32(8, { max: 2 ** 31 }),
      'error[bad-bound]: i32: `max` must be an integer within +-2^30, got 2147483648',
    ],
    [
      () => f32(8, { max: Infinity }),
      'error[bad-bound]: f32: `max` must be a number within f32, got Infinity',
    ],
    [
      () => table('i32', ['head'], { min: -0.5 }),
      'error[bad-bound]: table of i32: `min` must be an integer within +-2^30, got -0.5',
    ],
    [
      () => table('f32', ['head'], { min: Number.NaN }),
      'error[bad-bound]: table of f32: `min` must be a number within f32, got NaN',
    ],
  ],
  'bad-default': [
    [
      () => i32(1.5),
      'error[bad-default]: i32: the default must be an integer from -1073741824 to 1073741824, got 1.5',
    ],
    [
      () => i32(0, { min: 1, max: 9 }),
      'error[bad-default]: i32: the default must be an integer from 1 to 9, got 0',
    ],
    [
      () => f32(Number.NaN, { min: 0, max: 1 }),
      'error[bad-default]: f32: the default must be a finite number from 0 to 1, got NaN',
    ],
    [
      () => untyped(i32, '8', { min: 0, max: 9 }),
      "error[bad-default]: i32: the default must be an integer from 0 to 9, got '8'",
    ],
  ],
  'bad-range': [
    [() => i32(5, { min: 9, max: 1 }), 'error[bad-range]: i32: `min` 9 lies above `max` 1'],
    [() => table('i32', ['head'], { min: 9, max: 1 }), 'error[bad-range]: table: `min` 9 lies above `max` 1'],
  ],
  'bad-per-head': [
    [
      () => untyped(perHead, 8),
      'error[bad-per-head]: perHead() takes what i32(..) or f32(..) gives, got 8\nhint: write `perHead(i32(1024, { min: 1 }))`',
    ],
    [
      () => perHead(perHead(i32(8))),
      'error[bad-per-head]: perHead() takes what i32(..) or f32(..) gives, got a param that is per head already\nhint: write `perHead(i32(1024, { min: 1 }))`',
    ],
  ],
  'bad-table': [
    [
      () => make({ name: 'x', mask, tables: { docId: ['kvLen'] } }),
      "error[bad-table]: table `docId` must be made by table(..), got ['kvLen']\nhint: write something like `docId: table('i32', ['batch', 'kvLen'])`",
    ],
  ],
  'bad-table-type': [
    [
      () => untyped(table, 'f16', ['head']),
      "error[bad-table-type]: table(): the type must be 'i32' or 'f32', got 'f16'",
    ],
  ],
  'bad-dims': [
    [
      () => table('f32', []),
      "error[bad-dims]: table(): dims must be a list of one to four axis names or positive integers, got []\nhint: write something like `table('f32', ['head', 32])`",
    ],
    [
      () => table('f32', ['head', 0]),
      "error[bad-dims]: table(): dims must be a list of one to four axis names or positive integers, got ['head', 0]\nhint: write something like `table('f32', ['head', 32])`",
    ],
    [
      () => untyped(table, 'f32', 'head'),
      "error[bad-dims]: table(): dims must be a list of one to four axis names or positive integers, got 'head'\nhint: write something like `table('f32', ['head', 32])`",
    ],
  ],
  'unknown-dim': [
    [
      () => make({ name: 'x', mask, consts: { size: 4 }, tables: { id: table('i32', ['kvlen']) } }),
      'error[unknown-dim]: table `id` has a dim `kvlen` that is no axis and no const; known are batch, head, kvHead, indexHead, qLen, kvLen, headDim, size',
    ],
  ],
  'bad-dim-const': [
    [
      () => pattern({ name: 'x', consts: { size: 0 }, tables: { id: table('i32', ['size']) }, mask }),
      'error[bad-dim-const]: table `id` has a dim `size`, a const of 0; a size is 1 or more',
    ],
  ],
  'bad-operand': [
    [() => untyped(and, local, mask), 'error[bad-operand]: and() takes patterns, got a function'],
    [() => untyped(or, local, null), 'error[bad-operand]: or() takes patterns, got null'],
    [() => untyped(not, {}), 'error[bad-operand]: not() takes patterns, got an object'],
    [() => untyped(rename, mask, {}), 'error[bad-operand]: rename() takes patterns, got a function'],
  ],
  'too-few-operands': [
    [() => untyped(and, local), 'error[too-few-operands]: and() takes two patterns or more, got 1'],
  ],
  'param-clash': [
    [
      () => and(local, pattern({ name: 'x', consts: { window: 8 }, mask })),
      "error[param-clash]: patterns `local` and `x` both declare `window`, but differently\nhint: give one of them another name: `rename(x, { window: 'xWindow' })`",
    ],
    [
      () => and(local, wide),
      "error[param-clash]: patterns `local` and `wide-local` both declare `window`, but differently\nhint: give one of them another name: `rename(wideLocal, { window: 'wideLocalWindow' })`",
    ],
    [
      () =>
        or(pattern({ name: 'a', consts: { n: 1 }, mask }), pattern({ name: 'b', consts: { n: 2 }, mask })),
      "error[param-clash]: patterns `a` and `b` both declare `n`, but differently\nhint: give one of them another name: `rename(b, { n: 'bN' })`",
    ],
    [
      () =>
        or(
          pattern({ name: 'a', tables: { t: table('i32', ['head']) }, mask }),
          pattern({ name: 'b', tables: { t: table('i32', ['kvHead']) }, mask }),
        ),
      "error[param-clash]: patterns `a` and `b` both declare `t`, but differently\nhint: give one of them another name: `rename(b, { t: 'bT' })`",
    ],
  ],
  'score-clash': [
    [
      () => and(local, capped, capped),
      'error[score-clash]: patterns `capped` and `capped` both have a `score`; at most one may\nhint: write one pattern whose function does both, and combine that one',
    ],
    [
      () =>
        or(
          pattern({ name: 'a', mask, sinkLogit: () => 0 }),
          pattern({ name: 'b', mask, sinkLogit: () => 0 }),
        ),
      'error[score-clash]: patterns `a` and `b` both have a `sinkLogit`; at most one may\nhint: write one pattern whose function does both, and combine that one',
    ],
  ],
  'bad-renames': [
    [
      () => untyped(rename, local, 'window'),
      "error[bad-renames]: rename() takes a record of old and new names, got 'window'\nhint: write `rename(slidingWindow, { window: 'reach' })`",
    ],
    [
      () => untyped(rename, local, { window: 3 }),
      "error[bad-renames]: rename() takes a record of old and new names, got an object\nhint: write `rename(slidingWindow, { window: 'reach' })`",
    ],
  ],
  'no-example': [
    [
      () => exampleParams('toString', 1),
      `error[no-example]: the library has no pattern \`toString\` and so no example of it; it has ${Object.keys(EXAMPLES).join(', ')}`,
    ],
  ],
  'rename-unknown': [
    [
      () => untyped(rename, local, { windw: 'reach' }),
      'error[rename-unknown]: pattern `local` has no param, const or table `windw`; it has window',
    ],
    [
      () => untyped(rename, capped, { window: 'reach' }),
      'error[rename-unknown]: pattern `capped` has no param, const or table `window`; it has none',
    ],
  ],
}

describe.each(Object.entries(CASES))('%s', (code, cases) => {
  it.each(cases)('case %#', (attempt, text) => {
    let thrown: unknown
    try {
      attempt()
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(PatternError)
    const error = thrown as PatternError
    expect({ code: error.code, name: error.name, text: error.message }).toEqual({
      code,
      name: 'PatternError',
      text,
    })
    expect(error.hint).toBe(text.includes('\nhint: ') ? text.split('\nhint: ')[1] : null)
  })
})

it('has a case for every code, and every code is thrown', () => {
  expect(Object.keys(CASES).toSorted()).toEqual(Object.keys(MESSAGES).toSorted())
  for (const cases of Object.values(CASES)) expect(cases.length).toBeGreaterThan(0)
})

it('describes what it found', () => {
  expect([undefined, null, 1n, true, {}, [1, 'a'], () => 0, i32(1)].map(inWords)).toEqual([
    'undefined',
    'null',
    '1',
    'true',
    'an object',
    "[1, 'a']",
    'a function',
    'a param',
  ])
})
