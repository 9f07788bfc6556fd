/** Random pattern files: choices in, the TypeScript text of a valid pattern out. */

import type { Draw } from '../runtime/testing/draw.ts'
import { atom, bool, int, word, type Declared, type File, type Int, type Scope } from './program-terms.ts'

export const PROGRAM_NAME = 'program'

/** A small number in a score: an integer brought near 0, a float param, a table's element. */
function bias(d: Draw, s: Scope): string {
  switch (d.choose(5)) {
    case 0: {
      s.fields.add('q').add('kv')
      return `0.125 * ${word(s, 'max')}(kv - q, -40)`
    }
    case 1: {
      s.fields.add('slope')
      declare(s, 'slope', () => {
        const spec = `${word(s, 'f32')}(${d.float(-1, 1)}, { min: -2, max: 2 })`
        return d.oneIn(2) ? `${word(s, 'perHead')}(${spec})` : spec
      })
      return `slope * ${word(s, 'clamp')}(${int(d, s, 1).text}, -6, 6)`
    }
    case 2: {
      s.fields.add('bias').add('head')
      if (!s.file.tables.some((t) => t.name === 'bias')) {
        s.file.tables.push({
          name: 'bias',
          spec: `${word(s, 'table')}('f32', ['head', 8], { min: -3, max: 3 })`,
        })
      }
      return `bias.at(head, ${word(s, 'clamp')}(${int(d, s, 1).text}, 0, 7))`
    }
    case 3:
      return `(${bool(d, s, 1)} ? ${d.float(-2, 2)} : 0.25)`
    default:
      return String(d.float(-3, 3))
  }
}

function declare(s: Scope, name: string, spec: () => string): void {
  if (!s.file.params.some((p) => p.name === name)) s.file.params.push({ name, spec: spec() })
}

/** A score function's body over `s`, continuous in `s` and of moderate slope. */
function score(d: Draw, s: Scope, depth: number): string {
  const inner = depth > 0 && d.choose(2) > 0 ? score(d, s, depth - 1) : 's'
  switch (d.choose(9)) {
    case 0:
      return `${inner} + ${bias(d, s)}`
    case 1: {
      const cap = d.pick([2, 4, 30])
      return `${cap} * Math.tanh((${inner}) / ${cap})`
    }
    case 2:
      return `(${inner}) * ${d.pick([0.5, 1.25, -1])}`
    case 3:
      return `Math.min(${inner}, ${d.float(-1, 4)})`
    case 4:
      return `Math.max(${inner}, ${d.float(-4, 1)}) - ${bias(d, s)}`
    case 5:
      return `(${bool(d, s, 1)} ? ${inner} : (${inner}) * 0.5)`
    case 6:
      return `Math.exp(Math.min(${inner}, 2))`
    case 7:
      return `Math.abs(${inner})`
    default:
      return `Math.sqrt(1 + (${inner}) * (${inner}))`
  }
}

/** The mask's body: an expression, or statements that end in one. */
function maskBody(d: Draw, s: Scope): string {
  if (d.choose(3) < 2) {
    const body = bool(d, s, d.int(1, 3))
    if (!d.oneIn(3)) return body
    s.fields.add('q').add('kv')
    return `kv <= q ${d.pick(['&&', '||'])} ${body}`
  }
  const lines: string[] = []
  const locals: Int[] = [...s.ints]
  const scope = (): Scope => ({ ...s, ints: locals })
  for (let i = d.int(0, 2); i > 0; i--) {
    const e = int(d, scope(), 2)
    const name = `local${locals.length}`
    lines.push(`const ${name}: number = ${e.text}`)
    locals.push({ ...e, text: name })
  }
  if (d.oneIn(2)) lines.push(`if (${bool(d, scope(), 1)}) return ${bool(d, scope(), 1)}`)
  if (d.oneIn(2)) {
    const count = d.int(1, 4)
    const counted: Scope = { ...s, ints: [...locals, { text: 'i', lo: 0, hi: count - 1 }] }
    lines.push(
      `for (let i = 0; i < ${count}; i++) {`,
      `  if (${atom(d, counted, 1)}) return ${bool(d, counted, 0)}`,
      '}',
    )
  }
  lines.push(`return ${bool(d, scope(), 2)}`)
  return `{\n${lines.map((l) => `    ${l}`).join('\n')}\n  }`
}

export interface ProgramOptions {
  /** What the file imports the DSL's words from. */
  readonly dsl: string
}

/** The text of a file that exports one pattern, `program`. */
export function drawProgram(d: Draw, { dsl }: ProgramOptions): string {
  const file: File = {
    words: new Set(['pattern']),
    params: [],
    tables: [],
    consts: [],
    top: [],
    helpers: new Set(),
  }
  const mask: Scope = { file, ints: [], fields: new Set() }
  const body = maskBody(d, mask)
  const scoring: Scope = { file, ints: [], fields: new Set() }
  const scoreBody = d.oneIn(2) ? score(d, scoring, 2) : null
  const sinking: Scope = { file, ints: [], fields: new Set() }
  const sink = d.oneIn(6) ? sinkBody(d, sinking) : null
  const record = (list: readonly Declared[]) => `{ ${list.map((p) => `${p.name}: ${p.spec}`).join(', ')} }`
  const fields = (s: Scope) => `{ ${[...s.fields].join(', ')} }`
  const lines = [
    `import { ${[...file.words].toSorted().join(', ')} } from '${dsl}'`,
    ...(file.top.length > 0 ? ['', ...file.top] : []),
    '',
    `export const ${PROGRAM_NAME} = pattern({`,
    `  name: '${PROGRAM_NAME}',`,
    ...(file.consts.length > 0 ? [`  consts: ${record(file.consts)},`] : []),
    ...(file.params.length > 0 ? [`  params: ${record(file.params)},`] : []),
    ...(file.tables.length > 0 ? [`  tables: ${record(file.tables)},`] : []),
    `  mask: (${fields(mask)}) => ${body},`,
    ...(scoreBody === null ? [] : [`  score: (s, ${fields(scoring)}) => ${scoreBody},`]),
    ...(sink === null ? [] : [`  sinkLogit: (${fields(sinking)}) => ${sink},`]),
    '})',
    '',
  ]
  return lines.join('\n')
}

function sinkBody(d: Draw, s: Scope): string {
  if (d.oneIn(2)) {
    s.fields.add('slope')
    declare(s, 'slope', () => `${word(s, 'perHead')}(${word(s, 'f32')}(0.5, { min: -2, max: 2 }))`)
    return 'slope'
  }
  s.fields.add('head')
  return `0.25 * ${word(s, 'mod')}(head, 4)`
}
