/** Rows of an evaluation in; accuracy against density, a mark for each pattern and a plane for each length, as SVG out. */

import type { EvalRow } from './evaluate.ts'
import { placeLabels } from './labels.ts'

const WIDTH = 460
const HEIGHT = 340

interface Point {
  readonly pattern: string
  readonly density: number
  readonly value: number
  readonly length: string
  readonly kind: 'dense' | 'by position' | 'by data'
  readonly labelX: number
  readonly labelY: number
  readonly side: 'left' | 'right'
}

/** A model without tasks is shown by its KL. Of the rows of one length, those whose density is known. */
function pointsOf(rows: readonly EvalRow[], most: number, selecting: ReadonlySet<string>): Point[] {
  const shown = rows.flatMap(({ pattern, density, accuracy, kl, length }) => {
    if (density === null) return []
    const kind = pattern === 'causal' ? 'dense' : selecting.has(pattern) ? 'by data' : 'by position'
    return [{ pattern, density, value: accuracy ?? kl, length: `${length} tokens`, kind } as const]
  })
  const pixels = shown.map(({ pattern, density, value }) => ({
    name: pattern,
    x: Math.sqrt(density) * WIDTH,
    y: (1 - value / most) * HEIGHT,
  }))
  const labels = placeLabels(pixels, WIDTH, HEIGHT)
  return shown.map((point, n) => {
    const { x, y, isLeft } = labels[n]!
    const place = { labelX: (x / WIDTH) ** 2, labelY: most * (1 - y / HEIGHT) }
    return { ...point, ...place, side: isLeft ? 'left' : 'right' }
  })
}

/** In vega-lite's own words; colours that those who see few tell apart. */
export function pictureSpec(rows: readonly EvalRow[], selecting: ReadonlySet<string>) {
  const answers = rows.some((row) => row.accuracy !== null)
  const most = answers ? 1 : Math.max(...rows.map((row) => row.kl), 1e-3)
  const lengths = [...new Set(rows.map((row) => row.length))].toSorted((a, b) => a - b)
  const values = lengths.flatMap((length) =>
    pointsOf(
      rows.filter((row) => row.length === length),
      most,
      selecting,
    ),
  )
  // What is sparse lies together: roots set it apart.
  const along = (field: string) => ({
    field,
    type: 'quantitative',
    scale: { type: 'sqrt', domain: [0, 1] },
    axis: { title: 'kept pairs / causal pairs', values: [0, 0.05, 0.1, 0.25, 0.5, 1], format: '.2~f' },
  })
  const up = (field: string) => ({
    field,
    type: 'quantitative',
    scale: { domain: [0, most] },
    axis: { title: answers ? 'answers that are right' : 'KL to dense, nats', tickCount: 5 },
  })
  const name = (side: Point['side'], align: 'left' | 'right') => ({
    transform: [{ filter: { field: 'side', equal: side } }],
    mark: { type: 'text', align, baseline: 'middle', fontSize: 9, clip: false },
    encoding: { x: along('labelX'), y: up('labelY'), text: { field: 'pattern', type: 'nominal' } },
  })
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    data: { values },
    facet: { field: 'length', type: 'nominal', sort: lengths.map((n) => `${n} tokens`), title: null },
    columns: Math.min(2, Math.max(1, lengths.length)),
    spec: {
      width: WIDTH,
      height: HEIGHT,
      layer: [
        {
          mark: { type: 'rule', color: '#c3c9d1', strokeWidth: 0.7 },
          encoding: {
            x: along('density'),
            y: up('value'),
            x2: { field: 'labelX' },
            y2: { field: 'labelY' },
          },
        },
        {
          mark: { type: 'point', filled: true, size: 45, opacity: 1 },
          encoding: {
            x: along('density'),
            y: up('value'),
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
        name('right', 'left'),
        name('left', 'right'),
      ],
    },
    config: {
      font: 'system-ui, sans-serif',
      view: { stroke: '#d9dde3' },
      axis: { grid: true, gridColor: '#eef0f3' },
    },
  }
}

/** Loaded on demand: it is large, and only pictures need it. */
export async function pictureOf(rows: readonly EvalRow[], selecting: ReadonlySet<string>): Promise<string> {
  const [vega, lite] = await Promise.all([import('vega'), import('vega-lite')])
  const wanted = pictureSpec(rows, selecting)
  // Its own type lists the literals that the specification is made of; a wrong one is refused when it compiles.
  const { spec } = lite.compile(wanted as unknown as Parameters<typeof lite.compile>[0])
  const svg = await new vega.View(vega.parse(spec), { renderer: 'none' }).toSVG()
  return `${svg}\n`
}
