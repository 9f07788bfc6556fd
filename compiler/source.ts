/** Source text with positions: a file in, spans, line-and-column places and code frames out. */

export interface SourceText {
  readonly file: string
  readonly text: string
}

/** A half-open range of characters in one file. */
export interface Span {
  readonly source: SourceText
  readonly start: number
  readonly end: number
}

export interface Place {
  readonly file: string
  readonly line: number
  readonly column: number
}

const BUILT_IN: SourceText = { file: '<heddle>', text: '' }

/** The span of what the compiler itself made: derived bounds, tile tests. */
export const NO_SPAN: Span = { source: BUILT_IN, start: 0, end: 0 }

/** One-based line and column of a span's first character. */
export function placeOf(span: Span): Place {
  const before = span.source.text.slice(0, span.start)
  const line = before.split('\n').length
  return { file: span.source.file, line, column: span.start - (before.lastIndexOf('\n') + 1) + 1 }
}

/** The line before, the line of the span, and a caret under it with an optional label. */
export function codeFrame(span: Span, label?: string): string {
  if (span.source === BUILT_IN) return ''
  const lines = span.source.text.split('\n').map((line) => line.replace(/\r$/, '').replaceAll('\t', ' '))
  const { line, column } = placeOf(span)
  const width = String(line).length
  const gutter = (n: number | null, mark: string) =>
    `${mark} ${(n === null ? '' : String(n)).padStart(width)} | `
  const shown = lines[line - 1] ?? ''
  const length = Math.max(1, Math.min(span.end - span.start, shown.length - column + 1))
  const out: string[] = []
  if (line > 1) out.push(`${gutter(line - 1, ' ')}${lines[line - 2]}`.trimEnd())
  out.push(`${gutter(line, '>')}${shown}`.trimEnd())
  out.push(`${gutter(null, ' ')}${' '.repeat(column - 1)}${'^'.repeat(length)}${label ? ` ${label}` : ''}`)
  return out.join('\n')
}
