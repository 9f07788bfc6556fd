/** What a library of emulated kernels exports, as functions; and its messages, told in lines of the text. */

import type { NativeFunction, NativeLibrary } from '../native.ts'
import { lineOf } from './library.ts'

const SIGNATURES = {
  heddle_parameter_bytes: ['uint', []],
  heddle_has_entry: ['int', ['str']],
  heddle_set: ['int', ['str', 'uint']],
  heddle_statistics: ['void', ['void *']],
  heddle_launch: [
    'int',
    ['str', 'uint', 'uint', 'uint', 'uint', 'uint', 'void *', 'uint', 'void *', 'size_t'],
  ],
  heddle_alloc: ['uint64', ['size_t']],
  heddle_damaged: ['int', ['uint64', 'size_t']],
  heddle_free: ['void', ['uint64', 'size_t']],
  heddle_copy_in: ['void', ['uint64', 'void *', 'size_t']],
  heddle_copy_out: ['void', ['void *', 'uint64', 'size_t']],
  heddle_fill: ['void', ['uint64', 'int', 'size_t']],
} as const satisfies Record<string, readonly [string, readonly string[]]>

/** The C interface of an emulated kernel's library. */
export type Library = Readonly<Record<keyof typeof SIGNATURES, NativeFunction>>

export const bind = (library: NativeLibrary): Library =>
  Object.fromEntries(
    Object.entries(SIGNATURES).map(([name, [result, args]]) => [name, library.func(name, result, [...args])]),
  ) as Library

/** The message in lines of the text where it speaks of code, and under it the lines it names. */
export function inLines(message: string, path: string, code: string): string {
  const told = message.replace(/at code (0x[0-9a-f]+)/, (_, offset: string) => {
    const line = offset === '0x0' ? null : lineOf(path, offset)
    return line === null ? 'somewhere' : `in line ${line}`
  })
  const lines = code.split('\n')
  const named = new Set([...told.matchAll(/in line (\d+)/g)].map(([, number]) => Number(number)))
  return [told, ...[...named].map((n) => `${String(n).padStart(6)} | ${lines[n - 1]?.trim() ?? ''}`)].join(
    '\n',
  )
}
