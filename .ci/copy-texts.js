// Puts beside the compiled modules in dist/ what they read at run time: the kernels' C++ and the headers that emulate a GPU.

import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'

const texts = [
  ['codegen/cuda', '.cuh'],
  ['runtime/cuda/emulation', '.h'],
]

for (const [folder, extension] of texts) {
  mkdirSync(`dist/${folder}`, { recursive: true })
  for (const name of readdirSync(folder)) {
    if (name.endsWith(extension)) copyFileSync(`${folder}/${name}`, `dist/${folder}/${name}`)
  }
}
