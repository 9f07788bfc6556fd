/** The combine kernel: states in, their one softmax or the gated sum of their outputs out. */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { CombineKernel } from '../../compiler/stages/plan.ts'
import { stateVectors } from '../artifact.ts'
import {
  add,
  at,
  eq,
  f32,
  i32,
  lt,
  max,
  min,
  mul,
  op,
  quotient,
  select,
  toU32,
  u32,
  type Code,
  type Entry,
} from '../kernel.ts'
import type { Block } from '../block.ts'
import { valueAt } from './cells.ts'
import { elementwise } from './grid.ts'
import type { Sharer, StageText } from './text.ts'
import { Unsupported } from './units.ts'
import type { Cells } from './place.ts'

const LN2 = Math.LN2
const FLOOR = -1.0e30
const MINUS_INFINITY_BITS = 0xff800000
/** A gated sum has no log-sum-exp. */
const NAN_BITS = 0x7fc00000

/** Components that a thread makes: two halves share a word. Threads one beside the other have neighbours. */
export const COMPONENTS = 2

/** A number of each state, then the thread's components of all of them. */
export function combineEntry(c: Cells, { node, makes }: CombineKernel): Entry {
  const { text: t } = c
  const gated = isWord(node, 'gated')
  if (!gated && !isWord(node, 'merge')) throw new Unsupported(`a choice between states`)
  const states = node.src.filter((n) => n.type.kind === 'state')
  const stride = i32(4 * stateVectors(t.problem.valueDim))
  const { valueDim } = t.problem
  return elementwise(t, 'head', i32(Math.ceil(valueDim / COMPONENTS)), (b, { of, row }, pair) => {
    const first = b.let('first', mul(pair, i32(COMPONENTS)))
    const line = b.let('line', add(mul(add(mul(of.batch, t.sharers('head')), of.at), t.qLen), row))
    const start = b.let('start', mul(line, stride))
    const own = states.map((s) => ({ buffer: t.stored(t.find(s, 'state') ?? missing()), s }))
    const word = (n: number, i: Code) => at(own[n]!.buffer, add(start, i))
    const tops = states.map((_, n) => b.let(`max${n}`, word(n, i32(0))))
    const sums = states.map((_, n) => b.let(`sum${n}`, word(n, i32(1))))
    const top = b.let('top', tops.reduce(max))
    const shares = states.map((s, n) => {
      if (gated) return b.let(`share${n}`, gateOf(c, node, s, sums[n]!, { of, q: row, kv: i32(0) }))
      return b.let(
        `share${n}`,
        select(lt(f32(0), sums[n]!), op('f32', 'exp2', op('f32', 'sub', tops[n]!, top)), f32(0)),
      )
    })
    const total = gated ? f32(1) : b.let('total', sums.map((l, n) => mul(l, shares[n]!)).reduce(add))
    const component = (i: Code) => states.map((_, n) => mul(shares[n]!, word(n, add(i32(4), i)))).reduce(add)
    const opens = (then: (d: Block) => void) => b.if(eq(pair, i32(0)), then)
    if (makes === 'state') {
      const target = t.stored(t.find(node, 'state')!)
      opens((d) => {
        d.set(at(target, start), select(lt(f32(0), total), top, f32(FLOOR)))
        d.set(at(target, add(start, i32(1))), total)
      })
      b.for('i', first, ofPair(first, valueDim), 1, (d, i) =>
        d.set(at(target, add(add(start, i32(4)), i)), component(i)),
      )
      return
    }
    const some = lt(f32(0), total)
    const factor = b.let(
      'factor',
      gated ? f32(1) : select(some, op('f32', 'div', f32(1), select(some, total, f32(1))), f32(0)),
    )
    writeOutput(t, b, { ...of, row, first }, (d, i) => d.let('value', mul(component(i), factor)))
    opens((d) => {
      const bits = d.var('bits', u32(gated ? NAN_BITS : MINUS_INFINITY_BITS))
      if (!gated)
        d.if(some, (e) =>
          e.set(bits, op('u32', 'floatBits', mul(add(top, op('f32', 'log2', total)), f32(LN2)))),
        )
      d.set(at(t.output('lse'), line), bits)
    })
  })
}

/** Where the components of a thread end. */
const ofPair = (first: Code, valueDim: number): Code => min(add(first, i32(COMPONENTS)), i32(valueDim))

const missing = (): never => {
  throw new Unsupported('a state that is not stored')
}

/** A gate over the sum of its state: what the weighted values are multiplied with. */
function gateOf(
  c: Cells,
  node: StageNode,
  state: StageNode,
  sum: Code,
  place: Parameters<typeof valueAt>[2],
): Code {
  const gate = node.src[node.src.indexOf(state) + 1]!
  const some = lt(f32(0), sum)
  return select(some, op('f32', 'div', valueAt(c, gate, place), select(some, sum, f32(1))), f32(0))
}

/** A thread's components of a row of the output, both of a word where they share one. */
function writeOutput(
  t: StageText,
  b: Block,
  { batch, at: head, row, first }: Sharer & { readonly row: Code; readonly first: Code },
  value: (b: Block, i: Code) => Code,
): void {
  const out = t.output('out')
  const along = (which: 'Batch' | 'Head' | 'Row', n: Code) => mul(toU32(n), t.uniform(`out${which}Stride`))
  const start = b.let('outStart', add(add(along('Batch', batch), along('Head', head)), along('Row', row)))
  const { valueDim, dtype } = t.problem
  if (dtype === 'f32') {
    b.for('i', first, ofPair(first, valueDim), 1, (d, i) => d.set(at(out, add(start, toU32(i))), value(d, i)))
    return
  }
  if (valueDim % 2 !== 0) throw new Unsupported('combined states of halves in odd numbers')
  const half = (e: Code) => op('u32', 'bitAnd', op('u32', 'packHalf', e), u32(65535))
  const [low, high] = [value(b, first), value(b, add(first, i32(1)))]
  const word = op('u32', 'bitOr', half(low), op('u32', 'shl', half(high), u32(16)))
  b.set(at(out, quotient(add(start, toU32(first)), u32(2))), word)
}
