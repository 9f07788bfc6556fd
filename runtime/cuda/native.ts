/** Native: the little that the CUDA target needs of a foreign-function package, so that tests may put another one in its place. */

import { HeddleError } from '../messages.ts'

/** A C function; integers in and out as numbers, addresses as bigints, memory as typed arrays. */
export interface NativeFunction {
  (...args: unknown[]): unknown
  /** The same on a thread of its own; the last argument is called with an error or the result. */
  async(...args: unknown[]): void
}

export interface NativeLibrary {
  func(name: string, result: string, args: string[]): NativeFunction
}

export interface Native {
  load(path: string): NativeLibrary
  /** Where a typed array's memory lies. */
  address(data: ArrayBufferView): bigint
  /** A C string. */
  text(pointer: bigint): string
}

interface Koffi {
  load(path: string): NativeLibrary
  address(data: ArrayBufferView): bigint
  readonly decode: { string(pointer: bigint): string }
}

/** @throws HeddleError `no-cuda` where the optional package koffi is not installed */
export async function loadNative(): Promise<Native> {
  try {
    const { default: koffi } = (await import('koffi')) as unknown as { default: Koffi }
    return {
      load: (path) => koffi.load(path),
      address: (data) => koffi.address(data),
      text: (pointer) => koffi.decode.string(pointer),
    }
  } catch (cause) {
    throw new HeddleError('no-cuda', { detail: 'the optional package koffi is not installed' }, { cause })
  }
}

/** A function's call on another thread, as a promise. */
export const inBackground = (f: NativeFunction, ...args: unknown[]): Promise<unknown> =>
  new Promise((resolve, reject) =>
    f.async(...args, (error: unknown, result: unknown) => {
      if (error) reject(error instanceof Error ? error : new Error(String(error)))
      else resolve(result)
    }),
  )
