/** The flags that say where to look at a pattern in; its lengths, heads, params and tables out. */

import { HEAD_DIMS } from '../../codegen/index.ts'
import type { Setting } from '../../compiler/mask-map.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { ParamInfo } from '../../compiler/plan.ts'
import { namedValues, nearestOf, wholeOr, type Options } from './args.ts'
import { exampleOf, inputsOf } from './inputs.ts'
import { CliError } from './messages.ts'

export const PATTERN_FLAGS = {
  pattern: { type: 'string', description: 'Only this pattern of the file', valueHint: 'name' },
  const: {
    type: 'string',
    description: 'Set a const: --const block=64 (repeatable)',
    valueHint: 'name=value',
  },
} as const

export const SETTING_FLAGS = {
  ...PATTERN_FLAGS,
  'q-len': {
    type: 'string',
    description: 'Queries; the last of the keys (default: as many as keys)',
    valueHint: 'n',
  },
  'kv-len': { type: 'string', description: 'Keys (default 384)', valueHint: 'n' },
  heads: { type: 'string', description: 'Query heads (default 4)', valueHint: 'n' },
  'kv-heads': { type: 'string', description: 'Key heads (default: as many as query heads)', valueHint: 'n' },
  'head-dim': {
    type: 'string',
    description: 'Length of a query vector, for patterns that read it (default 64)',
    valueHint: 'n',
  },
  param: {
    type: 'string',
    description: 'Set a param: --param window=64, or a value per head: --param span=8,16 (repeatable)',
    valueHint: 'name=value',
  },
  seed: { type: 'string', description: 'Seed of generated tables (default 1)', valueHint: 'n' },
} as const

export const MANY = ['param', 'const'] as const

type SettingOptions = Options<typeof SETTING_FLAGS>

export const DEFAULT_LEN = 384

/** The lengths and heads of the flags alone: wrong ones are told before anything is compiled. */
export interface Sizes {
  readonly qLen: number
  readonly kvLen: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly seed: number
}

/** Of a library pattern the example's lengths and heads are the defaults; without a pattern only the flags are judged. */
export function sizesOf(options: SettingOptions, pattern?: CompiledPattern): Sizes {
  const example = pattern ? exampleOf(pattern.plan) : null
  const kvLen = wholeOr('kv-len', options['kv-len'], example?.kvLen ?? DEFAULT_LEN, 1, 16384)
  const qLen = wholeOr('q-len', options['q-len'], kvLen, 1, 16384)
  if (qLen > kvLen) throw new CliError('lengths-order', { qLen, kvLen })
  const qHeads = wholeOr('heads', options.heads, example?.heads ?? 4, 1, 1024)
  const groups = example && qHeads % example.kvHeads === 0 ? example.kvHeads : qHeads
  const kvHeads = wholeOr('kv-heads', options['kv-heads'], groups, 1, 1024)
  if (qHeads % kvHeads !== 0) throw new CliError('heads-group', { heads: qHeads, kvHeads })
  const headDim = wholeOr('head-dim', options['head-dim'], 64, HEAD_DIMS.min, HEAD_DIMS.max)
  return { qLen, kvLen, qHeads, kvHeads, headDim, seed: wholeOr('seed', options.seed, 1, 0, 2 ** 31 - 1) }
}

/** Params given by hand go over those of the example. */
export function settingOf(
  pattern: CompiledPattern,
  sizes: Sizes,
  options: { readonly param?: string | undefined },
  head = 0,
): Setting {
  const inputs = inputsOf(pattern.plan, sizes)
  const params = { ...inputs.params, ...paramsOf(pattern, sizes.qHeads, options.param) }
  return { ...sizes, batch: 0, batches: 1, head, params, tables: inputs.tables }
}

/** The values of `--param`, checked against the pattern's declarations. */
export function paramsOf(
  pattern: CompiledPattern,
  heads: number,
  given: string | undefined,
): Record<string, number | number[]> {
  const infos = pattern.plan.params
  const out: Record<string, number | number[]> = {}
  for (const [name, text] of namedValues('param', given)) {
    const info = infos.find((p) => p.name === name)
    if (!info) {
      const present = infos.map((p) => p.name)
      const near = nearestOf(name, present)
      throw new CliError('unknown-param', {
        got: name,
        pattern: pattern.name,
        present: near ? [`${near} (did you mean it?)`, ...present.filter((p) => p !== near)] : present,
      })
    }
    const values = text.split(',').map((part) => paramValue(pattern.name, info, part))
    if (values.length !== 1 && (!info.perHead || values.length !== heads)) {
      throw new CliError('param-heads', {
        name,
        pattern: pattern.name,
        perHead: info.perHead,
        heads,
        got: values.length,
      })
    }
    out[name] = values.length === 1 ? values[0]! : values
  }
  return out
}

function paramValue(pattern: string, info: ParamInfo, text: string): number {
  const value = text.trim() === '' ? NaN : Number(text)
  const right =
    Number.isFinite(value) &&
    (info.type === 'f32' || Number.isInteger(value)) &&
    value >= info.min &&
    value <= info.max
  if (!right)
    throw new CliError('param-range', {
      name: info.name,
      pattern,
      type: info.type,
      min: info.min,
      max: info.max,
      got: text,
    })
  return value
}

/** `window 96, sinkTokens 8`: what the picture was made with. */
export function printParams(pattern: CompiledPattern, at: Setting): string {
  return pattern.plan.params
    .map((p) => {
      const value = at.params[p.name] ?? p.default
      return `${p.name} ${typeof value === 'number' ? value : p.perHead ? `[${value.join(' ')}]` : String(value)}`
    })
    .join(', ')
}
