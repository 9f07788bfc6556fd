/** Anything that was thrown in; sentences on stderr and an exit code out. */

import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { HeadDimError } from '../../codegen/head-dim.ts'
import { formatDiagnostic } from '../../compiler/diagnostics.ts'
import { HeddleError } from '../messages.ts'
import { CheckError } from '../testing/messages.ts'
import { shown } from './files.ts'
import { reasonOf, systemCode, type Io } from './io.ts'
import { CliError, EXIT, type Exit } from './messages.ts'

/** Thrown when what there is to say has been said. */
export class Reported extends Error {
  readonly exit: Exit

  constructor(exit: Exit) {
    super('reported')
    this.exit = exit
  }
}

const EXIT_OF = { caller: EXIT.failed, machine: EXIT.machine, heddle: EXIT.bug } as const

export function explainError(error: unknown, io: Io): Exit {
  if (error instanceof Reported) return error.exit
  if (error instanceof CliError) {
    io.err(`error[${error.code}]: ${error.message}\n`)
    if (error.hint !== null) io.err(`hint: ${error.hint}\n`)
    return error.exit
  }
  if (error instanceof HeddleError) {
    io.err(`error[${error.code}]: ${error.message}\n`)
    return EXIT_OF[error.blame]
  }
  if (error instanceof HeadDimError) {
    io.err(`${formatDiagnostic(error.diagnostic, (file) => shown(io, file))}\n`)
    io.err(`hint: this is at head dim ${error.headDim}; at others they may be as long as each other\n`)
    return EXIT.failed
  }
  if (error instanceof CheckError) {
    io.err(`error[${error.code}]: ${error.message}\n`)
    return EXIT.failed
  }
  const code = systemCode(error)
  if (code !== null && error instanceof Error) {
    io.err(`error[system]: ${'path' in error ? `${String(error.path)}: ` : ''}${reasonOf(code)}\n`)
    return EXIT.machine
  }
  return explainError(
    new CliError('bug', {
      detail: error instanceof Error ? error.message : String(error),
      where: keepTrace(error),
    }),
    io,
  )
}

/** A stack trace helps whoever mends the bug, not whoever reads the terminal: it goes to a file. */
function keepTrace(error: unknown): string {
  const file = path.join(tmpdir(), `heddle-bug-${process.pid}.txt`)
  try {
    fs.writeFileSync(file, error instanceof Error ? (error.stack ?? error.message) : String(error))
    return file
  } catch {
    return ''
  }
}
