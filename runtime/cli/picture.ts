/** The map of a mask in; a PNG or an SVG of it out, one cell per tile or per token. */

import { encode } from 'fast-png'
import { firstPosition, maskRows, type MaskMap, type Setting } from '../../compiler/mask-map.ts'
import type { PatternIr } from '../../compiler/plan.ts'
import { printShare } from '../../compiler/print.ts'

/** 0 empty, 1 partial (of a token: kept, in a partial tile), 2 full. Row by row. */
export interface Cells {
  readonly columns: number
  readonly rows: number
  readonly data: Uint8Array
  /** Tokens a cell stands for. */
  readonly grain: { readonly q: number; readonly kv: number }
}

const CLASS_NUMBER = { empty: 0, partial: 1, full: 2 } as const

export function tileCells(map: MaskMap): Cells {
  const data = new Uint8Array(map.rows * map.columns)
  for (let i = 0; i < map.rows; i++) {
    for (let j = 0; j < map.columns; j++) data[i * map.columns + j] = CLASS_NUMBER[map.classOf(i, j)]
  }
  return { columns: map.columns, rows: map.rows, data, grain: map.tile }
}

/** Every pair: dark where its whole tile is kept. */
export function tokenCells(p: PatternIr, at: Setting, map: MaskMap): Cells {
  const data = new Uint8Array(at.qLen * at.kvLen)
  const rowOf = maskRows(p, at)
  for (let r = 0; r < at.qLen; r++) {
    const row = rowOf(firstPosition(at) + r)
    const i = Math.floor(r / map.tile.q)
    for (let j = 0; j < map.columns; j++) {
      const shade = map.classOf(i, j) === 'full' ? 2 : 1
      for (let kv = j * map.tile.kv; kv < Math.min(at.kvLen, (j + 1) * map.tile.kv); kv++) {
        if (row[kv] !== 0) data[r * at.kvLen + kv] = shade
      }
    }
  }
  return { columns: at.kvLen, rows: at.qLen, data, grain: { q: 1, kv: 1 } }
}

export interface Colours {
  readonly empty: string
  readonly partial: string
  readonly full: string
  readonly ink: string
  readonly faint: string
}

export const PAPER: Colours = {
  empty: '#ffffff',
  partial: '#7aa7d9',
  full: '#1b3a63',
  ink: '#1f2933',
  faint: '#8a96a3',
}

/** The smallest side of a PNG: small maps are enlarged by a whole factor. */
const LEAST_PIXELS = 512

export function toPng(cells: Cells, colours: Colours = PAPER): Uint8Array {
  const scale = Math.max(1, Math.ceil(LEAST_PIXELS / Math.max(cells.columns, cells.rows, 1)))
  const palette = [colours.empty, colours.partial, colours.full].map((c) =>
    [1, 3, 5].map((i) => Number.parseInt(c.slice(i, i + 2), 16)),
  )
  const [width, height] = [Math.max(1, cells.columns) * scale, Math.max(1, cells.rows) * scale]
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const cell = cells.data[Math.floor(y / scale) * cells.columns + Math.floor(x / scale)] ?? 0
      data.set(palette[cell]!, (y * width + x) * 3)
    }
  }
  return encode({ width, height, data, channels: 3, depth: 8 })
}

/** Runs of equal cells as rectangles: equal runs of following rows become one, so a band costs one rectangle. */
export function rectangles(cells: Cells, shade: number): { x: number; y: number; w: number; h: number }[] {
  const done: { x: number; y: number; w: number; h: number }[] = []
  let open = new Map<string, { x: number; y: number; w: number; h: number }>()
  for (let y = 0; y < cells.rows; y++) {
    const next = new Map<string, { x: number; y: number; w: number; h: number }>()
    for (let x = 0; x < cells.columns;) {
      if (cells.data[y * cells.columns + x] !== shade) {
        x++
        continue
      }
      const from = x
      while (x < cells.columns && cells.data[y * cells.columns + x] === shade) x++
      const key = `${from}:${x}`
      const above = open.get(key)
      if (above) above.h++
      else done.push({ x: from, y, w: x - from, h: 1 })
      next.set(key, above ?? done.at(-1)!)
    }
    open = next
  }
  return done
}

const pathOf = (cells: Cells, shade: number, size: { readonly w: number; readonly h: number }): string =>
  rectangles(cells, shade)
    .map(
      (r) =>
        `M${num(r.x * size.w)} ${num(r.y * size.h)}h${num(r.w * size.w)}v${num(r.h * size.h)}h${num(-r.w * size.w)}z`,
    )
    .join('')

const num = (n: number): string => String(Math.round(n * 1000) / 1000)

export const escapeXml = (text: string): string =>
  text.replace(
    /[&<>"']/g,
    (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]!,
  )

/** The map alone, `side` wide, with its border; what the report puts into the page. */
export function mapSvg(cells: Cells, side: number, colours: Colours, title: string): string {
  const longest = Math.max(cells.columns * cells.grain.kv, cells.rows * cells.grain.q, 1)
  const size = { w: (side * cells.grain.kv) / longest, h: (side * cells.grain.q) / longest }
  const [width, height] = [num(cells.columns * size.w), num(cells.rows * size.h)]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" shape-rendering="crispEdges">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" style="fill:${colours.empty}"/>`,
    `<path style="fill:${colours.partial}" d="${pathOf(cells, 1, size)}"/>`,
    `<path style="fill:${colours.full}" d="${pathOf(cells, 2, size)}"/>`,
    `<rect width="${width}" height="${height}" style="fill:none;stroke:${colours.faint}"/>`,
    '</svg>',
  ].join('\n')
}

/** A picture that stands on its own: title, axes, map, legend with the counts. */
export function toSvg(
  cells: Cells,
  map: MaskMap,
  title: string,
  subtitle: string,
  colours: Colours = PAPER,
): string {
  const side = 512
  const [left, top] = [44, 64]
  const body = mapSvg(cells, side, colours, title)
  const [, width = '0', height = '0'] = /width="([\d.]+)" height="([\d.]+)"/.exec(body) ?? []
  const whole = { w: Math.max(left + Number(width) + 20, 420), h: top + Number(height) + 74 }
  const text = (x: number, y: number, size: number, what: string, more = '') =>
    `<text x="${num(x)}" y="${num(y)}" font-size="${size}" fill="${colours.ink}"${more}>${escapeXml(what)}</text>`
  const legend = [
    ['empty', colours.empty],
    ['partial', colours.partial],
    ['full', colours.full],
  ] as const
  const y = top + Number(height) + 30
  const of = map.bidirectional ? ' of all pairs' : ' of causal pairs'
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${num(whole.w)} ${num(whole.h)}" width="${num(whole.w)}" height="${num(whole.h)}" font-family="system-ui, sans-serif">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(left, 26, 18, title, ' font-weight="600"'),
    text(left, 44, 12, subtitle),
    text(left, top - 6, 11, 'keys →'),
    text(left - 10, top, 11, '← queries', ` transform="rotate(-90 ${left - 10} ${top})" text-anchor="end"`),
    body.replace('<svg ', `<svg x="${left}" y="${top}" `),
    ...legend.flatMap(([name, colour], i) => [
      `<rect x="${left + i * 130}" y="${num(y - 11)}" width="12" height="12" fill="${colour}" stroke="${colours.faint}"/>`,
      text(left + i * 130 + 18, y, 12, `${name} ${map.counts[name]}`),
    ]),
    text(
      left,
      y + 24,
      12,
      `density ${printShare(map.density)}${of}, tileDensity ${printShare(map.tileDensity)}`,
    ),
    '</svg>',
    '',
  ].join('\n')
}
