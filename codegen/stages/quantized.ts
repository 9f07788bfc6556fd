/** Quantized rows: a component and the greatest size of its row in; the number of fewer bits that is nearest, as f32, out. */

import type { Args, StageNode } from '../../compiler/stages/graph.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { add, f32, i32, le, lt, max, min, mul, op, select, sub, type Code } from '../kernel.ts'
import type { StageText } from './text.ts'

type Precision = Args['quantize']['precision']
type From = (n: StageNode, p?: Code, c?: Code) => Code

/** The greatest number of each type that is rounded to; signs have no scale. */
const GREATEST = { int8: 127, int4: 7, fp8: 448 } as const

/** True if a component hangs on its whole row. */
export const isScaled = (node: StageNode<'quantize'>): boolean => node.arg.precision !== 'sign'

/** Symmetric, one scale a row, to the nearest, ties to even. A thread that works alone goes over the row. */
export function quantized(t: StageText, b: Block, node: StageNode<'quantize'>, from: From): Code {
  const x = node.src[0]!
  const value = b.let('value', from(x))
  if (!isScaled(node)) return rounded(b, node.arg.precision, value, f32(0))
  const most = b.var('most', f32(0))
  b.for('i', i32(0), t.size(rowsOf(x).channels), 1, (c, i) =>
    c.set(most, max(most, op('f32', 'abs', from(x, undefined, i)))),
  )
  return rounded(b, node.arg.precision, value, most)
}

/** `most`: the greatest size of the row's components. */
export function rounded(b: Block, precision: Precision, value: Code, most: Code): Code {
  if (precision === 'sign') return select(lt(f32(0), value), f32(1), f32(-1))
  const scale = b.let('scale', scaleOf(precision, most))
  return mul(codeOf(b, precision, value, most, scale), scale)
}

/** Of a row whose components are of such a size. */
export const scaleOf = (precision: Exclude<Precision, 'sign'>, most: Code): Code =>
  op('f32', 'div', most, f32(GREATEST[precision]))

/** The number of few bits that stands for a value, before the scale. */
export function codeOf(
  b: Block,
  precision: Exclude<Precision, 'sign'>,
  value: Code,
  most: Code,
  scale: Code,
): Code {
  const scaled = b.let('scaled', op('f32', 'div', value, max(scale, f32(1e-38))))
  const near = precision === 'fp8' ? roundFp8(b, scaled) : op('f32', 'roundEven', scaled)
  return select(le(most, f32(0)), f32(0), near)
}

/** e4m3: three bits behind the leading one, exponents from -6 on, subnormals below. */
function roundFp8(b: Block, x: Code): Code {
  const size = b.let('size', op('f32', 'abs', x))
  const biased = op('i32', 'shr', op('i32', 'fromU32', op('u32', 'floatBits', size)), i32(23))
  const exponent = b.let('exponent', max(sub(biased, i32(127)), i32(-6)))
  const step = b.let('unit', op('f32', 'bitsFloat', op('i32', 'shl', add(exponent, i32(124)), i32(23))))
  const near = min(mul(op('f32', 'roundEven', op('f32', 'div', size, step)), step), f32(448))
  return select(lt(x, f32(0)), op('f32', 'neg', near), near)
}
