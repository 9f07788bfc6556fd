/** A program that is called nvcc and answers as a test wishes: its report, its errors, its version. */

import * as fs from 'node:fs'
import * as path from 'node:path'

/** What ptxas 13.0 prints for a kernel without spills. */
export const REPORT = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'combine' for 'sm_90a'
ptxas info    : Function properties for combine
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
ptxas info    : Compile time = 27.226 ms
ptxas info    : Compiling entry function 'attend' for 'sm_90a'
ptxas info    : Function properties for attend
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 9 barriers
ptxas info    : Compile time = 961.636 ms
`
export const SPILLING = REPORT.replace(
  '0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\nptxas info    : Used 168',
  '24 bytes stack frame, 28 bytes spill stores, 36 bytes spill loads\nptxas info    : Used 168',
)

export interface FakeNvcc {
  readonly release?: string
  readonly report?: string
  /** What it says instead of compiling; it then ends with 1. */
  readonly failure?: string
  /** A shell condition on kernel.cu: only kernels for which it holds spill or fail. */
  readonly when?: string
}

/** Puts it into a folder; gives the environment that finds it there, and how often it compiled what. */
export function fakeNvcc(folder: string, fake: FakeNvcc = {}) {
  const { release = '13.0, V13.0.88', report = REPORT, failure, when = 'true' } = fake
  const bin = path.join(folder, 'bin')
  const log = path.join(folder, 'nvcc.log')
  fs.mkdirSync(bin, { recursive: true })
  fs.writeFileSync(path.join(bin, 'report'), report)
  fs.writeFileSync(path.join(bin, 'plain'), REPORT)
  fs.writeFileSync(path.join(bin, 'failure'), failure ?? '')
  const script = `#!/bin/sh
if [ "$1" = --version ]; then echo 'Cuda compilation tools, release ${release}'; exit 0; fi
echo "$@" >> '${log}'
for word in "$@"; do [ "$last" = -o ] && out=$word; last=$word; done
if ${when}; then
  ${failure === undefined ? '' : `cat '${bin}/failure' >&2; exit 1`}
  cat '${bin}/report' >&2
else cat '${bin}/plain' >&2; fi
{ echo "$2"; cat kernel.cu; } > "$out"
`
  const program = path.join(bin, 'nvcc')
  fs.writeFileSync(program, script, { mode: 0o755 })
  const compiled = (): string[] => (fs.existsSync(log) ? fs.readFileSync(log, 'utf8').trim().split('\n') : [])
  return {
    program,
    compiled,
    env: {
      PATH: `${bin}${path.delimiter}${process.env.PATH}`,
      HEDDLE_CACHE_DIR: path.join(folder, 'cache'),
    },
  }
}
