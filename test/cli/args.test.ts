import { describe, expect, it } from 'vitest'
import {
  namedValues,
  namedWholes,
  nearestOf,
  parseStrict,
  repeats,
  wholeList,
  wholeOr,
  wordList,
} from '../../runtime/cli/args.ts'
import { CliError } from '../../runtime/cli/messages.ts'

const DEFS = {
  file: { type: 'positional', required: true, description: 'The pattern file' },
  stage: { type: 'positional', required: false },
  'head-dim': { type: 'string' },
  param: { type: 'string' },
  seed: { type: 'string' },
  json: { type: 'boolean' },
} as const
const parse = (...argv: string[]) => parseStrict('show', argv, DEFS, { many: ['param'] })
const thrown = (run: () => unknown): CliError => {
  try {
    run()
  } catch (error) {
    if (error instanceof CliError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('parseStrict', () => {
  it('reads words and flags in any order', () => {
    const o = parse('--head-dim', '64', 'a.ts', '--json', 'mask', '--seed=3')
    expect([o.file, o.stage, o['head-dim'], o.seed, o.json]).toEqual(['a.ts', 'mask', '64', '3', true])
    expect([parse('a.ts').json, parse('a.ts', '--no-json').json]).toEqual([false, false])
  })

  it('keeps each value of a flag that may be repeated, and the last of one that may not', () => {
    const o = parse('a.ts', '--param', 'a=1', '--param=b=2', '--seed', '1', '--seed', '2')
    expect(repeats(o.param)).toEqual(['a=1', 'b=2'])
    expect(o.seed).toBe('2')
    expect(repeats(undefined)).toEqual([])
  })

  it('takes a negative number as a value, and what follows -- as words', () => {
    expect(parse('a.ts', '--seed', '-5').seed).toBe('-5')
    expect(parse('--seed', '1', '--', '--odd.ts').file).toBe('--odd.ts')
  })

  it('refuses what it does not know', () => {
    expect(thrown(() => parse('a.ts', '--haed-dim', '3'))).toMatchObject({
      code: 'unknown-flag',
      exit: 2,
      message: '`heddle show` has no flag --haed-dim',
      hint: 'did you mean --head-dim?',
    })
    expect(thrown(() => parse('a.ts', '--zzz'))).toMatchObject({
      code: 'unknown-flag',
      hint: 'run it with --help to see what there is',
    })
    expect(thrown(() => parse('a.ts', '-x'))).toMatchObject({ code: 'unknown-flag' })
    expect(thrown(() => parse('a.ts', '--seed'))).toMatchObject({
      code: 'flag-value',
      message: '--seed: expected a value, got nothing',
    })
    expect(thrown(() => parse('a.ts', '--seed', '--json'))).toMatchObject({ code: 'flag-value' })
    expect(thrown(() => parse('a.ts', 'mask', 'more'))).toMatchObject({
      code: 'extra-argument',
      message: '`heddle show` has no use for `more`',
    })
    expect(thrown(() => parse())).toMatchObject({
      code: 'missing-argument',
      message: '`heddle show` needs <file>',
    })
  })
})

describe('values of flags', () => {
  it('are whole numbers within bounds', () => {
    expect(wholeOr('n', undefined, null, 1)).toBe(null)
    expect(wholeOr('n', '12', 0, 1)).toBe(12)
    for (const bad of ['0', '-1', '1.5', 'x', '', '1e3', '99999999999']) {
      expect(thrown(() => wholeOr('n', bad, 0, 1)).message).toContain(
        '--n: expected a whole number from 1 to 4194304, got ',
      )
    }
  })

  it('are lists', () => {
    expect(wholeList('head-dim', '128,64,128', [1], 1, 512)).toEqual([128, 64, 128])
    expect(wholeList('head-dim', undefined, [64], 1, 512)).toEqual([64])
    expect(thrown(() => wholeList('head-dim', '64,', [1], 1, 512))).toMatchObject({ exit: 2 })
    expect(wordList('dtype', 'f16,f32,f16', [], ['f32', 'f16'])).toEqual(['f16', 'f32'])
    expect(thrown(() => wordList('dtype', 'f64', [], ['f32', 'f16'])).message).toBe(
      '--dtype: expected any of f32, f16, got `f64`',
    )
  })

  it('are named', () => {
    expect([...namedValues('param', 'a=1\0b=2,3')]).toEqual([
      ['a', '1'],
      ['b', '2,3'],
    ])
    expect(namedWholes('const', 'block=-4')).toEqual({ block: -4 })
    for (const bad of ['a', '=1', 'a=', '1a=2'])
      expect(thrown(() => namedValues('param', bad)).message).toBe(
        `--param: expected name=value, got \`${bad}\``,
      )
    expect(thrown(() => namedWholes('const', 'block=1.5'))).toMatchObject({ exit: 2 })
  })

  it('are compared with what there is', () => {
    expect(nearestOf('windw', ['window', 'sink'])).toBe('window')
    expect(nearestOf('xyz', ['window', 'sink'])).toBe(null)
    expect(nearestOf('ab', ['cd'])).toBe(null)
  })
})
