#!/usr/bin/env node
// The command `heddle`: starts the built command line, which `npm ci` or `npm run build` leaves in dist/.

import { existsSync, readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const entry = new URL('../../dist/runtime/cli/main.js', import.meta.url)

/** The latest change among a folder's TypeScript files, in ms; 0 if it has none. */
function newest(folder) {
  let latest = 0
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
    latest = Math.max(latest, statSync(`${entry.parentPath ?? entry.path}/${entry.name}`).mtimeMs)
  }
  return latest
}

if (!existsSync(entry)) {
  process.stderr.write('heddle: it is not built yet; run `npm run build` in its folder\n')
  process.exit(3)
}

// Only a clone has this file: there the sources may have moved on since the build.
if (existsSync(`${root}tsconfig.build.json`)) {
  const sources = ['dsl', 'compiler', 'codegen', 'runtime', 'patterns'].map((folder) => newest(root + folder))
  if (Math.max(...sources) > statSync(entry).mtimeMs) {
    process.stderr.write(
      'heddle: dist/ is older than the sources; run `npm run build` to use what you changed\n',
    )
  }
}

await import(entry.href)
