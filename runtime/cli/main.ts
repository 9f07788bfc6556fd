#!/usr/bin/env node
/** The process behind the command `heddle`: its arguments in, its exit code out. */

import { processIo } from './io.ts'
import { run } from './run.ts'

const stop = new AbortController()
// The first Ctrl-C ends a watch; anything else it ends at once.
process.on('SIGINT', () => {
  if (stop.signal.aborted || process.argv[2] !== 'build' || !process.argv.includes('--watch'))
    process.exit(130)
  stop.abort()
})
// A reader that has seen enough (`heddle show .. | head`) is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 3))
}

const exit = await run(process.argv.slice(2), processIo(stop.signal))
// A device that is held open elsewhere must not keep the process: what it had to say is on the streams.
process.stdout.write('', () => process.exit(exit))
