/** A folder on disk as the source of a model's bytes: every read opens the file, takes its range and closes it. */

import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { checkRange, missing, plainName, readFailed, type ModelSource } from './source.ts'

/** A folder as a download from Hugging Face leaves it; links, as in the cache's snapshots, are followed. */
export function folderSource(folder: string): ModelSource {
  const size = async (name: string): Promise<number | null> => {
    const path = join(folder, plainName(name, folder))
    try {
      const found = await stat(path)
      return found.isFile() ? found.size : null
    } catch (cause) {
      if (isAbsent(cause)) return null
      throw readFailed(name, cause)
    }
  }
  return {
    place: folder,
    size,
    async read(name, range) {
      const found = await size(name)
      if (found === null) throw missing(folder, name)
      checkRange(name, range, found)
      const bytes = new Uint8Array(range.end - range.begin)
      let filled = 0
      try {
        await using file = await open(join(folder, name))
        while (filled < bytes.length) {
          const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, range.begin + filled)
          if (bytesRead === 0) break
          filled += bytesRead
        }
      } catch (cause) {
        throw readFailed(name, cause)
      }
      // A file may shrink between the two looks at it.
      checkRange(name, range, range.begin + filled)
      return bytes
    },
    async list() {
      try {
        const entries = await readdir(folder, { withFileTypes: true })
        return entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name)
      } catch (cause) {
        throw readFailed(folder, cause)
      }
    },
  }
}

const isAbsent = (cause: unknown) =>
  ['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException)?.code ?? '')
