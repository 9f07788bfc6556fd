/** Files in; a call after each change of one of them, until the signal ends the watch. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Io } from './io.ts'

/** Editors write a file in several steps: a change is acted upon when this much quiet has passed. */
const QUIET_MS = 60

/**
 * Watches folders, not files: editors save by renaming another file into place, and a glob may come to match new files.
 * `filesOf` is asked again after each call.
 */
export async function watchFiles(
  io: Io,
  filesOf: () => readonly string[],
  changed: () => Promise<void>,
): Promise<void> {
  const watchers = new Map<string, fs.FSWatcher>()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  const settle = () => {
    running = running.then(changed).then(follow)
  }
  const touch = (folder: string, name: string | null) => {
    const relevant = name === null || name.endsWith('.ts') || filesOf().includes(path.join(folder, name))
    if (!relevant || io.signal.aborted) return
    clearTimeout(timer)
    timer = setTimeout(settle, QUIET_MS)
  }
  const follow = () => {
    if (io.signal.aborted) return
    const folders = new Set(filesOf().map((f) => path.dirname(f)))
    for (const [folder, watcher] of watchers) {
      if (folders.has(folder)) continue
      watcher.close()
      watchers.delete(folder)
    }
    for (const folder of folders) {
      if (watchers.has(folder) || !fs.existsSync(folder)) continue
      const watcher = fs.watch(folder, (_, name) => touch(folder, name))
      // A folder that is removed while it is watched; a change elsewhere finds out what became of its files.
      watcher.on('error', () => {
        watcher.close()
        watchers.delete(folder)
      })
      watchers.set(folder, watcher)
    }
    io.err(`watching ${filesOf().length} file${filesOf().length === 1 ? '' : 's'}; Ctrl-C ends\n`)
  }
  follow()
  await new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve()
    else io.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  clearTimeout(timer)
  for (const watcher of watchers.values()) watcher.close()
  await running
}
