/** A folder in; artefacts of causal attention over lists of blocks out, as lists.py measures them: `tsx bench/cuda/build-lists.ts out/lists`. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { ListInfo } from '../../codegen/artifact.ts'
import { emitCuda } from '../../codegen/index.ts'
import { createCompiler } from '../../compiler/index.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const GRAINS: Readonly<Record<string, ListInfo>> = {
  '128x128': { share: 'head', q: 128, kv: 128, order: 'index' },
  '64x64': { share: 'head', q: 64, kv: 64, order: 'index' },
  '128x64': { share: 'head', q: 128, kv: 64, order: 'index' },
  '128x16': { share: 'head', q: 128, kv: 16, order: 'index' },
}

const [folder] = process.argv.slice(2)
if (!folder) {
  console.error('tsx bench/cuda/build-lists.ts <folder>')
  process.exit(2)
}
const [causal] = createCompiler().compile(`${ROOT}patterns/causal.ts`).patterns
for (const [name, list] of Object.entries(GRAINS)) {
  mkdirSync(`${folder}/${name}`, { recursive: true })
  const artifact = emitCuda(causal!, { headDims: [128], dtypes: ['bf16'], lists: [list] })
  writeFileSync(`${folder}/${name}/causal.cuda.json`, JSON.stringify(artifact))
}
