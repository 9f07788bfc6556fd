/** What a command is: its words and flags, its help, and the function that runs it; a page of help out. */

import { renderUsage, type ArgsDef, type CommandDef } from 'citty'
import type { Options } from './args.ts'
import type { Io } from './io.ts'
import type { Exit } from './messages.ts'

interface CommandOf<T extends ArgsDef> {
  readonly name: string
  readonly description: string
  readonly args: T
  /** Flags that may be given more than once. */
  readonly many?: readonly (keyof T & string)[]
  /** Any number of plain words is welcome. */
  readonly rest?: boolean
  /** What the flags do not say: what it runs, what it writes. */
  readonly about: string
  readonly examples: readonly string[]
  readonly run: (options: Options<T>, io: Io) => Promise<Exit>
}

export interface Command {
  readonly name: string
  readonly description: string
  readonly help: () => Promise<string>
  readonly args: ArgsDef
  readonly many: readonly string[]
  readonly rest: boolean
  readonly run: (options: Options<ArgsDef>, io: Io) => Promise<Exit>
}

export const EXIT_CODES = `EXIT CODES

  0  fine
  1  an error in the pattern's file, or a check that failed
  2  wrong usage: a flag, a value, a file that is not there
  3  the machine: no adapter, a limit, a disk that cannot be written
  70 a bug of Heddle`

export function command<const T extends ArgsDef>(c: CommandOf<T>): Command {
  const def: CommandDef = { meta: { name: `heddle ${c.name}`, description: c.description }, args: c.args }
  const help = async () =>
    [
      plain(await renderUsage(def)).trimEnd(),
      '',
      indent(c.about),
      '',
      'EXAMPLES',
      '',
      ...c.examples.map((e) => `  ${e}`),
      '',
      EXIT_CODES,
      '',
    ].join('\n')
  // The options were parsed by this command's own table; the list of commands cannot carry each one's type.
  const run = (options: Options<ArgsDef>, io: Io) => c.run(options as Options<T>, io)
  return {
    name: c.name,
    description: c.description,
    help,
    args: c.args,
    many: c.many ?? [],
    rest: c.rest ?? false,
    run,
  }
}

/** Without the colours of a terminal. */
// oxlint-disable-next-line no-control-regex
export const plain = (text: string): string => text.replace(/\u001B\[[0-9;]*m/g, '')

const indent = (text: string) =>
  text
    .split('\n')
    .map((line) => `  ${line}`.trimEnd())
    .join('\n')
