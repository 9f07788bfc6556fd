/**
 * The suites that need a GPU in; `out/bench/` out: `bench.mjs`, `prepared.json.gz` and `eval.json.br`, which run where there is Node
 * and Dawn alone, `cuda.mjs` and `cuda.json.br`, which need the CUDA driver, and koffi in a node_modules of their own.
 */

import { cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { checkUnits } from './check-cuda-units.ts'
import { prepareEval } from './eval-units.ts'
import { prepare } from './kernels.ts'
import { prepareSelections } from './selection-units.ts'
import { versionsHere } from './versions.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OUT = `${ROOT}out/bench`

/** Loaded on demand, and only where DAWN_NODE does not name a binary; koffi travels as it is. */
const EXTERNAL = ['webgpu', 'koffi', '@sparticuz/chromium']
const FOREIGN = ['koffi', '@koromix/koffi-linux-x64']

mkdirSync(OUT, { recursive: true })
for (const [entry, outfile] of [
  ['gpu-main.ts', 'bench.mjs'],
  ['cuda-main.ts', 'cuda.mjs'],
] as const) {
  const { metafile } = await build({
    entryPoints: [`${ROOT}bench/${entry}`],
    outfile: `${OUT}/${outfile}`,
    bundle: true,
    metafile: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: EXTERNAL,
  })
  const compiler = Object.keys(metafile.inputs).filter((file) => /^(compiler|node_modules)\//.test(file))
  const heavy = compiler.filter((file) => !file.includes('@petamoriken/float16'))
  if (heavy.length > 0) throw new Error(`${outfile} must not carry ${heavy.join(', ')}`)
}
const versions = versionsHere()
const { units, timed } = prepareSelections()
const onGpu = { prepared: prepare(), selections: { units: units.wgsl, timed: timed.wgsl }, versions }
writeFileSync(`${OUT}/prepared.json.gz`, gzipSync(JSON.stringify(onGpu)))
// The texts differ little from each other: a window that holds many of them makes a tenth of what gzip makes.
const onCuda = { units: checkUnits(), selections: { units: units.cuda, timed: timed.cuda }, versions }
const params = { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_QUALITY]: 6 }
for (const [name, content] of Object.entries({ cuda: onCuda, eval: prepareEval() }))
  writeFileSync(`${OUT}/${name}.json.br`, brotliCompressSync(JSON.stringify(content), { params }))
for (const name of FOREIGN)
  cpSync(`${ROOT}node_modules/${name}`, `${OUT}/node_modules/${name}`, { recursive: true })
for (const name of ['bench.mjs', 'prepared.json.gz', 'eval.json.br', 'cuda.mjs', 'cuda.json.br'])
  console.log(`${OUT}/${name}: ${statSync(`${OUT}/${name}`).size} bytes`)
