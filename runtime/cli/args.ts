/** The words after a command's name in, typed options out; anything the command does not know is an error. */

import { parseArgs, type ArgsDef } from 'citty'
import { CliError } from './messages.ts'

/** The options of a command: undefined where a flag without a default was not given. */
export type Options<T extends ArgsDef> = {
  readonly [K in keyof T]: T[K] extends { readonly type: 'boolean' }
    ? boolean
    : T[K] extends { readonly default: string } | { readonly type: 'positional'; readonly required: true }
      ? string
      : string | undefined
} & { readonly _: readonly string[] }

/** Flags given several times arrive as one, its values joined by this. */
const JOINT = '\u0000'

/**
 * citty's parse, made strict: unknown flags, flags without their value and surplus words are refused. `many` names flags
 * that may be given more than once; `rest` says that any number of plain words is welcome.
 */
export function parseStrict<const T extends ArgsDef>(
  command: string,
  argv: readonly string[],
  defs: T,
  more: { readonly many?: readonly string[]; readonly rest?: boolean } = {},
): Options<T> {
  const flags = Object.keys(defs).filter((name) => defs[name]?.type !== 'positional')
  for (const word of untilDashes(argv)) {
    const typed = /^--?([^=]+)/.exec(word)?.[1]
    if (typed === undefined || /^-\d/.test(word)) continue
    const isNegated = typed.startsWith('no-') && defs[typed.slice(3)]?.type === 'boolean'
    if (!flags.includes(typed) && !isNegated) {
      throw new CliError('unknown-flag', {
        command,
        got: word.split('=')[0]!,
        nearest: nearestOf(typed, flags, '--'),
      })
    }
  }
  const parsed: Readonly<Record<string, unknown>> & { _: string[] } = parseArgs(
    joinRepeats(argv, defs, more.many ?? []),
    withoutNeed(defs),
  )
  for (const [name, def] of Object.entries(defs)) {
    const value: unknown = parsed[name]
    if ((def.type === 'string' || def.type === 'enum') && value === '')
      throw new CliError('flag-value', { flag: name, expected: 'a value', got: '' })
    if (def.type === 'positional' && def.required !== false && value === undefined) {
      throw new CliError('missing-argument', { command, what: `<${name}>` })
    }
  }
  const places = Object.values(defs).filter((d) => d.type === 'positional').length
  const surplus = more.rest ? undefined : parsed._[places]
  if (surplus !== undefined) throw new CliError('extra-argument', { command, got: surplus })
  const found = Object.entries(defs).map(([name, def]) => [
    name,
    def.type === 'boolean' ? parsed[name] === true : parsed[name],
  ])
  // What each flag's row says of its type was checked above, one by one.
  return { ...Object.fromEntries(found), _: parsed._ } as Options<T>
}

const untilDashes = (argv: readonly string[]) =>
  argv.slice(0, argv.includes('--') ? argv.indexOf('--') : argv.length)

/** citty names a missing word by its own sentence; ours is thrown instead. */
const withoutNeed = (defs: ArgsDef): ArgsDef =>
  Object.fromEntries(Object.entries(defs).map(([name, def]) => [name, { ...def, required: false }]))

function joinRepeats(argv: readonly string[], defs: ArgsDef, many: readonly string[]): string[] {
  const out: string[] = []
  const values = new Map<string, string[]>()
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (word === '--') return [...flat(values), ...out, ...argv.slice(i)]
    const [, name, inline] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? []
    if (name !== undefined && defs[name]?.type === 'string') {
      const next = argv[i + 1]
      // `--seed -5`: a number is a value, whatever its sign.
      const value =
        inline ?? (next === undefined || (next.startsWith('-') && !/^-\.?\d/.test(next)) ? '' : argv[++i]!)
      const before = many.includes(name) ? (values.get(name) ?? []) : []
      values.set(name, [...before, value])
    } else out.push(word)
  }
  return [...flat(values), ...out]
}

const flat = (values: ReadonlyMap<string, readonly string[]>): string[] =>
  [...values].map(([name, all]) => `--${name}=${all.join(JOINT)}`)

/** A flag's values where it may be repeated. */
export const repeats = (value: string | undefined): string[] =>
  value === undefined ? [] : value.split(JOINT)

/** The word among `all` that one or two slips of the finger away from `got`. */
export function nearestOf(got: string, all: readonly string[], prefix = ''): string | null {
  const scored = all.map((word) => [distance(got, word), word] as const).sort((a, b) => a[0] - b[0])
  const best = scored[0]
  return best !== undefined && best[0] <= Math.max(1, Math.min(2, got.length - 2))
    ? `${prefix}${best[1]}`
    : null
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}

/** A whole number from `min` to `max`, or the default where the flag was not given. */
export function wholeOr<D>(
  flag: string,
  value: string | undefined,
  otherwise: D,
  min: number,
  max: number = 2 ** 22,
): number | D {
  if (value === undefined) return otherwise
  const number = /^[+-]?\d+$/.test(value.trim()) ? Number(value) : NaN
  if (!(number >= min && number <= max))
    throw new CliError('flag-value', { flag, expected: `a whole number from ${min} to ${max}`, got: value })
  return number
}

/** The largest number of a flag that has no bound of its own. */
export const MOST_NUMBER = 1e12

/** A number from `min` to `max`, or the default where the flag was not given. */
export function numberOr<D>(
  flag: string,
  value: string | undefined,
  otherwise: D,
  min: number,
  max: number,
): number | D {
  if (value === undefined) return otherwise
  const number = value.trim() === '' ? NaN : Number(value)
  if (!(number >= min && number <= max))
    throw new CliError('flag-value', { flag, expected: `a number ${within(min, max)}`, got: value })
  return number
}

/** The least positive number stands for 0 itself left out. */
const within = (min: number, max: number): string =>
  min === Number.MIN_VALUE ? `above 0 and at most ${max}` : `from ${min} to ${max}`

/** `64,128`: whole numbers, in the order given. */
export function wholeList(
  flag: string,
  value: string | undefined,
  otherwise: readonly number[],
  min: number,
  max: number,
): number[] {
  if (value === undefined) return [...otherwise]
  return value.split(',').map((part) => wholeOr(flag, part, 0, min, max))
}

/** `f32,f16`: words out of a fixed set, each once. */
export function wordList<W extends string>(
  flag: string,
  value: string | undefined,
  otherwise: readonly W[],
  allowed: readonly W[],
): W[] {
  if (value === undefined) return [...otherwise]
  const words = value.split(',').map((part) => {
    const found = allowed.find((w) => w === part.trim())
    if (found === undefined)
      throw new CliError('flag-value', { flag, expected: `any of ${allowed.join(', ')}`, got: part })
    return found
  })
  return [...new Set(words)]
}

/** `name=value` pairs of a flag that may be repeated. */
export function namedValues(flag: string, value: string | undefined): Map<string, string> {
  const out = new Map<string, string>()
  for (const text of repeats(value)) {
    const [, name, given] = /^([A-Za-z_$][\w$]*)=(.+)$/.exec(text) ?? []
    if (name === undefined || given === undefined)
      throw new CliError('flag-value', { flag, expected: 'name=value', got: text })
    out.set(name, given)
  }
  return out
}

/** `owner.name=value` of a flag that may be repeated: for each owner what `namedValues` reads. */
export function ownedValues(flag: string, value: string | undefined): Map<string, string> {
  const out = new Map<string, string>()
  for (const text of repeats(value)) {
    const [, owner, rest] = /^(.+)\.([A-Za-z_$][\w$]*=.+)$/.exec(text) ?? []
    if (owner === undefined || rest === undefined)
      throw new CliError('flag-value', { flag, expected: 'pattern.name=value', got: text })
    const before = out.get(owner)
    out.set(owner, before === undefined ? rest : `${before}${JOINT}${rest}`)
  }
  return out
}

/** `--const block=64`: whole numbers by name. */
export function namedWholes(flag: string, value: string | undefined): Record<string, number> {
  const out: Record<string, number> = {}
  for (const [name, given] of namedValues(flag, value))
    out[name] = wholeOr(flag, given, 0, -(2 ** 31), 2 ** 31 - 1)
  return out
}
