/** Rows of an evaluation in; their picture in a file out, or the packages that it lacks. */

import * as path from 'node:path'
import type { EvalRow } from '../../bench/eval/evaluate.ts'
import { SELECTIONS } from '../../patterns/index.ts'
import { writeFiles } from './files.ts'
import type { Io } from './io.ts'
import { CliError } from './messages.ts'

type Draw = typeof import('../../bench/eval/picture.ts').pictureOf

const drawn: Draw = async (...given) => (await import('../../bench/eval/picture.ts')).pictureOf(...given)

export async function drawRows(
  io: Io,
  file: string,
  rows: readonly EvalRow[],
  picture: Draw = drawn,
): Promise<void> {
  const bytes = await picture(rows, new Set(SELECTIONS.map((s) => s.pattern.name))).catch(
    (error: unknown) => {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
      if (!isMissing) throw error
      throw new CliError('no-vega', { why: error.message.split('\n')[0]! })
    },
  )
  writeFiles(io, [{ path: path.resolve(io.cwd, file), bytes }])
}
