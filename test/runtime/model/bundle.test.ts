/** `heddle/model` in a browser: one bundler's output holds nothing of Node, and what only some need comes on demand. */

import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'

test('bundles for browsers, with tokenizers and GGUF in parts of their own', async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL('../../../runtime/model.ts', import.meta.url))],
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    metafile: true,
    outdir: 'out',
    format: 'esm',
    platform: 'browser',
    logLevel: 'silent',
  })
  expect(outputFiles.length).toBeGreaterThan(1)
  const [, entry] = Object.entries(metafile.outputs).find(([, output]) =>
    output.entryPoint?.endsWith('runtime/model.ts'),
  )!
  // What a page loads at once: the entry and the parts that it imports statically.
  const first = [
    entry,
    ...entry.imports.filter((i) => i.kind === 'import-statement').map((i) => metafile.outputs[i.path]!),
  ]
  const loaded = first.flatMap((output) => Object.keys(output.inputs))
  expect(loaded.filter((input) => /gguf|huggingface/.test(input))).toEqual([])
  expect(first.reduce((bytes, output) => bytes + output.bytes, 0)).toBeLessThan(130_000)
})
