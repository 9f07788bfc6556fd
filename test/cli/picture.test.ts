import { decode } from 'fast-png'
import { describe, expect, it } from 'vitest'
import { Ir } from '../../compiler/ir.ts'
import { mapMask, type Setting } from '../../compiler/mask-map.ts'
import type { PatternIr } from '../../compiler/plan.ts'
import {
  escapeXml,
  mapSvg,
  PAPER,
  rectangles,
  tileCells,
  tokenCells,
  toPng,
  toSvg,
} from '../../runtime/cli/picture.ts'

const ir = new Ir()
const causal: PatternIr = {
  name: 'causal',
  cite: '',
  consts: {},
  params: [],
  tables: [],
  derived: [],
  score: null,
  sinkLogit: null,
  mask: ir.make('le', [ir.var('kv'), ir.var('q')]),
}
const at: Setting = {
  batch: 0,
  batches: 1,
  head: 0,
  qHeads: 1,
  kvHeads: 1,
  qLen: 8,
  kvLen: 8,
  headDim: 64,
  params: {},
  tables: {},
}
const map = mapMask(causal, at, { q: 4, kv: 4 })

describe('cells', () => {
  it('are tiles or tokens', () => {
    expect([...tileCells(map).data]).toEqual([1, 0, 2, 1])
    const tokens = tokenCells(causal, at, map)
    const row = (r: number) => [...tokens.data.slice(r * 8, r * 8 + 8)].join('')
    expect([row(0), row(3), row(4), row(7)]).toEqual(['10000000', '11110000', '22221000', '22221111'])
  })
})

describe('toPng', () => {
  it('has every cell in its colour, enlarged by a whole factor', () => {
    const png = decode(toPng(tileCells(map)))
    expect([png.width, png.height, png.channels]).toEqual([512, 512, 3])
    const pixel = (x: number, y: number) =>
      `#${[...png.data.slice((y * 512 + x) * 3, (y * 512 + x) * 3 + 3)].map((c) => c.toString(16).padStart(2, '0')).join('')}`
    expect([pixel(0, 0), pixel(511, 0), pixel(0, 511), pixel(255, 256)]).toEqual([
      PAPER.partial,
      PAPER.empty,
      PAPER.full,
      PAPER.full,
    ])
    const wide = decode(toPng({ columns: 600, rows: 2, data: new Uint8Array(1200), grain: { q: 1, kv: 1 } }))
    expect([wide.width, wide.height]).toEqual([600, 2])
    expect(
      decode(toPng({ columns: 0, rows: 0, data: new Uint8Array(0), grain: { q: 1, kv: 1 } })).width,
    ).toBe(512)
  })
})

describe('toSvg', () => {
  it('covers each cell of a shade once, with few rectangles', () => {
    const cells = tokenCells(causal, at, map)
    for (const shade of [1, 2]) {
      const seen = new Uint8Array(64)
      for (const r of rectangles(cells, shade)) {
        for (let y = r.y; y < r.y + r.h; y++) for (let x = r.x; x < r.x + r.w; x++) seen[y * 8 + x]!++
      }
      expect([...seen]).toEqual([...cells.data].map((c) => (c === shade ? 1 : 0)))
    }
    expect(rectangles(cells, 2)).toEqual([{ x: 0, y: 4, w: 4, h: 4 }])
  })

  it('stands on its own, with a legend, and escapes what it is given', () => {
    const svg = toSvg(tileCells(map), map, 'a <b> & "c"', 'kv < q')
    expect(svg).toContain('a &lt;b&gt; &amp; &quot;c&quot;')
    expect(svg).toContain('>kv &lt; q<')
    for (const text of ['empty 1', 'partial 2', 'full 1', 'density 1.00 of causal pairs, tileDensity 0.75'])
      expect(svg).toContain(`>${text}<`)
    // Well-formed: each element that opens closes.
    const open: string[] = []
    for (const [, close, name, self] of svg.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
      if (close) expect(open.pop()).toBe(name)
      else if (!self) open.push(name!)
    }
    expect(open).toEqual([])
  })

  it('keeps the proportions of tokens when tiles are not square', () => {
    const svg = mapSvg(
      { columns: 4, rows: 1, data: Uint8Array.of(1, 1, 1, 1), grain: { q: 8, kv: 16 } },
      256,
      PAPER,
      't',
    )
    expect(svg).toContain('width="256" height="32"')
    expect(escapeXml("'")).toBe('&#39;')
  })
})
