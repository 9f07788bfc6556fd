/** How the tests run: which files, in which processes, and how long one may take. */

import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  resolve: {
    // The sources, as the compiler sees them; what an installed package resolves to has a test of its own.
    alias: [
      { find: /^heddle$/, replacement: file('dsl/index.ts') },
      { find: /^heddle\/testing$/, replacement: file('runtime/testing/index.ts') },
      { find: /^heddle\/model$/, replacement: file('runtime/model.ts') },
      { find: /^heddle\/model\/node$/, replacement: file('runtime/model-node.ts') },
      { find: /^heddle\/cuda$/, replacement: file('runtime/cuda.ts') },
      { find: /^heddle\/runtime\/node$/, replacement: file('runtime/device-node.ts') },
      { find: /^heddle\/runtime\/browser$/, replacement: file('runtime/device-browser.ts') },
      { find: /^heddle\/(compiler|codegen|runtime|patterns)$/, replacement: `${file('.')}$1/index.ts` },
      { find: /^heddle\/patterns\/(.+)$/, replacement: `${file('.')}patterns/$1.ts` },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // A software adapter is found by environment variables that a worker thread cannot set for native code.
    pool: 'forks',
    maxWorkers: '100%',
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    reporters: ['default'],
  },
})
