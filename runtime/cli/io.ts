/** What a command touches of the world outside: text streams, the disk, the adapter; a test puts its own in place. */

import * as fs from 'node:fs'
import { constants } from 'node:os'
import type { openCuda } from '../cuda.ts'
import type { CudaDriver } from '../cuda/driver.ts'
import type { openDevice } from '../device-node.ts'

/** The calls that change the disk: a test makes one of them fail. */
export interface Disk {
  readonly mkdir: (path: string) => void
  readonly write: (path: string, bytes: string | Uint8Array) => void
  readonly rename: (from: string, to: string) => void
  readonly remove: (path: string) => void
}

export interface Io {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** stderr is a terminal: progress may overwrite its line. */
  readonly tty: boolean
  readonly columns: number
  readonly cwd: string
  /** Where compilers and caches lie, in the user's words. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly disk: Disk
  /** Ends a watch. */
  readonly signal: AbortSignal
  readonly openDevice: typeof openDevice
  /** A GPU. */
  readonly openCuda: typeof openCuda
  /** A device that runs the kernels for GPUs on the CPU. */
  readonly openEmulation: () => Promise<CudaDriver>
}

export const REAL_DISK: Disk = {
  mkdir: (path) => fs.mkdirSync(path, { recursive: true }),
  write: (path, bytes) => {
    const file = fs.openSync(path, 'w')
    try {
      fs.writeFileSync(file, bytes)
      // Some file systems report a full disk only here.
      fs.fsyncSync(file)
    } finally {
      fs.closeSync(file)
    }
  },
  rename: (from, to) => fs.renameSync(from, to),
  remove: (path) => fs.rmSync(path, { force: true }),
}

export function processIo(signal: AbortSignal): Io {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    tty: process.stderr.isTTY === true,
    columns: process.stdout.columns ?? 110,
    cwd: process.cwd(),
    env: process.env,
    disk: REAL_DISK,
    signal,
    openDevice: async (options) => (await import('../device-node.ts')).openDevice(options),
    openCuda: async (options) => (await import('../cuda.ts')).openCuda(options),
    openEmulation: async () => (await import('../cuda/emulated.ts')).openEmulation(),
  }
}

/** One line on stderr that each call overwrites; nothing where stderr is no terminal. */
export function progressOn(io: Io): { readonly show: (text: string) => void; readonly clear: () => void } {
  let width = 0
  const put = (text: string) => {
    const shown = text.slice(0, Math.max(0, io.columns - 1))
    io.err(`\r${shown.padEnd(width)}${shown === '' ? '\r' : ''}`)
    width = shown.length
  }
  return {
    show: (text) => {
      if (io.tty) put(text)
    },
    clear: () => {
      if (io.tty && width > 0) put('')
    },
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'no space is left on the disk',
  EROFS: 'the file system is read-only',
  EACCES: 'permission was denied',
  EPERM: 'the operation is not permitted',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EISDIR: 'it is a folder',
  EDQUOT: 'the disk quota is used up',
  ENOENT: 'no such file or folder',
  EEXIST: 'a file is in the way',
  ELOOP: 'too many links',
  EFBIG: 'the file would be too large',
  EIO: 'the disk reported an error',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many files are open',
}

/** A system error's code, null for anything else that was thrown. */
export function systemCode(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'string' && code in constants.errno ? code : null
}

/** Why the system refused, in words. */
export const reasonOf = (code: string): string => REASONS[code] ?? code
