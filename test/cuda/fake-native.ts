/** A foreign-function package without libraries: functions are JavaScript, memory is the typed arrays that were passed. */

import type { Native, NativeFunction } from '../../runtime/cuda/native.ts'

export type Functions = Readonly<Record<string, (...args: never[]) => unknown>>

/** Strings that functions return pointers to. */
const strings: string[] = ['']

export function pointerTo(text: string): bigint {
  strings.push(text)
  return BigInt(strings.length - 1)
}

const arrays: ArrayBufferView[] = []
const FIRST = 0x7000_0000n

/** The array whose address a function was given. */
export const arrayAt = (address: bigint): Uint8Array => {
  const { buffer, byteOffset, byteLength } = arrays[Number((address - FIRST) / 0x1_0000n)]!
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** @param libraries functions by the name or path of their library; others do not load */
export function fakeNative(
  libraries: Readonly<Record<string, Functions>>,
): Native & { readonly asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    load(path) {
      asked.push(path)
      const functions = libraries[path]
      if (functions === undefined) throw new Error(`${path}: cannot open shared object file`)
      return {
        func(name) {
          const f = functions[name]
          if (f === undefined) throw new Error(`${name}: undefined symbol`)
          const call = (...args: unknown[]) => f(...(args as never[]))
          const async = (...args: unknown[]) => {
            const done = args.pop() as (error: unknown, result: unknown) => void
            const result = call(...args)
            setImmediate(() => done(null, result))
          }
          return Object.assign(call, { async }) as NativeFunction
        },
      }
    },
    // Deliberately no multiple of 64.
    address(data) {
      if (!arrays.includes(data)) arrays.push(data)
      return FIRST + 0x1_0000n * BigInt(arrays.indexOf(data)) + 16n
    },
    text: (pointer) => strings[Number(pointer)]!,
  }
}
