/** SwiftShader, a Vulkan device on the CPU: unpacked from an npm package into the user's cache, loaded into this process. */

import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { brotliDecompress } from 'node:zlib'

const PACKAGE = '@sparticuz/chromium'
const LOADER = 'libvulkan.so.1'
const MANIFEST = 'vk_swiftshader_icd.json'
const NEEDED: readonly string[] = [LOADER, 'libvk_swiftshader.so', MANIFEST]
const require = createRequire(import.meta.url)

/** Where each user's unpacked copy lies; a version of the package has a folder of its own. */
export const cacheRoot = (env: NodeJS.ProcessEnv = process.env): string =>
  join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'heddle')

/** The package's folder; throws if it is not installed. */
function packageRoot(): string {
  let folder = dirname(require.resolve(PACKAGE))
  while (!existsSync(join(folder, 'bin', 'swiftshader.tar.br'))) {
    const parent = dirname(folder)
    if (parent === folder) throw new Error(`${PACKAGE} has no bin/swiftshader.tar.br`)
    folder = parent
  }
  return folder
}

/**
 * Unpacks the libraries unless they lie there, and says in which folder. Any number of processes may do so at once: each
 * fills a folder of its own and renames it into place, which is atomic; who comes second throws its copy away.
 */
export async function unpackSwiftShader(root: string = cacheRoot()): Promise<string> {
  const source = packageRoot()
  const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as { version: string }
  const folder = join(root, `swiftshader-${version}`)
  const complete = () => NEEDED.every((name) => existsSync(join(folder, name)))
  if (complete()) return folder
  await mkdir(root, { recursive: true })
  const work = await mkdtemp(join(root, 'filling-'))
  const filling = join(work, 'new')
  try {
    const tar = await promisify(brotliDecompress)(await readFile(join(source, 'bin', 'swiftshader.tar.br')))
    const files = [...entriesOf(tar)].filter(({ name }) => NEEDED.includes(name))
    await mkdir(filling)
    for (const { name, data } of files) await writeFile(join(filling, name), data, { mode: 0o755 })
    try {
      await rename(filling, folder)
    } catch (error) {
      // Another process was first; or the folder lacks a file, because somebody tidied up: then it makes way.
      if (!complete()) {
        if (!existsSync(folder)) throw error
        await rename(folder, join(work, 'old'))
        await rename(filling, folder)
      }
    }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  return folder
}

/** Plain files of a tar archive: 512-byte headers, name at 0, octal size at 124. */
export function* entriesOf(tar: Buffer): Generator<{ readonly name: string; readonly data: Buffer }> {
  const text = (from: number, to: number) => tar.toString('latin1', from, to).split('\0')[0]!
  for (let at = 0; at + 512 <= tar.length;) {
    const name = text(at, at + 100)
    if (name === '') return
    const size = Number.parseInt(text(at + 124, at + 136), 8) || 0
    yield { name: name.replace(/^\.\//, ''), data: tar.subarray(at + 512, at + 512 + size) }
    at += 512 + Math.ceil(size / 512) * 512
  }
}

interface Koffi {
  load(path: string, options?: { readonly global?: boolean }): unknown
}

/** Null where the foreign-function package is not installed. */
async function koffi(): Promise<Koffi | null> {
  try {
    return ((await import('koffi')) as { default: Koffi }).default
  } catch {
    return null
  }
}

/** False if there is surely no Vulkan loader: asking Dawn then would only make it complain on stderr. */
export async function mayHaveVulkan(): Promise<boolean> {
  if (process.platform !== 'linux') return true
  const library = await koffi()
  if (library === null) return true
  try {
    library.load(LOADER)
    return true
  } catch {
    return false
  }
}

const VARIABLES = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES'] as const

/** The variable by which the user chose Vulkan drivers, if there is one: their choice stands. */
export const chosenDrivers = (env: NodeJS.ProcessEnv = process.env): string | null =>
  VARIABLES.find((name) => env[name] !== undefined) ?? null

/**
 * Makes SwiftShader this process's Vulkan: an instance of Dawn that is created afterwards finds it.
 * @returns null, or why it cannot be
 */
export async function loadSwiftShader(): Promise<string | null> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `SwiftShader comes for linux x64, this is ${process.platform} ${process.arch}`
  }
  const chosen = chosenDrivers()
  if (chosen !== null) return `${chosen} is set, so the drivers it names are the only ones asked`
  const library = await koffi()
  if (library === null) return 'the optional package koffi is not installed'
  let folder: string
  try {
    folder = await unpackSwiftShader()
    // Dawn opens the loader by its bare name; once loaded into the global scope, that name is found.
    library.load(join(folder, LOADER), { global: true })
  } catch (error) {
    return `SwiftShader could not be loaded from ${PACKAGE}: ${error instanceof Error ? error.message : String(error)}`
  }
  process.env.VK_DRIVER_FILES = join(folder, MANIFEST)
  return null
}
