/** checkPattern: one line that passes for a right kernel, and the simplest call that differs for a wrong one. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { pattern } from '../../../dsl/index.ts'
import { causal } from '../../../patterns/index.ts'
import { checkPattern, CheckError, examinePattern } from '../../../runtime/testing/index.ts'
import { MESSAGES, type Code } from '../../../runtime/testing/messages.ts'
import { openTestDevice } from '../../helpers.ts'
import { near } from './near.ts'

const file = new URL('./near.ts', import.meta.url)
const source = readFileSync(file, 'utf8')
const opened = await openTestDevice()
afterAll(() => opened?.close())

describe.skipIf(!opened)('checkPattern', () => {
  const adapter = opened!

  test('a pattern of the library needs nothing but itself', async () => {
    const result = await checkPattern(causal, { runs: 5, seed: 3 })
    expect(result).toMatchObject({ pattern: 'causal', target: 'wgsl', runs: 5, failures: 0, seed: 3 })
    expect(result.maxErrorRatio).toBeGreaterThan(0)
    expect(result.maxErrorRatio).toBeLessThanOrEqual(1)
    expect(result).not.toHaveProperty('counterExample')
  })

  test('another pattern says where its file is: as a URL, a URL in words, or a path', async () => {
    for (const place of [file, String(file), fileURLToPath(file)]) {
      await expect(checkPattern(near, { file: place, runs: 2, seed: 1, adapter })).resolves.toMatchObject({
        failures: 0,
      })
    }
  })

  test('consts of the kernel are those of the oracle', async () => {
    await expect(
      checkPattern(near, { file, consts: { block: 9 }, runs: 6, seed: 1, adapter }),
    ).resolves.toMatchObject({ failures: 0 })
  })

  test('tells of each run', async () => {
    const told: string[] = []
    await checkPattern(causal, {
      runs: 3,
      seed: 1,
      adapter,
      dtype: 'f16',
      onRun: (done, runs) => told.push(`${done}/${runs}`),
    })
    expect(told).toEqual(['1/3', '2/3', '3/3'])
  })

  test('a kernel that differs is shown by the simplest call, which its seed finds again', async () => {
    // The text that is compiled drops the diagonal; the pattern that is run keeps it.
    const text = source.replace('kv <= q', 'kv < q')
    const result = await examinePattern(near, { file, text, runs: 30, seed: 11, adapter, dtype: 'f32' })
    expect(result.failures).toBeGreaterThan(0)
    expect(result.maxErrorRatio).toBe(Infinity)
    const { counterExample } = result
    expect(counterExample!.call).toMatchObject({
      batch: 1,
      qHeads: 1,
      kvHeads: 1,
      qRows: 1,
      kvRows: 1,
      params: { window: 7 },
    })
    expect(counterExample!.text).toContain('lse at batch 0, head 0, row 0 is -Infinity, the oracle gives')
    expect(counterExample!.text).toContain(`repeat it with seed ${counterExample!.seed} and runs 1`)
    const again = await examinePattern(near, {
      file,
      text,
      runs: 1,
      seed: counterExample!.seed,
      adapter,
      dtype: 'f32',
    })
    expect(again.failures).toBe(1)
    expect(again.counterExample!.call).toEqual(counterExample!.call)
  })

  const refusals: Record<Code, { run: () => Promise<unknown>; says: string }> = {
    'no-source': {
      run: () => checkPattern(near),
      says:
        "near: the compiler reads a pattern's source, and this one is not of the library; say where it is: " +
        "checkPattern(pattern, { file: new URL('./near.ts', import.meta.url) })",
    },
    'not-in-file': {
      run: () => checkPattern(pattern({ name: 'far', mask: () => true }), { file }),
      says: `${fileURLToPath(file)} exports no pattern named far; it has near`,
    },
    'not-compiled': {
      run: () => checkPattern(near, { file, text: source.replace('q - kv <', 'q / kv <') }),
      says: 'near does not compile\nerror[index-division]: `/` gives a fraction in TypeScript and truncates on the GPU',
    },
    runs: {
      run: () => checkPattern(causal, { runs: 0 }),
      says: 'runs: expected a whole number of at least 1, got 0',
    },
    seed: { run: () => checkPattern(causal, { seed: 0.5 }), says: 'seed: expected a whole number, got 0.5' },
    'check-failed': {
      run: () =>
        checkPattern(near, {
          file,
          text: source.replace('kv <= q', 'kv < q'),
          runs: 10,
          seed: 11,
          adapter,
          dtype: 'f32',
        }),
      says: 'near: 8 of 10 runs differ from the oracle (seed 11)\n{ batch: 1, qHeads: 1, kvHeads: 1, qRows: 1, kvRows: 1, ',
    },
    refuses: {
      run: () => checkPattern({ ...near, mask: never }, { file, runs: 9, seed: 11, adapter, dtype: 'f32' }),
      says: 'near, run as TypeScript, refuses a call that it declares to take (seed 12)\n{ batch: 1, qHeads: 1, kvHeads: 1, qRows: 1, kvRows: 1, ',
    },
  }

  const never = (): boolean => {
    throw new Error('not today')
  }

  test.each(Object.keys(MESSAGES) as Code[])('refuses with %s', async (code) => {
    const { run, says } = refusals[code]
    const error = await run().then(
      () => null,
      (e: unknown) => e,
    )
    expect(error).toBeInstanceOf(CheckError)
    expect(error).toMatchObject({ code })
    expect((error as CheckError).message.startsWith(says), (error as CheckError).message).toBe(true)
  })
})
