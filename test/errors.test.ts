/**
 * Every diagnostic of the compiler, word for word: each errors/<code>/input*.ts is compiled and what is said about it
 * compared with expect.txt. `UPDATE=1` rewrites expect.txt. options.json: `consts` to override, a stage that `breaks`,
 * an `absent` input.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { formatDiagnostic } from '../compiler/diagnostics.ts'
import { createCompiler } from '../compiler/index.ts'
import { MESSAGES } from '../compiler/messages.ts'

const ERRORS = fileURLToPath(new URL('errors/', import.meta.url))
const UPDATE = process.env.UPDATE === '1'
const codes = Object.keys(MESSAGES)
const folders = readdirSync(ERRORS, { withFileTypes: true })
  .filter((d) => d.isDirectory())
  .map((d) => d.name)

interface Options {
  readonly consts?: Record<string, number>
  readonly breaks?: 'parse' | 'lower' | 'simplify' | 'bounds' | 'plan'
  readonly absent?: boolean
}

const warm = createCompiler()

function optionsOf(code: string): Options {
  const file = join(ERRORS, code, 'options.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Options) : {}
}

function said(code: string): string {
  const { consts, breaks, absent } = optionsOf(code)
  const boom = () => {
    throw new Error('a stage under test gave up')
  }
  const compiler = breaks ? createCompiler({ [breaks]: boom }) : warm
  const folder = join(ERRORS, code)
  const inputs = readdirSync(folder)
    .filter((f) => /^input.*\.ts$/.test(f))
    .toSorted()
    .map((f) => join(folder, f))
  // An absent file is named as it was given, so it is given by a path that is the same on every machine.
  const files = absent ? ['test/errors/nowhere.ts'] : inputs
  return files
    .flatMap((file) => compiler.compile(file, consts ? { consts } : {}).diagnostics)
    .map((d) => `${formatDiagnostic(d, (path) => relative(folder, path))}\n`)
    .join('\n')
}

test('every code has its fixture, and every fixture its code', () => {
  expect(folders.toSorted()).toEqual(codes.toSorted())
})

describe.each(folders)('%s', (code) => {
  test('is reported in these words', () => {
    const file = join(ERRORS, code, 'expect.txt')
    const text = said(code)
    if (UPDATE) writeFileSync(file, text)
    expect(text).toMatch(new RegExp(`^(error|note|internal)\\[${code}\\]: `, 'm'))
    expect(text).toBe(readFileSync(file, 'utf8'))
  })
})

test('no fixture shows another error than its own', () => {
  const errors = /^(?:error|internal)\[([\w-]+)\]/gm
  const strays = folders.flatMap((code) => {
    const text = readFileSync(join(ERRORS, code, 'expect.txt'), 'utf8')
    return [...text.matchAll(errors)].flatMap(([, found]) => (found === code ? [] : [`${code}: ${found}`]))
  })
  expect(strays).toEqual([])
})
