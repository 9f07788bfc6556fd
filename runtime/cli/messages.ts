/** Every error of the command line as data: code, exit code, sentence, hint; and the class that carries them. */

/** What a process ends with; other programs rely on these numbers. */
export const EXIT = { fine: 0, failed: 1, usage: 2, machine: 3, bug: 70 } as const
export type Exit = (typeof EXIT)[keyof typeof EXIT]

interface Row<A> {
  readonly exit: Exit
  readonly text: (args: A) => string
  readonly hint?: (args: A) => string
}

const row = <A>(exit: Exit, text: (args: A) => string, hint?: (args: A) => string): Row<A> =>
  hint ? { exit, text, hint } : { exit, text }
const names = (xs: readonly string[]) => (xs.length === 0 ? 'none' : xs.join(', '))
const nearest = (a: { nearest: string | null }) =>
  a.nearest === null ? 'run it with --help to see what there is' : `did you mean ${a.nearest}?`

export const MESSAGES = {
  // The line that was typed
  'unknown-command': row<{ got: string; nearest: string | null }>(
    EXIT.usage,
    ({ got }) => `there is no command \`${got}\``,
    nearest,
  ),
  'unknown-flag': row<{ command: string; got: string; nearest: string | null }>(
    EXIT.usage,
    ({ command, got }) => `\`heddle ${command}\` has no flag ${got}`,
    nearest,
  ),
  'flag-value': row<{ flag: string; expected: string; got: string }>(
    EXIT.usage,
    ({ flag, expected, got }) =>
      `--${flag}: expected ${expected}, got ${got === '' ? 'nothing' : `\`${got}\``}`,
  ),
  'extra-argument': row<{ command: string; got: string }>(
    EXIT.usage,
    ({ command, got }) => `\`heddle ${command}\` has no use for \`${got}\``,
  ),
  'missing-argument': row<{ command: string; what: string }>(
    EXIT.usage,
    ({ command, what }) => `\`heddle ${command}\` needs ${what}`,
    ({ command }) => `heddle ${command} --help`,
  ),
  'unknown-stage': row<{ got: string; stages: readonly string[] }>(
    EXIT.usage,
    ({ got, stages }) => `there is no stage \`${got}\`; there are ${names(stages)}`,
  ),
  'unknown-pattern': row<{ got: string; file: string; present: readonly string[] }>(
    EXIT.usage,
    ({ got, file, present }) => `${file} has no pattern \`${got}\`; it has ${names(present)}`,
  ),
  'unknown-param': row<{ got: string; pattern: string; present: readonly string[] }>(
    EXIT.usage,
    ({ got, pattern, present }) => `${pattern} has no param \`${got}\`; it has ${names(present)}`,
  ),
  'param-range': row<{
    name: string
    pattern: string
    type: 'i32' | 'f32'
    min: number
    max: number
    got: string
  }>(
    EXIT.usage,
    ({ name, pattern, type, min, max, got }) =>
      `param ${name} of ${pattern}: expected ${type === 'i32' ? 'a whole' : 'a finite'} number from ${min} to ${max}, got ${got}`,
  ),
  'param-heads': row<{ name: string; pattern: string; perHead: boolean; heads: number; got: number }>(
    EXIT.usage,
    ({ name, pattern, perHead, heads, got }) =>
      perHead
        ? `param ${name} of ${pattern}: expected one value or one per head = ${heads}, got ${got}`
        : `param ${name} of ${pattern}: expected one value, got ${got}; only a perHead param has one per head`,
  ),
  'lengths-order': row<{ qLen: number; kvLen: number }>(
    EXIT.usage,
    ({ qLen, kvLen }) =>
      `--q-len ${qLen} is more than --kv-len ${kvLen}: the queries are the last of the keys' positions`,
  ),
  'heads-group': row<{ heads: number; kvHeads: number }>(
    EXIT.usage,
    ({ heads, kvHeads }) => `--heads ${heads} is no multiple of --kv-heads ${kvHeads}`,
  ),
  'value-dims': row<{ expected: number; got: number }>(
    EXIT.usage,
    ({ expected, got }) =>
      `--value-dim: expected as many lengths as --head-dim has = ${expected}, got ${got}`,
  ),
  'head-range': row<{ head: number; heads: number }>(
    EXIT.usage,
    ({ head, heads }) => `--head ${head}: expected 0 to ${heads - 1}, since there are ${heads} heads`,
  ),

  // What a model attends by
  'pattern-missing': row<{ got: string; nearest: string | null }>(
    EXIT.usage,
    ({ got }) => `the library has no pattern \`${got}\`, and there is no file of that name`,
    nearest,
  ),
  'flag-pattern': row<{ flag: string }>(
    EXIT.usage,
    ({ flag }) => `--${flag} says how a pattern attends, and none is named`,
    () => 'name one by --pattern',
  ),
  'several-patterns': row<{ file: string; present: readonly string[] }>(
    EXIT.usage,
    ({ file, present }) => `${file} has several patterns, and a model attends by one: ${names(present)}`,
    () => 'put the one that is meant in a file of its own',
  ),

  // What is evaluated
  'eval-owner': row<{ flag: string; got: string; present: readonly string[] }>(
    EXIT.usage,
    ({ flag, got, present }) => `--${flag}: \`${got}\` is not evaluated; there are ${names(present)}`,
  ),
  'eval-length': row<{ got: number; most: number }>(
    EXIT.usage,
    ({ got, most }) => `--lengths ${got}: the model has positions for ${most} tokens`,
  ),
  'eval-short': row<{ task: string; got: number; why: string }>(
    EXIT.usage,
    ({ task, got, why }) => `--lengths ${got}: too short for a text of ${task}: ${why}`,
  ),
  'eval-words': row<{ model: string }>(
    EXIT.usage,
    ({ model }) => `${model} does not know the words of the tasks, which are those of the needle model`,
    () => 'give a text by --text: then predictions are compared, and nothing is asked',
  ),
  'eval-both': row<object>(EXIT.usage, () => '--tasks and --text: a text of yours has no questions'),
  'eval-text': row<{ file: string; got: number; needed: number }>(
    EXIT.usage,
    ({ file, got, needed }) => `${file}: has ${got} tokens, and one text of --lengths takes ${needed}`,
  ),
  'no-vega': row<{ why: string }>(
    EXIT.machine,
    ({ why }) => `a picture needs the packages vega and vega-lite: ${why}`,
    () => 'npm install vega vega-lite',
  ),

  'flag-target': row<{ flag: string; target: string; other: string }>(
    EXIT.usage,
    ({ flag, target, other }) => `--${flag} is a flag of --target ${other}; this is --target ${target}`,
  ),
  'no-kernel': row<{ pattern: string; target: string; what: string }>(
    EXIT.failed,
    ({ pattern, target, what }) => `${pattern} needs ${what}, and ${target} has no kernel for that`,
    () =>
      'give the pattern other consts or other capabilities where the sentence names them; the oracle runs it as it is, and docs/selecting.md says what kernels do not compute yet',
  ),
  'skeleton-arch': row<{ skeleton: string; needs: readonly string[]; got: readonly string[] }>(
    EXIT.usage,
    ({ skeleton, needs, got }) =>
      `--skeleton ${skeleton} runs on ${names(needs)}; --arch names ${names(got)} alone`,
  ),

  // nvcc and the GPU
  'no-nvcc': row<{ places: readonly string[] }>(
    EXIT.machine,
    ({ places }) => `no nvcc was found; looked at ${names(places)}`,
    () =>
      'install the CUDA toolkit, or say where nvcc lies by CUDA_HOME or HEDDLE_NVCC; without `--cubins need` the text alone is written, which NVRTC compiles on first use',
  ),
  'nvcc-broken': row<{ path: string; why: string }>(
    EXIT.machine,
    ({ path, why }) => `${path} cannot compile here: ${why}`,
    () => '`--cubins none` writes the text alone, which NVRTC compiles on first use',
  ),
  'nvcc-old': row<{ path: string; version: string; arch: string; since: string }>(
    EXIT.machine,
    ({ path, version, arch, since }) =>
      `${path} is of version ${version}; kernels for ${arch} need ${since} or later`,
    () => 'take another by HEDDLE_NVCC, other archs by --arch, or write the text alone by `--cubins none`',
  ),
  'nvcc-failed': row<{ kernel: string; arch: string; version: string; errors: string; where: string }>(
    EXIT.bug,
    ({ kernel, arch, version, errors }) =>
      `nvcc ${version} refuses the kernel ${kernel} for ${arch}: ${errors}`,
    ({ where }) =>
      `this is a bug of Heddle, not of your input; please report it${where ? ` with ${where}` : ''}; \`--cubins none\` builds without nvcc`,
  ),
  'no-gpu': row<{ what: string; why: string }>(
    EXIT.machine,
    ({ what, why }) => `${what} needs a CUDA GPU: ${why}`,
  ),

  // Files
  'file-missing': row<{ file: string }>(EXIT.usage, ({ file }) => `${file}: no such file`),
  'file-unreadable': row<{ file: string; why: string }>(
    EXIT.usage,
    ({ file, why }) => `${file}: cannot be read: ${why}`,
  ),
  'no-match': row<{ glob: string }>(EXIT.usage, ({ glob }) => `no file matches \`${glob}\``),
  'same-output': row<{ pattern: string; first: string; second: string }>(
    EXIT.failed,
    ({ pattern, first, second }) =>
      `${first} and ${second} both hold a pattern \`${pattern}\`, whose files would overwrite each other`,
  ),
  'cannot-write': row<{ file: string; why: string }>(
    EXIT.machine,
    ({ file, why }) => `${file}: cannot be written: ${why}; nothing was left half-written`,
  ),
  'cannot-load': row<{ file: string; detail: string }>(
    EXIT.failed,
    ({ file, detail }) => `${file} broke while it was loaded: ${detail}`,
  ),

  bug: row<{ detail: string; where: string }>(
    EXIT.bug,
    ({ detail }) => `Heddle broke: ${detail}`,
    ({ where }) =>
      `this is a bug of Heddle, not of your input; please report it${where ? ` with ${where}` : ''}`,
  ),
} as const

interface LargeConsts {
  readonly pattern: string
  readonly most: number
  readonly large: readonly (readonly [name: string, value: number])[]
}

/** What a command says beside its result: nothing is wrong with it, but it may not be what was hoped for. */
export const NOTES = {
  'no-cubins': (_: object) =>
    'note: no nvcc was found, so there are no cubins: whoever loads the kernels compiles their text with NVRTC on first use, which takes seconds',
  'nvcc-miscompiles': ({ kernel, version }: { kernel: string; version: string }) =>
    `warning: ${kernel}: nvcc ${version} is known to miscompile kernels of this kind; releases before 12.8 and after 12.9.1 are not`,
  spill: ({ kernel, entry, bytes }: { kernel: string; entry: string; bytes: number }) =>
    `warning: ${kernel}: entry ${entry} spills ${bytes} bytes of registers`,
  stack: ({ kernel, entry, bytes }: { kernel: string; entry: string; bytes: number }) =>
    `warning: ${kernel}: entry ${entry} keeps ${bytes} bytes of a thread's variables in local memory`,
  tuned: ({ kernel, shape, tried }: { kernel: string; shape: string; tried: readonly string[] }) =>
    `note: ${kernel}: took ${shape}; ${tried.join('; ')}`,
  'dense-misses': ({ length, accuracy }: { length: number; accuracy: number }) =>
    `warning: dense attention answers ${(100 * accuracy).toFixed(1)} % at ${length} tokens: below 99 % the model is no judge of patterns`,
  'large-consts': ({ pattern, most, large }: LargeConsts) => {
    const [first] = large.map(([name]) => name)
    const said = large.map(([name, n]) => `${name} = ${n}`).join(', ')
    return `note: ${pattern}: calls have at most ${most} tokens, and ${said}; --const ${first}=8 shows more of what it chooses`
  },
  'ptxas-remark': ({ kernel, said }: { kernel: string; said: string }) =>
    `warning: ${kernel}: ptxas says ${said}`,
} as const

export const note = <C extends keyof typeof NOTES>(code: C, args: Parameters<(typeof NOTES)[C]>[0]): string =>
  // Each note takes its own arguments; the table's type says so, the union of notes cannot.
  NOTES[code](args as never)

export type Code = keyof typeof MESSAGES
export type MessageArgs<C extends Code> = Parameters<(typeof MESSAGES)[C]['text']>[0]

/** What a command throws to end with a sentence and an exit code, and no stack trace. */
export class CliError<C extends Code = Code> extends Error {
  readonly code: C
  readonly exit: Exit
  readonly hint: string | null

  constructor(code: C, args: MessageArgs<C>) {
    const found: Row<never> = MESSAGES[code]
    // Each row takes its own arguments; the table's type says so, the union of rows cannot.
    super(found.text(args as never))
    this.name = 'CliError'
    this.code = code
    this.exit = found.exit
    this.hint = found.hint?.(args as never) ?? null
  }
}
