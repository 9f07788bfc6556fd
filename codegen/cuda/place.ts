/** What a plan reads of a call, in; struct Place, placeOf, the readers of tables, and an expression's leaves as C++, out. */

import { nodesOf, type Expr } from '../../compiler/ir.ts'
import type { Dim, KernelPlan, TableInfo } from '../../compiler/plan.ts'
import type { PairVar, VarName } from '../../compiler/vars.ts'
import type { Leaves } from '../expr.ts'
import { expressionsOf } from '../frame.ts'
import { name, type Code, type ConstantArray } from '../kernel.ts'
import { Names } from '../names.ts'
import { MAX_TABLES } from './call.ts'
import { RESERVED, spared } from './reserved.ts'
import { CUDA } from './target.ts'
import { ALIGNED_TEXT, ORDER_FIELDS, orderText } from './order.ts'
import { isPrepared } from './traits.ts'

/** Where a value lies in the words behind call.values; C++ text of an index. */
interface Word {
  readonly field: string
  readonly type: 'i32' | 'f32' | 'divisor'
  readonly at: string
}

const FIXED = ['batch', 'head', 'kvHead', 'qLen', 'kvLen', 'qRow', 'qShift', 'kvStart', ...ORDER_FIELDS]

const EXTENT: Readonly<Record<Exclude<Dim, number | 'indexHead'>, string>> = {
  batch: 'call.batch',
  head: 'call.qHeads',
  kvHead: 'call.kvHeads',
  qLen: 'call.qRows',
  kvLen: 'call.kvRows',
  headDim: 'call.headDim',
}

const extentOf = (dim: Dim): string => {
  if (typeof dim === 'number') return String(dim)
  if (dim === 'indexHead') throw new Error('a static pattern has no index heads')
  return EXTENT[dim]
}

const VAR: Readonly<Record<PairVar, string>> = {
  batch: 'p.batch',
  head: 'p.head',
  kvHead: 'p.kvHead',
  qLen: 'p.qLen',
  kvLen: 'p.kvLen',
  qHeads: 'call.qHeads',
  kvHeads: 'call.kvHeads',
  headDim: 'call.headDim',
  q: 'q',
  kv: 'kv',
  qLo: 'qLo',
  qHi: 'qHi',
  kvLo: 'kvLo',
  kvHi: 'kvHi',
  logit: 's',
}

const ofPair = (v: VarName): string => {
  const text: string | undefined = VAR[v as PairVar]
  if (text === undefined) throw new Error(`a mask or score has no ${v}`)
  return text
}

const TYPE = { i32: 'int', f32: 'float', divisor: 'Divisor' } as const
const DIVIDES: readonly string[] = ['floorDiv', 'mod', 'alignDown']
export const DIVISOR = `// A positive number that others are divided by: numbers below 2^31 are multiplied by factor / 2^(31 + shift), rounded down.
struct Divisor {
  int value, shift;
  u32 factor;
  __device__ operator int() const { return value; }
};
DEVICE Divisor divisorOf(int d) {
  int shift = d > 1 ? 32 - leadingZeros((u32)(d - 1)) : 0;
  return {d, shift, (u32)(((1ull << (31 + shift)) + (u64)d - 1ull) / (u64)d)};
}
DEVICE int floorDiv(int a, Divisor const& b) {
  int sign = a >> 31;
  return (int)((u32)((u64)((u32)(a ^ sign) << 1) * b.factor >> 32) >> b.shift) ^ sign;
}
DEVICE int floorMod(int a, Divisor const& b) { return a - b.value * floorDiv(a, b); }
DEVICE int alignDown(int a, Divisor const& b) { return (int)((u32)b.value * (u32)floorDiv(a, b)); }`
const FIELDS = { params: 'param', derived: 'derived' } as const

export class PlaceText {
  readonly #plan: KernelPlan
  readonly #words: readonly Word[]
  readonly #fields = { param: new Map<string, string>(), derived: new Map<string, string>() }
  readonly #readers = new Map<string, string>()
  readonly #arrays: ConstantArray[] = []
  readonly #used: readonly Expr[]
  /** Of a pass over residues. */
  readonly #step: Expr | null

  constructor(plan: KernelPlan, step: Expr | null = null) {
    if (plan.tables.length > MAX_TABLES) {
      throw new RangeError(
        `${plan.name} reads ${plan.tables.length} tables; a CUDA kernel takes at most ${MAX_TABLES}`,
      )
    }
    this.#plan = plan
    this.#step = step
    this.#used = nodesOf(...expressionsOf(plan))
    const names = new Names(new Set([...RESERVED, ...FIXED]))
    const readers = new Names(RESERVED)
    for (const kind of ['params', 'derived'] as const)
      for (const { name: n } of plan[kind]) this.#fields[FIELDS[kind]].set(n, names.fresh(spared(n)))
    for (const t of plan.tables) this.#readers.set(t.name, readers.fresh(spared(t.name)))
    this.#words = this.#layOut()
  }

  /** Scalar params, then perHead ones with qHeads words each, then derived ones with a word per (batch, head). */
  #layOut(): Word[] {
    const { params, derived } = this.#plan
    const scalars = params.filter((p) => !p.perHead)
    const perHead = params.filter((p) => p.perHead)
    const heads = (n: number) => (n === 0 ? '' : n === 1 ? ' + call.qHeads' : ` + ${n} * call.qHeads`)
    const slot = (n: number) => (n === 0 ? 'batch' : `(${n} * call.batch + batch)`)
    const reads = (op: 'param' | 'derived', n: string) => this.#used.some((e) => e.op === op && e.arg === n)
    const divides = (op: 'param' | 'derived', n: string) =>
      this.#used.some((e) => {
        const divisor = DIVIDES.includes(e.op) ? e.src[1]! : null
        return divisor !== null && isPrepared(divisor) && divisor.op === op && divisor.arg === n
      })
    return [
      ...scalars.map((p, i) => ({ op: 'param', ...p, at: String(i) }) as const),
      ...perHead.map((p, i) => ({ op: 'param', ...p, at: `${scalars.length}${heads(i)} + head` }) as const),
      ...derived.map(
        (d, i) =>
          ({
            op: 'derived',
            ...d,
            at: `${scalars.length}${heads(perHead.length)} + ${slot(i)} * call.qHeads + head`,
          }) as const,
      ),
    ]
      .filter((w) => reads(w.op, w.name))
      .map(({ op, name: n, type, at }) => ({
        field: this.#fields[op].get(n)!,
        type: divides(op, n) ? 'divisor' : type,
        at,
      }))
  }

  /** Leaves as text in which `call` and `p` are in scope, and those of q, kv, qLo, qHi, kvLo, kvHi and s that are read. */
  readonly leaves: Leaves = {
    var: (v) => name(v === 'logit' ? 'f32' : 'i32', ofPair(v)),
    param: (n) => {
      const { type } = this.#plan.params.find((p) => p.name === n)!
      return name(type, `p.${this.#fields.param.get(n)!}`)
    },
    derived: (n) => {
      const { type } = this.#plan.derived.find((d) => d.name === n)!
      return name(type, `p.${this.#fields.derived.get(n)!}`)
    },
    load: (table, indices) => {
      const { type } = this.#plan.tables.find((t) => t.name === table)!
      const callee = `tables::${this.#readers.get(table)!}`
      return { kind: 'call', type, callee, args: [name('i32', 'call'), ...indices] }
    },
    pick: (values, type, index) => this.#pick(values, type, index),
  }

  #pick(values: readonly number[], type: 'i32' | 'f32', index: Code): Code {
    const same = (c: ConstantArray) =>
      c.type === type && c.values.length === values.length && c.values.every((v, i) => v === values[i])
    let array = this.#arrays.find(same)
    if (!array) {
      array = { name: `values${this.#arrays.length}`, type, values }
      this.#arrays.push(array)
    }
    return { kind: 'call', type, callee: `${array.name}At`, args: [index] }
  }

  /** Constant arrays that were picked from, so asked for last. */
  arrays(): string[] {
    return this.#arrays.map(({ name: n, type, values }) => {
      const list = values.map((v) => CUDA.literal(type, v).text).join(', ')
      const zero = CUDA.literal(type, 0).text
      return (
        `CONSTANT ${TYPE[type]} ${n}[${values.length}] = {${list}};\n` +
        `DEVICE ${TYPE[type]} ${n}At(int i) { return (u32)i < ${values.length}u ? ${n}[i] : ${zero}; }`
      )
    })
  }

  /** The step's value, read anew: what is asked before there is a Place. */
  #stepText(): string | null {
    const step = this.#step
    if (step === null) return null
    if (step.op !== 'param') return String(step.arg)
    const scalars = this.#plan.params.filter((p) => !p.perHead)
    return `readOnly(call.values + ${scalars.findIndex((p) => p.name === step.arg)})`
  }

  text(): string {
    const own = (['i32', 'divisor', 'f32'] as const)
      .map((type) => ({ type, fields: this.#words.filter((w) => w.type === type).map((w) => w.field) }))
      .filter(({ fields }) => fields.length > 0)
      .map(({ type, fields }) => `  ${TYPE[type]} ${fields.join(', ')};\n`)
    const about = '  // The params and derived uniforms that the pattern reads.\n'
    const words = this.#words.map(({ field, type, at }) => {
      const word = `readOnly(call.values + ${at})`
      const value = { i32: word, f32: `floatOf((u32)${word})`, divisor: `divisorOf(${word})` }[type]
      return `  p.${field} = ${value};\n`
    })
    const step = this.#stepText()
    const divisors = step !== null || this.#words.some((w) => w.type === 'divisor') ? `${DIVISOR}\n\n` : ''
    const order =
      '  Divisor step;\n  int rowFirst, keyFirst;     // of the class: a row, and the position of a key\n'
    return `${divisors}// What a (batch, head) knows.
struct Place {
  int batch, head, kvHead;
  int qLen, kvLen;            // real query rows and key rows
  int qRow, qShift, kvStart;  // rows [qRow, qRow + qLen) are real, row r stands at position r + qShift; key j is row kvStart + j
${step === null ? '' : order}${own.length > 0 ? about : ''}${own.join('')}};
DEVICE Place placeOf(Call const& call, int batch, int head) {
  Place p;
  int const* lengths = call.lengths + 5 * batch;
  p.batch = batch;
  p.head = head;
  p.kvHead = head / (call.qHeads / call.kvHeads);
  p.qRow = readOnly(lengths);
  p.qShift = readOnly(lengths + 1) - p.qRow;
  p.qLen = readOnly(lengths + 2);
  p.kvStart = readOnly(lengths + 3);
  p.kvLen = readOnly(lengths + 4);
${step === null ? '' : `  p.step = divisorOf(${step});\n`}${words.join('')}  return p;
}`
  }

  /** Where the rows and keys of the pass stand. */
  order(aligned: boolean): string {
    return aligned ? ALIGNED_TEXT : orderText(this.#stepText())
  }

  /** Row-major reads, 0 outside; null without tables that are read. */
  tables(): string | null {
    const read = this.#plan.tables.filter((t) => this.#used.some((e) => e.op === 'load' && e.arg === t.name))
    if (read.length === 0) return null
    const readers = read.map((t) => this.#reader(t, this.#plan.tables.indexOf(t)))
    return `// Elements of tables, 0 outside.\nnamespace tables {\n${readers.join('\n')}\n}`
  }

  #reader({ name: n, type, dims }: TableInfo, index: number): string {
    const spelled = TYPE[type]
    const extents = dims.map(extentOf)
    // An extent is never negative, so one comparison holds for both ends.
    const inside = extents.map((e, i) => `(u32)i${i} < (u32)${e}`).join(' && ')
    const flat = extents
      .slice(1)
      .reduce((at, e, i) => `${i === 0 ? at : `(${at})`} * ${e} + i${i + 1}`, '(long long)i0')
    // The address is chosen rather than the read skipped: without a branch, a compiler shares it among pairs.
    return `// ${n} [${dims.join(', ')}]
DEVICE ${spelled} ${this.#readers.get(n)!}(Call const& call${extents.map((_, i) => `, int i${i}`).join('')}) {
  bool inside = ${inside};
  ${spelled} value = readOnly(inside ? (${spelled} const*)call.tables[${index}] + (${flat}) : (${spelled} const*)call.lengths);
  return inside ? value : ${CUDA.literal(type, 0).text};
}`
  }
}
