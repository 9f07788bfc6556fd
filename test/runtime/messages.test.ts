/** Every error of the runtime has a test: its code stands in one of the test files beside this one, in model/ or in test/cuda. */

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { HeddleError, MESSAGES } from '../../runtime/messages.ts'

const tests = ['./', './model/', '../cuda/']
  .map((path) => new URL(path, import.meta.url))
  .flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => file.endsWith('.test.ts') && file !== 'messages.test.ts')
      .map((file) => readFileSync(new URL(file, folder), 'utf8')),
  )
  .join('\n')

test.each(Object.keys(MESSAGES))('%s is tested', (code) => {
  // Not toContain: a failure would print every test file.
  expect(new RegExp(`'${code}'|error\\\\?\\[${code}\\b`).test(tests)).toBe(true)
})

test('an error has its code, its values, who has to act, and its cause', () => {
  const cause = new Error('below')
  const error = new HeddleError('heads-group', { qHeads: 3, kvHeads: 2 }, { cause })
  expect(error).toMatchObject({
    name: 'HeddleError',
    code: 'heads-group',
    args: { qHeads: 3, kvHeads: 2 },
    blame: 'caller',
    cause,
  })
  expect(error).toBeInstanceOf(Error)
})

test('the core throws nothing that messages.ts does not have', () => {
  const core = new URL('../../runtime/', import.meta.url)
  const files = [
    ...readdirSync(core),
    ...['cuda', 'model'].flatMap((unit) =>
      readdirSync(new URL(`${unit}/`, core)).map((file) => `${unit}/${file}`),
    ),
  ].filter((file) => file.endsWith('.ts') && file !== 'messages.ts')
  for (const file of files) {
    const thrown = [...readFileSync(new URL(file, core), 'utf8').matchAll(/throw new (\w+)\(/g)].map(
      (m) => m[1],
    )
    // What SwiftShader's loading throws is told in the words of no-adapter.
    expect([file, thrown.filter((name) => name !== 'HeddleError')]).toEqual([
      file,
      file === 'swiftshader.ts' ? ['Error'] : [],
    ])
  }
})
