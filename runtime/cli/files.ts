/** Files and globs of the command line in, paths out; and writing that leaves whole files or none. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import { reasonOf, systemCode, type Io } from './io.ts'
import { CliError } from './messages.ts'

/** A path as a message shows it: relative to where the command runs, unless that climbs out. */
export function shown(io: Io, file: string): string {
  const relative = path.relative(io.cwd, file)
  return relative === '' ? '.' : relative.startsWith('..') || path.isAbsolute(relative) ? file : relative
}

/** The file's absolute path, proven to be a readable file. */
export function readableFile(io: Io, given: string): string {
  const file = path.resolve(io.cwd, given)
  try {
    fs.accessSync(file, fs.constants.R_OK)
    if (fs.statSync(file).isDirectory()) throw Object.assign(new Error('folder'), { code: 'EISDIR' })
    return file
  } catch (error) {
    const code = systemCode(error)
    if (code === null) throw error
    if (code === 'ENOENT') throw new CliError('file-missing', { file: given })
    throw new CliError('file-unreadable', { file: given, why: reasonOf(code) })
  }
}

const isGlob = (text: string) => /[*?{[]/.test(text)

/** An absolute path, and whether it was named or only matches a glob. */
export interface GivenFile {
  readonly file: string
  readonly named: boolean
}

/** Files as named, globs expanded (`*`, `?`, `**`, `{a,b}`, `[ab]`), each once, in the order given and then by name. */
export function expandFiles(io: Io, given: readonly string[]): GivenFile[] {
  const files = new Map<string, boolean>()
  for (const text of given) {
    // A file may be called like a glob.
    if (!isGlob(text) || fs.existsSync(path.resolve(io.cwd, text))) {
      files.set(readableFile(io, text), true)
      continue
    }
    const found = globFiles(io.cwd, text)
    if (found.length === 0) throw new CliError('no-match', { glob: text })
    for (const file of found) files.set(file, files.get(file) ?? false)
  }
  return [...files].map(([file, named]) => ({ file, named }))
}

function globFiles(cwd: string, glob: string): string[] {
  const parts = glob.split('/')
  const first = parts.findIndex(isGlob)
  const root = path.resolve(cwd, parts.slice(0, first).join('/') || (glob.startsWith('/') ? '/' : '.'))
  const match = globToRegExp(parts.slice(first).join('/'))
  const deep = glob.includes('**')
  const depth = parts.length - first
  const found: string[] = []
  const walk = (folder: string, inside: string, level: number) => {
    let entries: fs.Dirent[]
    try {
      entries = fs.readdirSync(folder, { withFileTypes: true })
    } catch {
      // A folder that cannot be listed matches nothing; a glob without any match is an error of its own.
      return
    }
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const name = inside + entry.name
      if (entry.isDirectory()) {
        if (entry.name !== 'node_modules' && !entry.name.startsWith('.') && (deep || level < depth))
          walk(path.join(folder, entry.name), `${name}/`, level + 1)
      } else if (match.test(name)) {
        found.push(path.join(folder, entry.name))
      }
    }
  }
  walk(root, '', 1)
  return found
}

/** `*` and `?` stop at a slash and do not match a leading dot; `**` spans folders, also none. */
export function globToRegExp(glob: string): RegExp {
  let out = ''
  let braces = 0
  for (let i = 0; i < glob.length; i++) {
    const c = glob[i]!
    const starts = i === 0 || glob[i - 1] === '/'
    if (glob.startsWith('**/', i) && starts) {
      out += '(?:[^./][^/]*/)*'
      i += 2
    } else if (c === '*') {
      while (glob[i + 1] === '*') i++
      out += starts ? '(?!\\.)[^/]*' : '[^/]*'
    } else if (c === '?') out += '[^/]'
    else if (c === '[' && glob.indexOf(']', i + 2) > 0) {
      const close = glob.indexOf(']', i + 2)
      const body = glob
        .slice(i + 1, close)
        .replace(/^!/, '^')
        .replaceAll('\\', '\\\\')
      out += `[${body}]`
      i = close
    } else if (c === '{' && glob.includes('}', i)) {
      out += '(?:'
      braces++
    } else if (c === '}' && braces > 0) {
      out += ')'
      braces--
    } else if (c === ',' && braces > 0) out += '|'
    else out += c.replace(/[\\^$.+()|[\]{}*?]/, '\\$&')
  }
  return new RegExp(`^${out}$`)
}

export interface FileToWrite {
  readonly path: string
  readonly bytes: string | Uint8Array
}

/**
 * All files or none that is cut off: each is written whole under another name in its folder, and only when all of them
 * are on the disk do they take their names, in the order given.
 */
export function writeFiles(io: Io, files: readonly FileToWrite[]): void {
  const waiting = files.map((f) => ({
    ...f,
    temporary: path.join(path.dirname(f.path), `.${path.basename(f.path)}.${process.pid}.tmp`),
  }))
  let at: string = ''
  try {
    for (const f of waiting) {
      at = f.path
      io.disk.mkdir(path.dirname(f.path))
      io.disk.write(f.temporary, f.bytes)
    }
    for (const f of waiting) {
      at = f.path
      io.disk.rename(f.temporary, f.path)
    }
  } catch (error) {
    for (const f of waiting) removeQuietly(io, f.temporary)
    const code = systemCode(error)
    if (code === null) throw error
    throw new CliError('cannot-write', { file: shown(io, at), why: reasonOf(code) })
  }
}

function removeQuietly(io: Io, file: string): void {
  try {
    io.disk.remove(file)
  } catch {
    // The error that led here is the one to tell; a disk that cannot write may not remove either.
  }
}
