/** A command line without a process: what it wrote and its exit code; and folders that are gone when the test ends. */

import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { onTestFinished } from 'vitest'
import { REAL_DISK, type Io } from '../../runtime/cli/io.ts'
import { HeddleError } from '../../runtime/messages.ts'

export interface TestIo extends Io {
  readonly text: { out: string; err: string }
}

export function testIo(cwd: string, more: Partial<Io> = {}): TestIo {
  const text = { out: '', err: '' }
  return {
    text,
    cwd,
    // No nvcc unless a test brings one, and no cache of the user's.
    env: { ...process.env, HEDDLE_NVCC: '', HEDDLE_CACHE_DIR: path.join(cwd, '.cache') },
    tty: false,
    columns: 110,
    disk: REAL_DISK,
    signal: new AbortController().signal,
    openDevice: async (...options) => (await import('../../runtime/device-node.ts')).openDevice(...options),
    // A machine without a GPU, whatever this one is.
    openCuda: async () => {
      throw new HeddleError('no-cuda', { detail: 'none here' })
    },
    openEmulation: async () => (await import('../../runtime/cuda/emulated.ts')).openEmulation(),
    out: (t) => void (text.out += t),
    err: (t) => void (text.err += t),
    ...more,
  }
}

export function temporaryFolder(files: Readonly<Record<string, string>> = {}): string {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(tmpdir()), 'heddle-cli-'))
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
    fs.writeFileSync(path.join(folder, name), text)
  }
  return folder
}

/** Every file below a folder, relative, sorted. */
export const filesIn = (folder: string): string[] =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => path.relative(folder, path.join(e.parentPath, e.name)))
    .sort()

export const failingWith = (code: string) => (): never => {
  throw Object.assign(new Error(code), { code })
}
