/** Rows of an evaluation in; accuracy against density, a mark for each pattern, as SVG out. */

import type { EvalRow } from './evaluate.ts'

interface Point {
  readonly pattern: string
  readonly density: number
  readonly value: number
  readonly length: string
  readonly kind: 'dense' | 'by position' | 'by data'
}

/** Rows that have both numbers; a model without tasks is shown by its KL. */
function pointsOf(rows: readonly EvalRow[], selecting: ReadonlySet<string>): Point[] {
  return rows.flatMap((row) => {
    const value = row.accuracy ?? row.kl
    if (row.density === null) return []
    const kind = row.pattern === 'causal' ? 'dense' : selecting.has(row.pattern) ? 'by data' : 'by position'
    return [{ pattern: row.pattern, density: row.density, value, length: `${row.length} tokens`, kind }]
  })
}

/** The specification, in vega-lite's own words; colours that those who see few tell apart. */
export function pictureSpec(rows: readonly EvalRow[], selecting: ReadonlySet<string>) {
  const answers = rows.some((row) => row.accuracy !== null)
  const values = pointsOf(rows, selecting)
  const lengths = [...new Set(values.map((v) => v.length))]
  const x = {
    field: 'density',
    type: 'quantitative',
    scale: { domain: [0, 1] },
    axis: { title: 'kept pairs / causal pairs', tickCount: 5 },
  } as const
  const y = {
    field: 'value',
    type: 'quantitative',
    ...(answers ? { scale: { domain: [0, 1] } } : {}),
    axis: { title: answers ? 'answers that are right' : 'KL to dense, nats', tickCount: 5 },
  } as const
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    data: { values },
    facet: { column: { field: 'length', type: 'nominal', sort: lengths, title: null } },
    spec: {
      width: 340,
      height: 300,
      layer: [
        {
          mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
          encoding: {
            x,
            y,
            color: {
              field: 'kind',
              type: 'nominal',
              scale: {
                domain: ['dense', 'by position', 'by data'],
                range: ['#1f2933', '#e69f00', '#0072b2'],
              },
              legend: { title: null, orient: 'bottom' },
            },
          },
        },
        {
          mark: { type: 'text', align: 'left', dx: 6, dy: -4, fontSize: 9 },
          encoding: { x, y, text: { field: 'pattern', type: 'nominal' } },
        },
      ],
    },
    config: {
      font: 'system-ui, sans-serif',
      view: { stroke: '#d9dde3' },
      axis: { grid: true, gridColor: '#eef0f3' },
    },
  } as const
}

/** Loaded on demand: it is large, and only pictures need it. */
export async function pictureOf(rows: readonly EvalRow[], selecting: ReadonlySet<string>): Promise<string> {
  const [vega, lite] = await Promise.all([import('vega'), import('vega-lite')])
  const { spec } = lite.compile(pictureSpec(rows, selecting) as unknown as Parameters<typeof lite.compile>[0])
  const svg = await new vega.View(vega.parse(spec), { renderer: 'none' }).toSVG()
  return `${svg}\n`
}
