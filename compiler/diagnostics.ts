/** Diagnostics as data, the session that collects them in one compile() call, and their text form. */

import { MESSAGES, type Code, type MessageArgs, type Severity } from './messages.ts'
import { codeFrame, placeOf, type Span } from './source.ts'

export interface Diagnostic {
  readonly severity: Severity
  readonly code: Code
  readonly span: Span
  readonly text: string
  readonly label?: string
  readonly hint?: string
  readonly notes: readonly { readonly span: Span; readonly text: string }[]
}

interface Extra {
  readonly label?: string
  readonly notes?: readonly { readonly span: Span; readonly text: string }[]
}

/** Collects what one compile() has to say; a stage that reported an error is the last one to run. */
export class Session {
  readonly diagnostics: Diagnostic[] = []

  report<C extends Code>(code: C, span: Span, args: MessageArgs<C>, extra: Extra = {}): void {
    const row = MESSAGES[code]
    // Each row's functions take that row's own arguments; the table's type says so, the union of rows cannot.
    const fill = (f: ((a: never) => string) | undefined) => f?.(args as never)
    const hint = 'hint' in row ? fill(row.hint) : undefined
    const known = this.diagnostics.some(
      (d) =>
        d.code === code &&
        d.span.source === span.source &&
        d.span.start === span.start &&
        d.span.end === span.end,
    )
    if (known) return
    this.diagnostics.push({
      severity: row.severity,
      code,
      span,
      text: fill(row.text) ?? '',
      notes: extra.notes ?? [],
      ...(extra.label === undefined ? {} : { label: extra.label }),
      ...(hint === undefined ? {} : { hint }),
    })
  }

  /** How many of them forbid going on. */
  get errors(): number {
    return this.diagnostics.filter((d) => d.severity !== 'note').length
  }

  get failed(): boolean {
    return this.diagnostics.some((d) => d.severity !== 'note')
  }
}

/** `severity[code]: sentence`, the place, a frame with a caret, notes and a hint. */
export function formatDiagnostic(d: Diagnostic, relative: (file: string) => string = (file) => file): string {
  const at = (span: Span) => {
    const { file, line, column } = placeOf(span)
    return `  ${relative(file)}:${line}:${column}`
  }
  const out = [`${d.severity}[${d.code}]: ${d.text}`]
  const frame = codeFrame(d.span, d.label)
  if (frame) out.push(at(d.span), frame)
  for (const note of d.notes) out.push(`note: ${note.text}`, at(note.span), codeFrame(note.span))
  if (d.hint !== undefined) out.push(`hint: ${d.hint}`)
  return out.join('\n')
}
