/** Every pattern's section through nvcc, all in one file: it compiles, and nothing of it spills or needs a stack. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { CALL_TEXT } from '../../../codegen/cuda/call.ts'
import { patternSection } from '../../../codegen/cuda/pattern.ts'
import { textOf } from '../../../codegen/cuda/text.ts'
import { PATTERNS } from '../../../patterns/index.ts'
import { compiled } from '../../helpers.ts'

const NVCC = process.env.NVCC ?? 'nvcc'
const isThere = spawnSync(NVCC, ['--version']).status === 0
if (!isThere) process.stderr.write(`tests with nvcc are skipped: ${NVCC} does not start\n`)

const folder = mkdtempSync(join(tmpdir(), 'heddle-sections-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A kernel that asks everything of a section, so that all of it is compiled to the end. */
const asked = (section: string, n: number): string => `namespace section${n} {
${section}
extern "C" __global__ void ask${n}(Call call, int* out, float* f) {
  int x = (int)threadIdx.x, y = (int)threadIdx.y;
  Place p = placeOf(call, (int)blockIdx.y, (int)blockIdx.x);
  Reach r = reachOf(call, p, y, x);
  int tile = nextCandidate(r, x);
  bool reached = isReached(call, p, r, tile), full = isFull(call, p, r, tile), kept = keeps(call, p, y, x);
  out[x] = (reached ? 1 : 0) + (full ? 2 : 0) + (kept ? 4 : 0) + 8 * candidatesEnd(r, tile);
  f[x] = scoreOf(call, p, f[x], y, x) + sinkLogitOf(call, p);
}
}`

describe.skipIf(!isThere)('nvcc', () => {
  it('takes the sections of all patterns', { timeout: 300_000 }, () => {
    const sections = PATTERNS.map(({ pattern }) => patternSection(compiled(pattern).plan))
    const before = [
      'constexpr bool BF16 = true;',
      'constexpr int TILE_KV = 64;',
      CALL_TEXT,
      textOf('prelude.cuh'),
    ]
    const file = join(folder, 'sections.cu')
    writeFileSync(file, [...before, ...sections.map(asked)].join('\n'))
    const flags = [
      '-std=c++17',
      '-gencode=arch=compute_80,code=sm_80',
      '-cubin',
      '-Xptxas',
      '-v',
      '-Werror',
      'all-warnings',
    ]
    // Functions of the prelude that no section calls.
    const quiet = ['-diag-suppress', '177']
    const report = execFileSync(
      'sh',
      ['-c', '"$0" "$@" 2>&1', NVCC, ...flags, ...quiet, file, '-o', `${file}bin`],
      { encoding: 'utf8' },
    )
    const spills = report.match(/\d+ bytes stack frame, \d+ bytes spill stores, \d+ bytes spill loads/g) ?? []
    expect(spills).toEqual(
      PATTERNS.map(() => '0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads'),
    )
  })
})
