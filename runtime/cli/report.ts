/** What a run over the library found in; one self-contained HTML page out: the table and the pictures of the masks. */

import { printShare } from '../../compiler/print.ts'
import type { TileClass } from '../../compiler/tiles.ts'
import { escapeXml, type Colours } from './picture.ts'

export interface ReportRow {
  readonly pattern: string
  readonly cite: string
  /** Lengths, tiles, params: what the picture shows. */
  readonly caption: string
  readonly svg: string
  readonly density: number
  readonly bidirectional: boolean
  readonly counts: Readonly<Record<TileClass, number>>
  /** How tiles are found; `data` of patterns with a `forward`, whose tiles here are those of the oracle's pairs. */
  readonly how: 'ranges' | 'test' | 'list' | 'data'
  readonly codeBytes: number
  readonly compileMs: number
  /** The kernel's greatest error / that of plain attention in the same precision; at most 2 passes, beside a few ulps. */
  readonly errorRatio: number
  readonly passed: boolean
  readonly ms: number
  readonly denseMs: number
}

export interface ReportHead {
  readonly version: string
  readonly device: string
  readonly date: string
}

/** In the page the colours follow the reader's light or dark setting. */
export const PAGE_COLOURS: Colours = {
  empty: 'var(--empty)',
  partial: 'var(--partial)',
  full: 'var(--full)',
  ink: 'var(--ink)',
  faint: 'var(--line)',
}

const STYLE = `
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1d2530; --soft: #5c6775; --line: #d9dde3;
  --empty: #ffffff; --partial: #7aa7d9; --full: #1b3a63; --good: #1c7c4a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --card: #1b2027; --ink: #e6eaef; --soft: #98a3b0; --line: #323a45;
  --empty: #10141a; --partial: #3f6fa8; --full: #a9cdf5; --good: #6fd3a0; --bad: #ff8a80; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em }
h2 { font-size: 19px; margin: 44px 0 14px }
p { margin: 0 0 8px; color: var(--soft) }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--card) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: 7px 12px; text-align: right; border-bottom: 1px solid var(--line) }
tr:last-child td { border-bottom: 0 }
th { font-weight: 600; color: var(--soft); font-size: 13px }
th:first-child, td:first-child, .word { text-align: left }
td a { color: inherit; text-decoration: none; font-weight: 600 }
td a:hover { text-decoration: underline }
.good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 }
.key { display: flex; gap: 18px; margin: 0 0 16px; color: var(--soft); font-size: 14px }
.key i { display: inline-block; width: 13px; height: 13px; border: 1px solid var(--line); margin-right: 6px; vertical-align: -2px }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 18px }
figure { margin: 0; padding: 14px; background: var(--card); border: 1px solid var(--line); border-radius: 10px }
figure:target { border-color: var(--partial) }
figure svg { display: block; width: 100%; height: auto; max-height: 320px }
figcaption { margin-top: 10px; font-size: 13px; color: var(--soft); overflow-wrap: anywhere }
figcaption b { display: block; color: var(--ink); font-size: 15px }
`

/** Of the table that the page and the terminal show. */
export const HEADS = [
  'pattern',
  'density',
  'empty',
  'partial',
  'full',
  'tiles by',
  'code',
  'compile',
  'error',
  'time',
  'dense',
  'speed',
]

export function reportPage(head: ReportHead, rows: readonly ReportRow[]): string {
  const failed = rows.filter((r) => !r.passed).length
  const verdict =
    failed === 0
      ? `<span class="good">All ${rows.length} patterns agree with the oracle.</span>`
      : `<span class="bad">${failed} of ${rows.length} patterns do not agree with the oracle.</span>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Heddle: ${rows.length} patterns</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Heddle</h1>
<p>Version ${escapeXml(head.version)} on ${escapeXml(head.device)}, ${escapeXml(head.date)}. ${verdict}</p>
<h2>Patterns</h2>
<div class="scroll">
<table>
<thead><tr>${HEADS.map((h, i) => `<th${i === 5 ? ' class="word"' : ''}>${h}</th>`).join('')}</tr></thead>
<tbody>
${rows.map(rowOf).join('\n')}
</tbody>
</table>
</div>
<p>Density is kept pairs / causal pairs; patterns marked * look ahead, and theirs is kept pairs / all pairs. The error ratio is the
kernel's greatest error / that of plain attention in the same precision, both against attention in f64. Times are of the kernel alone on
this adapter, at the small shapes of the pictures; dense is the kernel of the causal or the full mask there.</p>
<h2>Masks</h2>
<div class="key"><span><i style="background:var(--empty)"></i>empty</span><span><i style="background:var(--partial)"></i>kept, in a partial tile</span><span><i style="background:var(--full)"></i>kept, in a full tile</span></div>
<div class="grid">
${rows.map(figureOf).join('\n')}
</div>
</main>
</body>
</html>
`
}

function rowOf(r: ReportRow): string {
  const cells = [
    `<a href="#${escapeXml(r.pattern)}">${escapeXml(r.pattern)}</a>`,
    `${printShare(r.density)}${r.bidirectional ? ' *' : ''}`,
    r.counts.empty,
    r.counts.partial,
    r.counts.full,
    r.how,
    `${(r.codeBytes / 1024).toFixed(1)} KiB`,
    `${r.compileMs.toFixed(1)} ms`,
    `<span class="${r.passed ? 'good' : 'bad'}">${printRatio(r.errorRatio)}</span>`,
    `${r.ms.toFixed(1)} ms`,
    `${r.denseMs.toFixed(1)} ms`,
    `${(r.denseMs / r.ms).toFixed(2)} x`,
  ]
  return `<tr>${cells.map((c, i) => `<td${i === 5 ? ' class="word"' : ''}>${c}</td>`).join('')}</tr>`
}

/** An error where plain attention has none is no number. */
export const printRatio = (ratio: number): string => (Number.isFinite(ratio) ? ratio.toFixed(2) : 'inf')

function figureOf(r: ReportRow): string {
  return `<figure id="${escapeXml(r.pattern)}">
${r.svg}
<figcaption><b>${escapeXml(r.pattern)}</b>${escapeXml(r.caption)}${r.cite ? `<br>${escapeXml(r.cite)}` : ''}</figcaption>
</figure>`
}
