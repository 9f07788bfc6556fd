/** Pattern sections on the CPU: plans in, one library from the host's C++ compiler whose functions ask each section out. */

import { CALL_BYTES, CALL_FIELDS, CALL_TEXT } from '../../../codegen/cuda/call.ts'
import { patternSection } from '../../../codegen/cuda/pattern.ts'
import { textOf } from '../../../codegen/cuda/text.ts'
import type { KernelPlan } from '../../../compiler/plan.ts'
import { fillCall } from '../../../runtime/cuda/block.ts'
import { LibraryBuilder } from '../../../runtime/cuda/emulation/library.ts'
import { loadNative, type Native, type NativeFunction } from '../../../runtime/cuda/native.ts'
import { floatBits } from '../../../runtime/derived.ts'
import { resolveLengths, type Length, type RealLength } from '../../../runtime/lengths.ts'
import { metaWords } from '../../../runtime/meta.ts'
import { resolveParams, type Params, type ParamValues } from '../../../runtime/params.ts'
import type { TableData } from '../../../runtime/tables.ts'
import type { Sizes } from '../../../runtime/tensor.ts'
import { derivedUniforms } from '../../../codegen/record.ts'

/** Undefined behaviour that a section must not have; counted in place of the sanitizer's own report. */
const HANDLERS = ['add_overflow', 'sub_overflow', 'mul_overflow', 'negate_overflow', 'divrem_overflow']
const TWO_WORDS = ['shift_out_of_bounds', ...HANDLERS.filter((h) => h !== 'negate_overflow')]
export const FLAGS = ['-fsanitize=signed-integer-overflow,shift,integer-divide-by-zero,bounds']

export const COUNTED = `static int wrong = 0;
extern "C" {
${TWO_WORDS.map((h) => `void __ubsan_handle_${h}(void*, unsigned long, unsigned long) { wrong++; }`).join('\n')}
void __ubsan_handle_negate_overflow(void*, unsigned long) { wrong++; }
void __ubsan_handle_out_of_bounds(void*, unsigned long) { wrong++; }
int wrongs() { return wrong; }
}`

/** What comes before a section; TILE_KV is a variable here, so that one library knows every tile. */
const BEFORE = `constexpr bool BF16 = true;
${CALL_TEXT}
${textOf('prelude.cuh')}
static int TILE_KV = 32;
extern "C" void setTile(int size) { TILE_KV = size; }
${COUNTED}`

const KEPT = 1
const REACHED = 1
const FULL = 2
const CANDIDATE = 4

const probeText = (plan: KernelPlan, n: number): string => `namespace section${n} {
${patternSection(plan)}
extern "C" void pairs${n}(Call const* call, int batch, int head, int q, int keys, float const* s, unsigned char* kept, float* scores) {
  Place p = placeOf(*call, batch, head);
  for (int kv = 0; kv < keys; kv++) {
    kept[kv] = keeps(*call, p, q, kv) ? ${KEPT} : 0;
    scores[kv] = scoreOf(*call, p, s[kv], q, kv);
  }
}
extern "C" float sink${n}(Call const* call, int batch, int head) { return sinkLogitOf(*call, placeOf(*call, batch, head)); }
extern "C" void tiles${n}(Call const* call, int batch, int head, int qLo, int qHi, int count, unsigned char* found, int* ends) {
  Place p = placeOf(*call, batch, head);
  Reach r = reachOf(*call, p, qLo, qHi);
  for (int tile = 0; tile < count; tile++) {
    bool candidate = nextCandidate(r, tile) == tile;
    found[tile] = (isReached(*call, p, r, tile) ? ${REACHED} : 0) | (isFull(*call, p, r, tile) ? ${FULL} : 0) | (candidate ? ${CANDIDATE} : 0);
    ends[tile] = candidate ? candidatesEnd(r, tile) : nextCandidate(r, tile);
  }
  ends[count] = nextCandidate(r, NO_TILE);
}
}`

/** A call without its tensors. */
export interface ProbeCall {
  readonly sizes: Sizes
  readonly params: ParamValues
  readonly tables: Readonly<Record<string, TableData>>
  readonly lengths?: readonly Length[] | undefined
}

/** A call's struct in memory, and what it was made from. */
export interface Placed {
  readonly block: Uint8Array<ArrayBuffer>
  readonly lengths: readonly RealLength[]
  readonly params: Params
  /** Memory that the struct points to. */
  readonly held: readonly ArrayBufferView[]
}

export interface TileAnswer {
  readonly reached: boolean
  readonly full: boolean
  readonly candidate: boolean
  /** Of a candidate the end of its run, else the next candidate. */
  readonly end: number
}

export const NO_TILE = 2 ** 31 - 1

export class Probe {
  readonly #native: Native
  readonly #plans: readonly KernelPlan[]
  readonly #setTile: NativeFunction
  readonly #wrongs: NativeFunction
  readonly #functions: readonly { pairs: NativeFunction; sink: NativeFunction; tiles: NativeFunction }[]

  private constructor(native: Native, plans: readonly KernelPlan[], path: string) {
    const library = native.load(path)
    this.#native = native
    this.#plans = plans
    this.#setTile = library.func('setTile', 'void', ['int'])
    this.#wrongs = library.func('wrongs', 'int', [])
    this.#functions = plans.map((_, n) => ({
      pairs: library.func(`pairs${n}`, 'void', [
        'void *',
        'int',
        'int',
        'int',
        'int',
        'void *',
        'void *',
        'void *',
      ]),
      sink: library.func(`sink${n}`, 'float', ['void *', 'int', 'int']),
      tiles: library.func(`tiles${n}`, 'void', [
        'void *',
        'int',
        'int',
        'int',
        'int',
        'int',
        'void *',
        'void *',
      ]),
    }))
  }

  static async of(name: string, plans: readonly KernelPlan[]): Promise<Probe> {
    const builder = await LibraryBuilder.find({ flags: FLAGS })
    const code = [BEFORE, ...plans.map(probeText)].join('\n\n')
    const path = await builder.build({ pattern: name, id: 'sections', code })
    return new Probe(await loadNative(), plans, path)
  }

  /** How often an integer left its range, so far. */
  wrongs(): number {
    return this.#wrongs() as number
  }

  place(n: number, { sizes, params: given, tables, lengths: some }: ProbeCall): Placed {
    const plan = this.#plans[n]!
    const lengths = resolveLengths(some, sizes)
    const params = resolveParams(plan.params, given, sizes.qHeads)
    const meta = metaWords({ params: plan.params, derived: derivedUniforms(plan) }, sizes, lengths, params)
    const scalars = plan.params
      .filter((p) => !p.perHead)
      .map(({ name, type }) => (type === 'f32' ? floatBits(params.get(name)![0]!) : params.get(name)![0]!))
    const words = Int32Array.from([...scalars, ...meta.subarray(5 * sizes.batch), 0])
    const held = [meta, words, ...plan.tables.map((t) => tables[t.name]!)]
    // An empty array has no address.
    const address = (data: ArrayBufferView) => (data.byteLength === 0 ? 0n : this.#native.address(data))
    const block = new Uint8Array(CALL_BYTES)
    fillCall(
      { bytes: CALL_BYTES, fields: CALL_FIELDS },
      {
        ...sizes,
        lengths: address(meta),
        values: address(words),
        tables: held.slice(2).map(address),
      },
      block,
    )
    return { block, lengths, params, held }
  }

  /** Of one query position: which keys are kept, and what becomes of the logits. */
  pairs(
    n: number,
    { block }: Placed,
    at: { readonly batch: number; readonly head: number; readonly q: number },
    logits: Float32Array,
  ): { kept: Uint8Array; scores: Float32Array } {
    const kept = new Uint8Array(logits.length)
    const scores = new Float32Array(logits.length)
    this.#functions[n]!.pairs(block, at.batch, at.head, at.q, logits.length, logits, kept, scores)
    return { kept, scores }
  }

  sink(n: number, { block }: Placed, batch: number, head: number): number {
    return this.#functions[n]!.sink(block, batch, head) as number
  }

  tiles(
    n: number,
    { block }: Placed,
    at: { readonly batch: number; readonly head: number; readonly qLo: number; readonly qHi: number },
    size: number,
    count: number,
  ): { tiles: readonly TileAnswer[]; last: number } {
    const found = new Uint8Array(count)
    const ends = new Int32Array(count + 1)
    this.#setTile(size)
    this.#functions[n]!.tiles(block, at.batch, at.head, at.qLo, at.qHi, count, found, ends)
    const tiles = Array.from(found, (bits, i) => ({
      reached: (bits & REACHED) !== 0,
      full: (bits & FULL) !== 0,
      candidate: (bits & CANDIDATE) !== 0,
      end: ends[i]!,
    }))
    return { tiles, last: ends[count]! }
  }
}
