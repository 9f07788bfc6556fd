/** emitCuda() as a record: variants, their order and ids, the bytes the same each time, names and limits of patterns. */

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { CALL_BYTES, MAX_TABLES } from '../../../codegen/cuda/call.ts'
import { emitCuda, SKELETONS, type EmitCudaOptions } from '../../../codegen/cuda/emit.ts'
import type { CudaVariant, Skeleton } from '../../../codegen/cuda/manifest.ts'
import { patternSection } from '../../../codegen/cuda/pattern.ts'
import { contentHash } from '../../../codegen/hash.ts'
import { Ir } from '../../../compiler/ir.ts'
import { readsHead, type ParamInfo, type TableInfo } from '../../../compiler/plan.ts'
import type { Pattern } from '../../../dsl/index.ts'
import { causal } from '../../../patterns/causal.ts'
import { dilatedWindow } from '../../../patterns/dilated-window.ts'
import { strided } from '../../../patterns/strided.ts'
import { compiled } from '../../helpers.ts'
import { plan, PLAN_NAMES, planOf, words, type PlanName } from '../plans.ts'

const emitted = (name: PlanName, options: Partial<EmitCudaOptions> = {}) =>
  emitCuda({ plan: plan(name) }, { headDims: [128], dtypes: ['bf16'], ...options })

describe('an artefact for CUDA', () => {
  it.each(PLAN_NAMES)('of %s is the same each time, and its hashes are those of its texts', (name) => {
    const [one, two] = [emitted(name), emitted(name)]
    expect(one).toEqual(two)
    expect(one.variants.map((v) => v.hash)).toEqual(
      one.variants.map((v) => createHash('sha256').update(v.code).digest('hex')),
    )
    const rest = { ...one, variants: one.variants.map(({ cubins: _, ...v }) => v) }
    expect(one.hash).toBe(contentHash(rest))
    expect(one.call.bytes).toBe(CALL_BYTES)
  })

  it('has the variants best first, each once, its dims padded to those of the skeleton', () => {
    const { variants } = emitted('causal', { headDims: [100, 8, 128, 59], dtypes: ['bf16', 'f16'] })
    const names = SKELETONS.map((s) => s.name)
    const wanted = SKELETONS.filter((s) => s.walks === 'mask').flatMap(({ name, headDims }) => {
      const padded = new Set([8, 59, 100, 128].map((d) => headDims.find((h) => h >= d)!))
      return [...padded].flatMap((d) => [`d${d}-bf16-${name}`, `d${d}-f16-${name}`])
    })
    expect(variants.map((v) => v.id)).toEqual(wanted)
    expect(names[0]).toBe('decode')
    expect(names.at(-1)).toBe('ampere')
  })

  it('takes rows by remainder where a plan has such an order, before the kernel in natural order', () => {
    const of = (pattern: Pattern, skeletons: readonly Skeleton[] = ['residues']) =>
      emitCuda(compiled(pattern), { headDims: [128], dtypes: ['bf16'], skeletons }).variants
    const steps = (v: CudaVariant) => v.entries.map((e) => [e.name, ...e.tensorMaps.map((m) => m.step)])
    expect(of(causal)).toEqual([])
    const [dilated, natural] = of(dilatedWindow, ['residues', 'hopper'])
    expect([dilated!.skeleton, natural!.skeleton]).toEqual(['residues', 'hopper'])
    expect(natural!.pays).toBeNull()
    const step = { param: 'dilation' }
    expect(steps(dilated!)).toEqual([['attend', step, step, step]])
    expect(dilated!.workspace.scratch).toBe(0)
    // What has a part without remainders is two launches: the second joins the first one's outputs to its own.
    const [both] = of(strided)
    const stride = { param: 'stride' }
    expect(steps(both!)).toEqual([
      ['attend0', null, null, null],
      ['attend1', stride, stride, stride],
    ])
    expect(both!.workspace.scratch).not.toBe(0)
  })

  it('takes other value dims, chosen skeletons and shapes', () => {
    const options = { headDims: [192], valueDims: [128], skeletons: ['ampere'] } as const
    const { variants } = emitted('causal', options)
    expect(variants.map((v) => v.id)).toEqual(['d192x128-bf16-ampere'])
    const other = emitted('causal', { ...options, shapes: (_, __, all) => all[1]! }).variants[0]!
    expect(other.id).toBe(variants[0]!.id)
    expect(other.tile).not.toEqual(variants[0]!.tile)
    expect(other.code).toContain(`constexpr int TILE_Q = ${other.tile.q};`)
  })

  it('lists tiles first where the plan does, and what tests find where all heads share it', () => {
    const ways = new Set<string>()
    for (const name of PLAN_NAMES) {
      const { how } = plan(name).tiles
      for (const { skeleton, entries, workspace, code } of emitted(name).variants) {
        const shared = how === 'test' && !readsHead(plan(name)) && skeleton === 'hopper'
        const isListed = how === 'list' || shared
        ways.add(`${how} ${isListed}`)
        expect(entries[0]!.name).toBe(isListed ? 'list' : 'attend')
        expect(workspace.list === 0).toBe(!isListed)
        expect(code.includes('==== list.cuh ====')).toBe(isListed)
        expect(code.includes('constexpr bool LOOKS = true;')).toBe(how === 'list')
      }
    }
    expect([...ways].sort()).toEqual(['list true', 'ranges false', 'test false', 'test true'])
  })

  it('says what it is, and whether it checks', () => {
    const [plain, debug] = [false, true].map((d) => emitted('a-shape', { debug: d }).variants.at(-1)!.code)
    const head = plain!.slice(0, plain!.indexOf('\n\n'))
    expect(head).toContain('// a-shape: and(')
    expect(head).toContain(
      'npx heddle build a-shape --target cuda --head-dim 128 --dtype bf16 --skeleton ampere',
    )
    expect(plain).toContain('constexpr bool DEBUG = false;')
    expect(debug).toContain('constexpr bool DEBUG = true;')
    expect(plain).not.toMatch(/^\s*#\s*include/m)
  })

  it.each([0, 257, 1.5, Number.NaN])('has no head dim of %s', (headDim) => {
    expect(() => emitted('causal', { headDims: [headDim] })).toThrow(RangeError)
    expect(() => emitted('causal', { valueDims: [headDim] })).toThrow(RangeError)
  })
})

const param = (name: string, type: 'i32' | 'f32' = 'i32'): ParamInfo => ({
  name,
  type,
  default: 1,
  min: 0,
  max: 100,
  perHead: false,
})
const table = (name: string): TableInfo => ({
  name,
  type: 'i32',
  dims: ['kvLen'],
  min: 0,
  max: 9,
  monotone: false,
})

/** A mask that reads all of these. */
function reading(params: readonly string[], tables: readonly string[]) {
  const ir = new Ir()
  const w = words(ir)
  const terms = [...params.map((p) => ir.param(p, 'i32')), ...tables.map((t) => ir.load(t, 'i32', [w.kv]))]
  return planOf(ir, 'reading', {
    params: params.map((p) => param(p)),
    tables: tables.map(table),
    mask: terms.map((t) => w.le(w.kv, t)).reduce((a, b) => w.and(a, b)),
  })
}

describe('a pattern section', () => {
  it('gives params and tables names that C++ has no other use for', () => {
    const text = patternSection(
      reading(['class', '$x', 'EOF', 'min', 'head_', 'class_2'], ['int', 'tables', 'keeps']),
    )
    expect(text).toContain('  int class_2, x_x, of_EOF, min_2, head_, class_2_2;')
    for (const name of ['int_2', 'tables', 'keeps'])
      expect(text).toContain(`DEVICE int ${name}(Call const& call, int i0)`)
  })

  it('reads no value that the pattern does not', () => {
    const ir = new Ir()
    const w = words(ir)
    const text = patternSection(
      planOf(ir, 'reading', {
        params: [param('unused'), param('used')],
        mask: w.le(w.kv, ir.param('used', 'i32')),
      }),
    )
    expect(text).toContain('p.used = readOnly(call.values + 1);')
    expect(text).not.toContain('unused')
  })

  it('refuses more tables than a call has room for', () => {
    const names = Array.from({ length: MAX_TABLES + 1 }, (_, i) => `table${i}`)
    expect(() => patternSection(reading([], names.slice(1)))).not.toThrow()
    expect(() => patternSection(reading([], names))).toThrow(
      new RangeError('reading reads 9 tables; a CUDA kernel takes at most 8'),
    )
  })
})
