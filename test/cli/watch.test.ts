import * as fs from 'node:fs'
import * as path from 'node:path'
import { expect, it } from 'vitest'
import { watchFiles } from '../../runtime/cli/watch.ts'
import { temporaryFolder, testIo } from './helpers.ts'

const until = async (holds: () => boolean) => {
  for (let i = 0; i < 200 && !holds(); i++) await new Promise((done) => setTimeout(done, 25))
  expect(holds()).toBe(true)
}

it('calls once for a burst of changes, follows new files, and ends with the signal', async () => {
  const folder = temporaryFolder({ 'a.ts': '1', 'other/b.ts': '1' })
  const stop = new AbortController()
  const io = testIo(folder, { signal: stop.signal })
  const files = [path.join(folder, 'a.ts')]
  let calls = 0
  const watching = watchFiles(
    io,
    () => files,
    async () => {
      calls++
      files[1] = path.join(folder, 'other/b.ts')
    },
  )
  for (const text of ['2', '3', '4']) fs.writeFileSync(files[0]!, text)
  await until(() => calls === 1)
  await until(() => io.text.err.includes('watching 2 files'))
  // As editors save: another file takes the name.
  fs.writeFileSync(path.join(folder, 'other/b.tmp'), '2')
  fs.renameSync(path.join(folder, 'other/b.tmp'), files[1]!)
  await until(() => calls === 2)
  fs.writeFileSync(path.join(folder, 'notes.md'), 'no source')
  await new Promise((done) => setTimeout(done, 150))
  expect(calls).toBe(2)
  stop.abort()
  await watching
  fs.writeFileSync(files[0]!, '5')
  await new Promise((done) => setTimeout(done, 150))
  expect(calls).toBe(2)
})
