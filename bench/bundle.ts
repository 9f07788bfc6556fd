/** The suites that need a GPU in; `out/bench/bench.mjs` and `prepared.json.gz` out, which run where there is Node and Dawn alone. */

import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { prepare } from './kernels.ts'
import { versionsHere } from './versions.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OUT = `${ROOT}out/bench`

mkdirSync(OUT, { recursive: true })
const { metafile } = await build({
  entryPoints: [`${ROOT}bench/gpu-main.ts`],
  outfile: `${OUT}/bench.mjs`,
  bundle: true,
  metafile: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  // Loaded on demand, and only where DAWN_NODE does not name a binary.
  external: ['webgpu', 'koffi', '@sparticuz/chromium'],
})
const compiler = Object.keys(metafile.inputs).filter((file) => /^(compiler|node_modules)\//.test(file))
const heavy = compiler.filter((file) => !file.includes('@petamoriken/float16'))
if (heavy.length > 0) throw new Error(`the bundle must not carry ${heavy.join(', ')}`)
writeFileSync(
  `${OUT}/prepared.json.gz`,
  gzipSync(JSON.stringify({ prepared: prepare(), versions: versionsHere() })),
)
for (const name of ['bench.mjs', 'prepared.json.gz'])
  console.log(`${OUT}/${name}: ${statSync(`${OUT}/${name}`).size} bytes`)
