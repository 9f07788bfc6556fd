/** Where bytes come from: the same files from memory, from a folder and from servers of several kinds. */

import { mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { folderSource } from '../../../runtime/model/source-node.ts'
import { memorySource, urlSource, type ModelSource } from '../../../runtime/model/source.ts'
import { refusal } from './tiny.ts'

const FILES: Readonly<Record<string, Uint8Array<ArrayBuffer>>> = {
  'config.json': new TextEncoder().encode('{"a": 1}'),
  'weights.bin': Uint8Array.from({ length: 1000 }, (_, i) => i),
  empty: new Uint8Array(),
}

const folder = mkdtempSync(join(tmpdir(), 'heddle-source-'))
for (const [name, data] of Object.entries(FILES)) writeFileSync(join(folder, name), data)
symlinkSync(join(folder, 'weights.bin'), join(folder, 'linked.bin'))
mkdirSync(join(folder, 'original'))

type Answer = (request: IncomingMessage, response: ServerResponse, file: Uint8Array) => void

/** As a good server answers: the range that was asked for, and the whole size beside it. */
const ranged: Answer = (request, response, file) => {
  const [begin, last] = /bytes=(\d+)-(\d+)/
    .exec(request.headers.range ?? '')!
    .slice(1)
    .map(Number) as [number, number]
  if (begin >= file.length) {
    response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end()
    return
  }
  const part = file.subarray(begin, last + 1)
  response
    .writeHead(206, { 'content-range': `bytes ${begin}-${begin + part.length - 1}/${file.length}` })
    .end(part)
}
const whole: Answer = (_, response, file) =>
  void response.writeHead(200, { 'content-length': file.length }).end(file)
const packed: Answer = (_, response, file) =>
  void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(file))

const servers: ReturnType<typeof createServer>[] = []
afterAll(() => {
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true })
})

async function served(answer: Answer): Promise<string> {
  const server = createServer((request, response) => {
    const file = FILES[decodeURIComponent((request.url ?? '').slice('/model/'.length))]
    if (file) answer(request, response, file)
    else response.writeHead(404).end()
  })
  servers.push(server)
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/model`
}

const good = await served(ranged)
const sources: [string, ModelSource][] = [
  ['memory', memorySource(FILES)],
  ['a folder', folderSource(folder)],
  ['a server', urlSource(good)],
]

describe.each(sources)('%s', (_, source) => {
  test('has sizes, and null for what is not there', async () => {
    expect(await source.size('weights.bin')).toBe(1000)
    expect(await source.size('empty')).toBe(0)
    expect(await source.size('model.safetensors')).toBeNull()
  })

  test('gives exactly the bytes that are asked for', async () => {
    const read = async (begin: number, end: number) => [...(await source.read('weights.bin', { begin, end }))]
    expect(await read(0, 1000)).toEqual([...FILES['weights.bin']!])
    expect(await read(255, 260)).toEqual([255, 0, 1, 2, 3])
    expect(await read(7, 7)).toEqual([])
    expect((await source.read('weights.bin', { begin: 3, end: 9 })).byteOffset).toBe(0)
  })

  test('refuses a file that is not there and bytes that a file does not have', async () => {
    expect(await refusal(() => source.read('other.bin', { begin: 0, end: 1 }))).toBe(
      `error[model-file-missing]: ${source.place} has no other.bin`,
    )
    expect(await refusal(() => source.read('weights.bin', { begin: 990, end: 1001 }))).toBe(
      'error[model-file-short]: weights.bin: expected bytes 990 to 1001, but the file ends at 1000: it was cut off',
    )
  })
})

describe('names', () => {
  test.each(['../config.json', '/etc/passwd', 'a\\b', '..', '', 'a?b', 'c:d', 'a%2e', 'x\0'])(
    '%j is none of a file in the folder',
    async (name) => {
      for (const source of [folderSource(folder), urlSource(good)]) {
        expect(await refusal(() => source.size(name))).toBe(
          `error[model-file-name]: ${source === sources[1]?.[1] ? folder : source.place.replace(/model\/$/, 'model')}: ` +
            `expected the name of a file in the model's own folder, got ${JSON.stringify(name)}`,
        )
      }
    },
  )
})

describe('a folder', () => {
  test('lists its files, follows links and takes no folder for a file', async () => {
    const source = folderSource(folder)
    expect((await source.list!()).toSorted()).toEqual(['config.json', 'empty', 'linked.bin', 'weights.bin'])
    expect([...(await source.read('linked.bin', { begin: 1, end: 3 }))]).toEqual([1, 2])
    expect(await source.size('original')).toBeNull()
  })

  test('that is not there is an error of the machine', async () => {
    const source = folderSource(join(folder, 'none'))
    expect(await source.size('config.json')).toBeNull()
    expect(await refusal(() => source.list!())).toMatch(/^error\[model-read\]: .*none cannot be read: ENOENT/)
  })
})

describe('a browser’s files', () => {
  test('are read as Blobs', async () => {
    const source = memorySource(
      { 'a.txt': 'äb', 'w.bin': new Blob([FILES['weights.bin']!]) },
      'the chosen files',
    )
    expect(await source.size('a.txt')).toBe(3)
    expect([...(await source.read('w.bin', { begin: 2, end: 4 }))]).toEqual([2, 3])
    expect(await source.list!()).toEqual(['a.txt', 'w.bin'])
  })
})

describe('servers', () => {
  test('that send whole files are good for whole files alone', async () => {
    const source = urlSource(await served(whole))
    expect(await source.size('weights.bin')).toBe(1000)
    expect(new TextDecoder().decode(await source.read('config.json', { begin: 0, end: 8 }))).toBe('{"a": 1}')
    expect(await refusal(() => source.read('weights.bin', { begin: 0, end: 10 }))).toBe(
      'error[no-ranges]: the server of weights.bin does not send parts of a file (it answers a Range with 200); serve ' +
        'the folder from one that does',
    )
  })

  test('that compress whole files have no size', async () => {
    const source = urlSource(await served(packed))
    expect(await refusal(() => source.size('config.json'))).toMatch(/^error\[no-ranges\]/)
  })

  test('that send more or less than the range are not believed', async () => {
    const more = urlSource(
      await served((request, response, file) => {
        if (request.headers.range === 'bytes=0-0') ranged(request, response, file)
        else response.writeHead(206).end(file)
      }),
    )
    expect(await refusal(() => more.read('weights.bin', { begin: 0, end: 10 }))).toMatch(
      /^error\[no-ranges\].* 206/,
    )
    const less = urlSource(
      await served((request, response, file) => {
        if (request.headers.range === 'bytes=0-0') ranged(request, response, file)
        else response.writeHead(206).end(file.subarray(0, 4))
      }),
    )
    expect(await refusal(() => less.read('weights.bin', { begin: 0, end: 10 }))).toBe(
      'error[model-file-short]: weights.bin: expected bytes 0 to 10, but the file ends at 4: it was cut off',
    )
  })

  test('that fail say so, and are asked again', async () => {
    let failing = true
    const source = urlSource(
      await served((request, response, file) => {
        if (failing) response.writeHead(503).end()
        else ranged(request, response, file)
      }),
    )
    expect(await refusal(() => source.size('weights.bin'))).toBe(
      'error[model-read]: weights.bin cannot be read: the server answers 503',
    )
    failing = false
    expect(await source.size('weights.bin')).toBe(1000)
    failing = true
    expect(await refusal(() => source.read('weights.bin', { begin: 0, end: 1 }))).toMatch(
      /^error\[model-read\].*503/,
    )
    const gone = urlSource('http://127.0.0.1:1/')
    expect(await refusal(() => gone.size('weights.bin'))).toMatch(/^error\[model-read\]/)
  })

  test('are asked with the headers and the fetch of the options', async () => {
    const asked: string[] = []
    const source = urlSource(good, {
      headers: { Authorization: 'Bearer x' },
      fetch: (url, init) => {
        asked.push(`${String(url)} ${JSON.stringify(init?.headers)}`)
        return fetch(url, init)
      },
    })
    await source.read('config.json', { begin: 0, end: 4 })
    expect(asked).toEqual([
      `${good}/config.json {"Authorization":"Bearer x","Range":"bytes=0-0"}`,
      `${good}/config.json {"Authorization":"Bearer x","Range":"bytes=0-3"}`,
    ])
  })
})
