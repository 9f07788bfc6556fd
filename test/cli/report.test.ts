import { describe, expect, it } from 'vitest'
import { reportPage, type ReportRow } from '../../runtime/cli/report.ts'

const row = (more: Partial<ReportRow>): ReportRow => ({
  pattern: 'a-shape',
  cite: 'StreamingLLM <arXiv>',
  caption: '384 tokens, window 96',
  svg: '<svg id="picture"></svg>',
  density: 0.474,
  bidirectional: false,
  counts: { empty: 94, partial: 29, full: 21 },
  how: 'ranges',
  codeBytes: 6144,
  compileMs: 12.34,
  errorRatio: 1.07,
  passed: true,
  ms: 2,
  denseMs: 5,
  ...more,
})
const head = { version: '1.2.3', device: 'SwiftShader (software)', date: '2026-01-02' }

describe('reportPage', () => {
  const page = reportPage(head, [
    row({}),
    row({ pattern: 'full', bidirectional: true, how: 'list', cite: '' }),
  ])

  it('has a row and a picture for each pattern', () => {
    expect(page.match(/<tr><td>/g)).toHaveLength(2)
    expect(page.match(/<svg id="picture">/g)).toHaveLength(2)
    for (const cell of [
      '0.47',
      '0.47 *',
      '94',
      '29',
      '21',
      'ranges',
      'list',
      '6.0 KiB',
      '12.3 ms',
      '2.0 ms',
      '5.0 ms',
      '2.50 x',
    ])
      expect(page).toContain(`>${cell}</td>`)
    expect(page).toContain('StreamingLLM &lt;arXiv&gt;')
    expect(page).toContain('All 2 patterns agree with the oracle.')
    expect(page).toContain('Version 1.2.3 on SwiftShader (software), 2026-01-02.')
  })

  it('needs nothing from elsewhere, and follows light and dark', () => {
    expect(page).not.toMatch(/\b(src|href)="(?!#)/)
    expect(page).not.toMatch(/@import|url\(|<script/)
    expect(page).toContain('@media (prefers-color-scheme: dark)')
  })

  it('says what failed', () => {
    const failed = reportPage(head, [row({ passed: false, errorRatio: Infinity }), row({ pattern: 'b' })])
    expect(failed).toContain('1 of 2 patterns do not agree with the oracle.')
    expect(failed).toContain('<span class="bad">inf</span>')
  })
})
