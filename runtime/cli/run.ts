/** The words typed after `heddle` in, an exit code out; every error becomes a sentence on stderr. */

import { parseStrict, nearestOf } from './args.ts'
import { bench } from './bench.ts'
import { build } from './build.ts'
import { check } from './check.ts'
import { EXIT_CODES, type Command } from './command.ts'
import { evalModel } from './eval.ts'
import { explain } from './explain.ts'
import type { Io } from './io.ts'
import { CliError, EXIT, type Exit } from './messages.ts'
import { explainError } from './errors.ts'
import { runModel } from './run-model.ts'
import { show } from './show.ts'
import { heddleVersion } from './version.ts'
import { start } from './start.ts'

export const COMMANDS: readonly Command[] = [build, check, show, explain, bench, start, runModel, evalModel]

export async function run(argv: readonly string[], io: Io): Promise<Exit> {
  try {
    return await dispatch(argv, io)
  } catch (error) {
    return explainError(error, io)
  }
}

async function dispatch(argv: readonly string[], io: Io): Promise<Exit> {
  const [word, ...rest] = argv
  if (word === undefined || word === '--help' || word === '-h' || word === 'help') {
    const named = word === 'help' ? COMMANDS.find((c) => c.name === rest[0]) : undefined
    io.out(named ? await named.help() : overview())
    return EXIT.fine
  }
  if (word === '--version' || word === '-v') {
    io.out(`${heddleVersion().number}\n`)
    return EXIT.fine
  }
  const found = COMMANDS.find((c) => c.name === word)
  if (!found) {
    throw new CliError('unknown-command', {
      got: word,
      nearest: nearestOf(
        word,
        COMMANDS.map((c) => c.name),
        'heddle ',
      ),
    })
  }
  const flags = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest
  if (flags.includes('--help') || flags.includes('-h')) {
    io.out(await found.help())
    return EXIT.fine
  }
  const options = parseStrict(found.name, rest, found.args, { many: found.many, rest: found.rest })
  return found.run(options, io)
}

function overview(): string {
  const width = Math.max(...COMMANDS.map((c) => c.name.length))
  return [
    `heddle ${heddleVersion().number}: sparse attention patterns, written in TypeScript, compiled to kernels`,
    '',
    'USAGE  heddle <command> [flags]',
    '',
    ...COMMANDS.map((c) => `  ${c.name.padEnd(width)}  ${c.description}`),
    '',
    'EXAMPLES',
    '',
    '  heddle show patterns/a-shape.ts',
    '  heddle check patterns/a-shape.ts --runs 50',
    '  heddle build "patterns/*.ts" --target wgsl --out kernels',
    '  heddle build "patterns/*.ts" --target cuda --out kernels --head-dim 64,128',
    '',
    '  heddle <command> --help tells more.',
    '',
    EXIT_CODES,
    '',
  ].join('\n')
}
