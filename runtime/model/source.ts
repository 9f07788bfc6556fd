/** Where a model's bytes come from: a name and a range in, bytes out; from memory, or from a server with `fetch`. */

import { HeddleError } from '../messages.ts'
import { remember } from './remember.ts'

/** Bytes from `begin` up to and without `end`. */
export interface ByteRange {
  readonly begin: number
  readonly end: number
}

/** The files of one folder. A read is of a range, so no file needs to be in memory as a whole. */
export interface ModelSource {
  /** The folder or address, for messages. */
  readonly place: string
  /** The bytes of a file, or null where there is none of that name. */
  size(name: string): Promise<number | null>
  /** Exactly the bytes of the range, in memory of their own. */
  read(name: string, range: ByteRange): Promise<Uint8Array<ArrayBuffer>>
  /** The names of the files, where the place can tell. */
  list?(): Promise<readonly string[]>
}

// A name comes from index files too: nothing that a path or an address would read as more than a name.
const PLAIN_NAME = /^(?!\.+$)[^/\\:?#%\0]{1,255}$/

export function plainName(name: unknown, from: string): string {
  if (typeof name !== 'string' || !PLAIN_NAME.test(name)) {
    throw new HeddleError('model-file-name', { name: String(name), from })
  }
  return name
}

export const missing = (place: string, name: string, hint = ''): HeddleError =>
  new HeddleError('model-file-missing', { place, name, hint })

/** Throws unless the range lies in a file of that size. */
export function checkRange(name: string, { begin, end }: ByteRange, size: number): void {
  if (begin < 0 || begin > end || end > size)
    throw new HeddleError('model-file-short', { name, begin, end, got: size })
}

export const readFailed = (name: string, cause: unknown): HeddleError =>
  new HeddleError(
    'model-read',
    { name, detail: cause instanceof Error ? cause.message : String(cause) },
    { cause },
  )

/** Files in memory: texts, bytes, or the Blobs and Files that a browser's file chooser gives (read range by range). */
export function memorySource(
  files: Readonly<Record<string, string | Uint8Array | Blob>>,
  place = 'the memory source',
): ModelSource {
  const known = new Map(
    Object.entries(files).map(([name, data]) => [
      plainName(name, place),
      data instanceof Blob ? data : new Blob([data as Uint8Array<ArrayBuffer> | string]),
    ]),
  )
  return {
    place,
    size: (name) => Promise.resolve(known.get(name)?.size ?? null),
    async read(name, range) {
      const blob = known.get(name)
      if (!blob) throw missing(place, name)
      checkRange(name, range, blob.size)
      const part = await blob
        .slice(range.begin, range.end)
        .arrayBuffer()
        .catch((cause: unknown) => Promise.reject(readFailed(name, cause)))
      return new Uint8Array(part)
    },
    list: () => Promise.resolve([...known.keys()]),
  }
}

export interface UrlOptions {
  /** For a login, a cache or a proxy; the platform's own by default. */
  readonly fetch?: typeof fetch
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * The files below an address, such as `https://huggingface.co/Qwen/Qwen3-0.6B/resolve/main/`, read with HTTP ranges.
 * In a browser the server has to allow it (CORS) and to expose Content-Range, as Hugging Face's does.
 */
export function urlSource(base: string, options: UrlOptions = {}): ModelSource {
  const folder = base.endsWith('/') ? base : `${base}/`
  const sizes = new Map<string, () => Promise<number | null>>()

  const request = async (name: string, begin: number, end: number): Promise<Response> => {
    const url = folder + encodeURIComponent(plainName(name, base))
    const headers = { ...options.headers, Range: `bytes=${begin}-${end - 1}` }
    try {
      return await (options.fetch ?? fetch)(url, { headers })
    } catch (cause) {
      throw readFailed(name, cause)
    }
  }

  const askSize = async (name: string): Promise<number | null> => {
    const response = await request(name, 0, 1)
    await response.body?.cancel()
    if (response.status === 404) return null
    // An empty file has no first byte: 416, and the size stands where it always does.
    const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1]
    if ((response.status === 206 || response.status === 416) && total !== undefined) return Number(total)
    if (response.status === 200) return wholeSize(name, response)
    if (response.status === 206) throw readFailed(name, 'the server does not expose Content-Range')
    throw readFailed(name, `the server answers ${response.status}`)
  }

  const sizeOf = (name: string): Promise<number | null> => {
    const ask = sizes.get(name) ?? remember(() => askSize(name))
    sizes.set(name, ask)
    return ask()
  }

  return {
    place: folder,
    size: sizeOf,
    async read(name, range) {
      const size = await sizeOf(name)
      if (size === null) throw missing(folder, name)
      checkRange(name, range, size)
      if (range.begin === range.end) return new Uint8Array()
      const response = await request(name, range.begin, range.end)
      // A server without ranges sends the whole file, which is fine where that is what was asked for.
      const whole = response.status === 200 && range.begin === 0 && range.end === size
      if (response.status !== 206 && !whole) {
        await response.body?.cancel()
        if (response.status === 200) throw new HeddleError('no-ranges', { name, status: 200 })
        throw readFailed(name, `the server answers ${response.status}`)
      }
      return readBody(name, response, range)
    },
  }
}

/** The size of a file that a server sends as a whole: what it says, unless it has compressed it. */
function wholeSize(name: string, response: Response): number {
  const length = response.headers.get('content-length')
  if (length === null || response.headers.has('content-encoding')) {
    throw new HeddleError('no-ranges', { name, status: response.status })
  }
  return Number(length)
}

/** The body into one array of the range's size: a server that sends more is not followed. */
async function readBody(
  name: string,
  response: Response,
  { begin, end }: ByteRange,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin)
  const reader = response.body?.getReader()
  let filled = 0
  try {
    for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
      if (filled + part.value.length > bytes.length) {
        await reader?.cancel()
        throw new HeddleError('no-ranges', { name, status: response.status })
      }
      bytes.set(part.value, filled)
      filled += part.value.length
    }
  } catch (cause) {
    throw cause instanceof HeddleError ? cause : readFailed(name, cause)
  }
  if (filled < bytes.length)
    throw new HeddleError('model-file-short', { name, begin, end, got: begin + filled })
  return bytes
}
