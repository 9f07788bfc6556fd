// Builds dist/ if it is missing or older than a source. npm asks for this after an install and before a pack, and the first
// `npx heddle` in a clone asks too: a second build there would pull dist/ away under programs that are using it.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'

const built = 'dist/runtime/cli/main.js'
const sources = ['dsl', 'compiler', 'codegen', 'runtime', 'patterns', 'bench/eval'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
)
const isFresh = () => {
  const time = statSync(built).mtimeMs
  return [...sources, 'tsconfig.json', 'tsconfig.build.json'].every((file) => statSync(file).mtimeMs <= time)
}

if (!existsSync(built) || !isFresh()) {
  const { status } = spawnSync('npm run --silent build', { stdio: 'inherit', shell: true })
  process.exitCode = status ?? 1
}
