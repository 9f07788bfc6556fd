/** What NVRTC refuses and nvcc takes: no text that ships may have it, since a device compiles the texts as they are. */

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const FOLDER = new URL('../../../codegen/cuda/', import.meta.url)
/** A lambda of any argument: to NVRTC its call is a host function. */
const GENERIC = /\[[&=]?\]\s*\([^)]*\bauto\b/

test('a lambda of any argument is found', () => {
  expect('auto each = [&](int from, auto taken) {').toMatch(GENERIC)
  expect('auto each = [&](int from, int taken) { auto x = 1; }').not.toMatch(GENERIC)
})

test.each(readdirSync(FOLDER).filter((name) => name.endsWith('.cuh')))('%s has none', (name) => {
  expect(readFileSync(new URL(name, FOLDER), 'utf8').match(GENERIC)?.[0] ?? null).toBeNull()
})
