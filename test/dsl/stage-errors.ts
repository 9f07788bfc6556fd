/** Every error of the forward words: a wrong program's step, its code and whole text. */

import {
  argsort,
  attend,
  blocks,
  channels,
  chunks,
  clusters,
  concat,
  count,
  difference,
  dot,
  gated,
  i32,
  linear,
  map,
  merge,
  pattern,
  permute,
  pool,
  quantize,
  range,
  residues,
  reuse,
  rope,
  rows,
  skew,
  slice,
  softmax,
  split,
  tokens,
  topK,
  topP,
  union,
  values,
  where,
  whole,
  windows,
  within,
} from '../../dsl/index.ts'
import { runForward } from '../../dsl/stages/evaluate.ts'
import { tableFrom, valuesOf } from './stage-values.ts'

const mask = () => true
const untyped = <A extends readonly unknown[]>(f: (...args: never[]) => unknown, ...args: A): unknown =>
  (f as (...args: A) => unknown)(...args)

const v = valuesOf({ qLen: 8, kvLen: 8, indexHeads: 3 })
const other = valuesOf({ qLen: 8, kvLen: 8 })
const { Q, K, V } = v
const scores = dot(Q, K)
const bars = pool(K, blocks(4), 'mean')
const byBlock = topK(dot(Q, bars), 1)
const index = { ...Q, share: 'indexHead' as const, vectors: [...Q.vectors, Q.vectors[0]!] }
const reversed = argsort(values(K, (t) => -t.first))
const shuffled = argsort(values(K, (t) => (t.first * 5) % 8))

export const STAGE_CASES = {
  'reserved-input': [
    [
      () => pattern({ name: 'x', params: { scale: i32(1) }, mask, forward: () => attend(Q, K, V) }),
      'error[reserved-input]: `scale` in params is the name of a value that every forward program gets\nhint: call it something else, such as `myScale`',
    ],
    [
      () => pattern({ name: 'x', tables: { V: rows('kv', 'head') }, mask, forward: () => attend(Q, K, V) }),
      'error[reserved-input]: `V` in tables is the name of a value that every forward program gets\nhint: call it something else, such as `myV`',
    ],
  ],
  'bad-rows': [
    [
      () => untyped(rows, 'k', 'head'),
      "error[bad-rows]: rows(): takes a side ('q' or 'kv'), who shares them ('head', 'kvHead', 'request' or 'indexHead') and, if not 'token', the grain 'whole'; got 'k', 'head', 'token'\nhint: write something like `qIndex: rows('q', 'indexHead')`",
    ],
    [
      () => untyped(rows, 'q', 'heads', 'block'),
      "error[bad-rows]: rows(): takes a side ('q' or 'kv'), who shares them ('head', 'kvHead', 'request' or 'indexHead') and, if not 'token', the grain 'whole'; got 'q', 'heads', 'block'\nhint: write something like `qIndex: rows('q', 'indexHead')`",
    ],
  ],
  'bad-value': [
    [() => untyped(topK, K, 1), 'error[bad-value]: topK() takes scores here, got a rows'],
    [
      () => untyped(pool, K, 64, 'mean'),
      'error[bad-value]: pool() takes a grouping such as blocks(64) here, got 64',
    ],
    [() => untyped(attend, Q, K, V, scores), 'error[bad-value]: attend() takes a set here, got a scores'],
    [() => untyped(map, scores, 3), 'error[bad-value]: map() takes a function here, got 3'],
    [
      () => untyped(merge, gated([attend(Q, K, V), () => 1])),
      'error[bad-value]: merge() takes a state of attend() here, got a output',
    ],
    [() => untyped(gated), 'error[bad-value]: gated() takes a state of attend() here, got nothing'],
  ],
  'bad-size': [
    [() => blocks(0), 'error[bad-size]: blocks(): `size` must be a whole number from 1, got 0'],
    [() => windows(4, 1.5), 'error[bad-size]: windows(): `step` must be a whole number from 1, got 1.5'],
    [
      () => residues(Number.NaN),
      'error[bad-size]: residues(): `step` must be a whole number from 1, got NaN',
    ],
    [
      () => attend(Q, K, V, undefined, { tile: { q: 4, kv: 0 }, skip: () => false }),
      'error[bad-size]: attend(): `tile.kv` must be a whole number from 1, got 0',
    ],
    [
      () =>
        split(
          range(tokens, () => [0, 4]),
          { parts: 0 },
        ),
      'error[bad-size]: split(): `parts` must be a whole number from 1, got 0',
    ],
  ],
  'bad-slice': [
    [
      () => slice(Q, 0, undefined, -1),
      'error[bad-slice]: slice(): start and end must be whole numbers and step one from 1, got 0, undefined, -1',
    ],
  ],
  'bad-span': [
    [
      () =>
        within(
          scores,
          range(tokens, () => [0, 0.5]),
        ),
      "error[bad-span]: range(): a span's bounds must be whole numbers, got [0, 0.5]",
    ],
  ],
  'bad-chunks': [
    [
      () => pool(K, chunks(tableFrom([3], [3], [4, 2, 8])), 'mean'),
      'error[bad-chunks]: chunks(): ends must not decrease, but 4 is followed by 2 at chunk 1',
    ],
  ],
  'bad-rope': [
    [
      () => rope(Q, undefined, { width: 3 }),
      'error[bad-rope]: rope(): needs an even width within the 4 channels, a base above 0 and finite positions; got width 3, base 10000, position 0',
    ],
    [
      () => rope(Q, () => Number.NaN),
      'error[bad-rope]: rope(): needs an even width within the 4 channels, a base above 0 and finite positions; got width 4, base 10000, position NaN',
    ],
  ],
  'bad-quantization': [
    [
      () => untyped(quantize, Q, 'int2'),
      "error[bad-quantization]: quantize(): the type must be 'int8', 'int4', 'fp8' or 'sign', got 'int2'",
    ],
  ],
  'bad-reduction': [
    [
      () => untyped(pool, K, blocks(2), 'any'),
      "error[bad-reduction]: pool(): these can be pooled by sum, mean, max, min, concat, got 'any'",
    ],
    [
      () => untyped(pool, byBlock, { q: whole }, 'sum'),
      "error[bad-reduction]: pool(): these can be pooled by any, all, got 'sum'",
    ],
  ],
  'bad-visible': [
    [
      () => untyped(dot, Q, K, { visible: 'some' }),
      "error[bad-visible]: `visible` must be 'any', 'all' or 'off', got 'some'",
    ],
  ],
  'bad-amount': [
    [
      () => topK(scores, Number.NaN),
      'error[bad-amount]: topK(): k must be a whole number from 0, or Infinity, got NaN',
    ],
    [
      () => topK(scores, -1),
      'error[bad-amount]: topK(): k must be a whole number from 0, or Infinity, got -1',
    ],
    [
      () =>
        topK(
          scores,
          map(count(byBlock), (n) => n / 2),
        ),
      'error[bad-amount]: topK(): k must be a whole number from 0, or Infinity, got 0.5',
    ],
    [
      () => topP(softmax(scores), Number.NaN),
      'error[bad-amount]: topP(): p must be a number from 0, got NaN',
    ],
  ],
  'bad-channel': [
    [
      () => channels(K, tableFrom([2], [2], [0, 4])),
      'error[bad-channel]: channels(): table `given` names channel 4 of vectors of 4',
    ],
  ],
  'bad-offsets': [
    [
      () => pool(skew(scores), { kv: blocks(2) }, 'sum'),
      'error[bad-offsets]: distances cannot be pooled to units of block\nhint: pool by key, before skew() or after unskew()',
    ],
  ],
  'bad-reuse': [
    [
      () => reuse('x', () => byBlock, { steps: 0 }),
      'error[bad-reuse]: reuse(): a rule is { steps } from 1, { layers: true } or { similar, above }, got 0',
    ],
  ],
  'negative-mass': [
    [
      () =>
        topP(
          map(scores, () => -1),
          0.5,
        ),
      'error[negative-mass]: topP() adds up weights, and one of these is -1\nhint: give it what softmax() makes',
    ],
  ],
  'table-shape': [
    [
      () => linear(K, tableFrom([4], [4], [1, 2, 3, 4])),
      'error[table-shape]: linear() reads table `given` with 2 dims behind batch and heads, but it is [4]',
    ],
    [
      () => pool(K, clusters(tableFrom(['batch'], [1], [0])), 'mean'),
      'error[table-shape]: clusters() reads table `given` with one dim behind batch and heads, but it is [batch]',
    ],
  ],
  'calls-differ': [
    [
      () => dot(Q, other.K),
      'error[calls-differ]: dot() was given values of two calls; a value lives as long as the call it was made in',
    ],
    [
      () => merge(attend(Q, K, V), attend(other.Q, other.K, other.V)),
      'error[calls-differ]: merge() was given values of two calls; a value lives as long as the call it was made in',
    ],
  ],
  'shares-differ': [
    [
      () => untyped(dot, index, K),
      'error[shares-differ]: dot(): values for each indexHead do not correspond to values for each kvHead here',
    ],
    [
      () => untyped(pool, pool(scores, { share: 'request' }, 'sum'), { share: 'kvHead' }, 'sum'),
      'error[shares-differ]: pool(): values for each request do not correspond to values for each kvHead here',
    ],
    [
      () => topK(pool(scores, { share: 'kvHead' }, 'sum'), count(byBlock)),
      'error[shares-differ]: topK(): values for each kvHead do not correspond to values for each head here',
    ],
    [
      () => untyped(attend, Q, K, V, topK(dot(index, { ...K, share: 'request' }), 1)),
      'error[shares-differ]: attend(): values for each head do not correspond to values for each indexHead here',
    ],
  ],
  'units-differ': [
    [
      () => map(dot(Q, bars), dot(Q, pool(K, blocks(2), 'mean')), (a, b) => a + b),
      'error[units-differ]: map(): the kv axes are cut differently: 2 units of block and 4 units of block',
    ],
    [
      () => concat(bars, pool(K, blocks(2), 'mean')),
      'error[units-differ]: concat(): the kv axes are cut differently: 2 units of block and 4 units of block',
    ],
    [
      () => attend(Q, bars, pool(V, blocks(4), 'mean'), topK(dot(Q, pool(K, blocks(2), 'mean')), 1)),
      'error[units-differ]: attend(): the kv axes are cut differently: 4 units of block and 2 units of block',
    ],
    [
      () => skew(dot(pool(Q, blocks(2), 'mean'), bars)),
      'error[units-differ]: skew(): the kv axes are cut differently: 4 units of block and 2 units of block',
    ],
    [
      () => pool(dot(pool(Q, blocks(2), 'mean'), K), { kv: range(blocks(4), () => [0, 4]) }, 'sum'),
      'error[units-differ]: pool(): the q axes are cut differently: 4 units of block and 2 units of block',
    ],
    [
      () => untyped(argsort, scores),
      'error[units-differ]: argsort(): the q axes are cut differently: 8 units of token and 8 units of token',
    ],
  ],
  'units-nest': [
    [
      () => topK(dot(Q, pool(K, blocks(3), 'mean')), 1, { per: blocks(4) }),
      'error[units-nest]: topK(): a unit of block lies in two units of block; sizes must nest',
    ],
  ],
  'units-per-sharer': [
    [
      () => {
        const order = argsort(pool(scores, { q: whole }, 'sum'))
        return pool(dot(Q, permute(K, order)), { share: 'request' }, 'sum')
      },
      'error[units-per-sharer]: pool(): each head has 8 sorted units of token of its own, so they cannot be shared by the request',
    ],
  ],
  'units-per-query': [
    [
      () => {
        const near = pool(scores, { kv: range(tokens, (q) => [0, q.first]) }, 'max')
        return pool(near, { q: blocks(2) }, 'max')
      },
      'error[units-per-query]: pool(): each query unit has 0 to 1 units of span of its own, so query units cannot be pooled\nhint: pool queries and keys at once: `{ q: .., kv: .. }`',
    ],
  ],
  'no-units': [
    [
      () => count(where(({ q, kv }) => q === kv)),
      'error[no-units]: count() needs a set of units, which rules on positions and sets of different units are not\nhint: use count() before the sets are combined, or write the rule as where(scores, ..)',
    ],
    [
      () =>
        pool(
          difference(
            byBlock,
            where(({ kv }) => kv === 0),
          ),
          { q: whole },
          'any',
        ),
      'error[no-units]: pool() needs a set of units, which rules on positions and sets of different units are not\nhint: use pool() before the sets are combined, or write the rule as where(scores, ..)',
    ],
  ],
  'orders-differ': [
    [
      () => {
        const [a, b] = [permute(K, reversed), permute(K, shuffled)]
        return attend(Q, a, permute(V, reversed), topK(dot(Q, pool(b, blocks(4), 'mean')), 1))
      },
      'error[orders-differ]: attend(): the kv tokens were put in two different orders',
    ],
    [
      () => untyped(permute, slice(K, -4), reversed),
      'error[orders-differ]: permute(): the kv tokens were put in two different orders',
    ],
  ],
  'widths-differ': [
    [() => dot(Q, concat(K, K)), 'error[widths-differ]: dot(): vectors of 4 channels meet ones of 8'],
    [
      () => linear(K, tableFrom([2, 1], [2, 1], [1, 1])),
      'error[widths-differ]: linear(): vectors of 4 channels meet ones of 2',
    ],
    [
      () => merge(attend(Q, K, V), attend(Q, K, concat(V, V))),
      'error[widths-differ]: merge(): vectors of 4 channels meet ones of 8',
    ],
    [
      () => attend(Q, K, concat(V, V), undefined, { after: attend(Q, K, V) }),
      'error[widths-differ]: attend(): vectors of 4 channels meet ones of 8',
    ],
  ],
  'ragged-concat': [
    [
      () => pool(K, blocks(3), 'concat'),
      "error[ragged-concat]: pool(.., 'concat'): units must have equally many members, these have 3, 3, 2\nhint: windows(size, step) are always whole",
    ],
  ],
  'tile-missing': [
    [
      () => attend(Q, K, V, undefined, { skip: () => true }),
      'error[tile-missing]: attend(): what `skip` decides depends on the tiles, and there is no `tile`\nhint: write `{ tile: { q: 128, kv: 128 }, skip: .. }`',
    ],
  ],
  'states-overlap': [
    [
      () =>
        merge(
          attend(
            Q,
            K,
            V,
            where(({ kv }) => kv < 4),
          ),
          attend(
            Q,
            K,
            V,
            where(({ kv }) => kv > 2),
          ),
        ),
      'error[states-overlap]: merge(): two states hold the same key: head 0, query 3, key 3\nhint: build the second set with difference(), or go on with `{ after: state }`',
    ],
    [
      () => merge(attend(Q, K, V, union(byBlock)), attend(Q, K, V, byBlock)),
      'error[states-overlap]: merge(): two states hold the same key: head 0, query 0, key 0\nhint: build the second set with difference(), or go on with `{ after: state }`',
    ],
  ],
  'gated-sink': [
    [
      () => {
        const forward = () => gated([attend(Q, K, V), () => 1])
        return runForward({ name: 'mine', forward, sinkAt: () => 0 }, {} as never)
      },
      'error[gated-sink]: pattern `mine` has a sinkLogit, which belongs to one softmax, but its forward gives a gated sum of several',
    ],
  ],
  'bad-answer': [
    [
      () => runForward({ name: 'mine', forward: () => byBlock as never, sinkAt: null }, {} as never),
      'error[bad-answer]: forward of pattern `mine` must return what attend(), merge() or gated() gives, got a set',
    ],
  ],
} as const satisfies Readonly<Record<string, readonly (readonly [attempt: () => unknown, text: string])[]>>
