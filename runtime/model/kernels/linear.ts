/**
 * A linear layer, y = x Wt + b, in two forms: tiles of rows for a prefill, one row after another for a decode step. What
 * stands before it (an RMS norm) and behind it (a residual sum, SwiGLU) is a part of it, so that a layer takes few dispatches.
 */

import type { Dtype } from '../../../codegen/artifact.ts'
import { kernelOf, lines, range, reader, ROWS, vectorType, type ModelKernel } from './text.ts'

/** What happens to a row's sums: they are stored, added to what is there, or become silu(gate) * up. */
export type Epilogue = 'store' | 'add' | 'swiglu'

export interface LinearText {
  /** Of the rows that are multiplied. */
  readonly input: Dtype
  readonly weights: Dtype
  /** The rows are divided by their root mean square and multiplied by a gain. */
  readonly norm: boolean
  readonly bias: boolean
  readonly epilogue: Epilogue
}

/** The uniform block of a layer; `columns` are those of the output. */
export const SHAPE_FIELDS = ['columns', 'vectors', 'base', 'stride'] as const

/**
 * Under swiglu a weight has the gates' rows and then the ups', `columns` each. `vectors` are fours of a row; the
 * output's rows are `stride` apart, and this weight's columns begin at `base`: a large head is several weights.
 */
const SHAPE = `struct Shape {
  columns: u32,
  vectors: u32,
  base: u32,
  stride: u32,
  eps: f32,
}`

export const shapeBlock = (
  shape: Readonly<Record<(typeof SHAPE_FIELDS)[number], number>>,
  eps: number,
): ArrayBuffer => {
  const block = new ArrayBuffer(32)
  new Uint32Array(block).set(SHAPE_FIELDS.map((name) => shape[name]))
  new Float32Array(block)[SHAPE_FIELDS.length] = eps
  return block
}

/** Threads along rows and columns of a tile, what one of them owns, and how many vectors of a row are staged at once. */
interface Tile {
  readonly threads: { readonly rows: number; readonly columns: number }
  readonly rows: number
  readonly columns: number
  readonly width: number
  /** Subgroups of four: each thread reads a quarter of the rows that the four share, and hands them to the others. */
  readonly quads: boolean
}

interface Schedule {
  readonly tile: Tile
  /** Threads of a row's form, and the columns that they add up together. */
  readonly row: { readonly threads: number; readonly columns: number }
}

/**
 * `wide` is for GPUs; the others have shorter texts, whose pipelines a software adapter makes in less time. There a load
 * costs as much as all that is done with it, so in `quads` four threads share what they read (0.85 GFLOP/s a core for 0.45).
 */
export const SCHEDULES = {
  wide: {
    tile: { threads: { rows: 8, columns: 16 }, rows: 8, columns: 4, width: 4, quads: false },
    row: { threads: 64, columns: 4 },
  },
  narrow: {
    tile: { threads: { rows: 8, columns: 8 }, rows: 8, columns: 4, width: 4, quads: false },
    row: { threads: 4, columns: 8 },
  },
  quads: {
    tile: { threads: { rows: 8, columns: 8 }, rows: 8, columns: 4, width: 8, quads: true },
    row: { threads: 4, columns: 8 },
  },
} as const satisfies Record<string, Schedule>
export type ScheduleName = keyof typeof SCHEDULES

export interface LinearKernel extends ModelKernel {
  /** Rows and columns of the output that a workgroup has. */
  readonly tile: { readonly rows: number; readonly columns: number }
}

const idOf = (form: string, { input, weights, norm, bias, epilogue }: LinearText): string =>
  [`linear-${form}`, ...(norm ? ['norm'] : []), input, weights, ...(bias ? ['bias'] : []), epilogue].join('-')

function linearOf(
  form: string,
  text: LinearText,
  parts: readonly string[],
  enable: readonly string[] = [],
): ModelKernel {
  const { input, weights, norm, bias, epilogue } = text
  const buffers = [
    { name: 'rows', access: 'uniform', type: 'Rows' },
    { name: 'shape', access: 'uniform', type: 'Shape' },
    { name: 'x', access: 'read', type: `array<${vectorType(input)}>` },
    { name: 'weight', access: 'read', type: `array<${vectorType(weights)}>` },
    { name: 'y', access: 'read_write', type: 'array<f32>' },
    ...(norm ? [{ name: 'gain', access: 'read', type: 'array<vec4f>' } as const] : []),
    ...(bias ? [{ name: 'bias', access: 'read', type: 'array<f32>' } as const] : []),
  ] as const
  const ends: Readonly<Record<Epilogue, string>> = {
    store: 'y[at] = value;',
    add: 'y[at] += value;',
    swiglu: 'y[at] = value;',
  }
  const put = `fn put(row: u32, column: u32, value: f32) {
  let at = row * shape.stride + shape.base + column;
  ${ends[epilogue]}
}`
  const gate = `fn gated(gate: f32, up: f32) -> f32 {
  return gate / (1.0 + exp(-gate)) * up;
}`
  return kernelOf(
    idOf(form, text),
    buffers,
    [
      `${ROWS}\n\n${SHAPE}`,
      reader('x', input),
      reader('weight', weights),
      put,
      ...(epilogue === 'swiglu' ? [gate] : []),
      ...parts,
    ],
    enable,
  )
}

/** Many rows: a workgroup has a tile of the output, staged a few vectors of a row at a time. */
export function linearTiles(text: LinearText, { tile }: Schedule): LinearKernel {
  const { norm, bias, epilogue } = text
  const { threads: along, rows, columns, width, quads } = tile
  const threads = along.rows * along.columns
  const [tileRows, tileColumns] = [along.rows * rows, along.columns * columns]
  const pairs = epilogue === 'swiglu'
  const outputs = pairs ? tileColumns / 2 : tileColumns
  // A thread stages the same place of a row each time: rows `step` apart.
  const step = threads / width
  const [stagedRows, stagedWeights] = [tileRows / step, tileColumns / step]
  const gainOf = (value: string) => (norm ? `${value} * scale` : value)
  // The halves of a tile's columns are gates and ups of the same outputs.
  const weightRow = (e: number) => {
    const column = `(place + ${e * step}u)`
    if (!pairs) return `min(columnBase + ${column}, shape.columns - 1u)`
    const inHalf = `min(columnBase + ${column} % ${outputs}u, shape.columns - 1u)`
    return `select(shape.columns, 0u, ${column} < ${outputs}u) + ${inHalf}`
  }
  const owned = pairs ? columns / 2 : columns
  const valueOf = (r: number, c: number) => {
    const sum = (n: number, column: string) => {
      const scaled = norm ? `sum${r}_${n} * root${r}` : `sum${r}_${n}`
      return bias ? `${scaled} + bias[${column}]` : scaled
    }
    if (!pairs) return sum(c, 'column')
    return `gated(${sum(c, 'column')}, ${sum(c + owned, 'shape.columns + column')})`
  }
  const kernel = linearOf(
    'tiles',
    text,
    [
      `// A row is one vector longer than what is staged of it, so that rows start in different banks.
var<workgroup> staged: array<array<vec4f, ${width + 1}>, ${tileRows + tileColumns}>;${
        norm ? `\nvar<workgroup> squares: array<array<f32, ${width}>, ${tileRows}>;` : ''
      }`,
      `@compute @workgroup_size(${threads})
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,${quads ? '\n  @builtin(subgroup_invocation_id) lane: u32,' : ''}
) {
  let rowBase = group.x * ${tileRows}u;
  let columnBase = group.y * ${outputs}u;
  let i = thread / ${along.columns}u;
  let j = thread % ${along.columns}u;
  let place = thread / ${width}u;
  let vector = thread % ${width}u;
  let vectors = shape.vectors;
${lines(stagedRows, (e) => `  let xRow${e} = (rows.first + min(rowBase + place + ${e * step}u, rows.count - 1u)) * vectors;`)}
${lines(stagedWeights, (e) => `  let weightRow${e} = (${weightRow(e)}) * vectors;`)}
${range(rows)
  .map((r) => lines(columns, (c) => `  var sum${r}_${c} = 0.0;`))
  .join('\n')}${norm ? `\n${lines(stagedRows, (e) => `  var square${e} = 0.0;`)}` : ''}
  for (var start = 0u; start < vectors; start += ${width}u) {
    let inside = start + vector < vectors;
    let at = select(vectors - 1u, start + vector, inside);${norm ? '\n    let scale = gain[at];' : ''}
${lines(stagedRows, (e) => `    let x${e} = select(vec4f(), xAt(xRow${e} + at), inside);`)}
${lines(stagedWeights, (e) => `    let weight${e} = weightAt(weightRow${e} + at);`)}${
        norm ? `\n${lines(stagedRows, (e) => `    square${e} += dot(x${e}, x${e});`)}` : ''
      }
    workgroupBarrier();
${lines(stagedRows, (e) => `    staged[place + ${e * step}u][vector] = ${gainOf(`x${e}`)};`)}
${lines(stagedWeights, (e) => `    staged[place + ${tileRows + e * step}u][vector] = weight${e};`)}
    workgroupBarrier();
    for (var v = 0u; v < ${width}u; v += 1u) {
${lines(columns, (c) => `      let b${c} = staged[j + ${tileRows + c * along.columns}u][v];`)}
${quads ? lines(rows / 4, (n) => `      let own${n} = staged[i + (${4 * n}u + lane) * ${along.rows}u][v];`) : ''}
${range(rows)
  .map((r) =>
    [
      quads
        ? `      let a${r} = subgroupBroadcast(own${Math.floor(r / 4)}, ${r % 4}u);`
        : `      let a${r} = staged[i + ${r * along.rows}u][v];`,
      lines(columns, (c) => `      sum${r}_${c} += dot(a${r}, b${c});`),
    ].join('\n'),
  )
  .join('\n')}
    }
  }${
    norm
      ? `
${lines(stagedRows, (e) => `  squares[place + ${e * step}u][vector] = square${e};`)}
  workgroupBarrier();
${lines(rows, (r) => {
  const square = range(width)
    .map((v) => `squares[i + ${r * along.rows}u][${v}]`)
    .join(' + ')
  return `  let root${r} = inverseSqrt((${square}) / f32(4u * vectors) + shape.eps);`
})}`
      : ''
  }
${range(rows)
  .map(
    (r) => `  {
    let row = rowBase + i + ${r * along.rows}u;
    if (row < rows.count) {
${range(owned)
  .map(
    (c) => `      {
        let column = columnBase + j + ${c * along.columns}u;
        if (column < shape.columns) {
          put(row, column, ${valueOf(r, c)});
        }
      }`,
  )
  .join('\n')}
    }
  }`,
  )
  .join('\n')}
}`,
    ],
    quads ? ['subgroups'] : [],
  )
  return { ...kernel, tile: { rows: tileRows, columns: outputs } }
}

/** Few rows: a workgroup has some columns of one, and its threads share the row between them. */
export function linearRow(text: LinearText, { row }: Schedule): LinearKernel {
  const { norm, bias, epilogue } = text
  const { threads, columns } = row
  const pairs = epilogue === 'swiglu'
  const outputs = pairs ? columns / 2 : columns
  const sums = columns + (norm ? 1 : 0)
  // Of many threads eight add up parts of a sum first.
  const folds = threads > 8
  const last = folds ? { from: 'parts', count: 8 } : { from: 'shares', count: threads }
  const weightRow = (c: number) => {
    const inHalf = `min(columnBase + ${c % outputs}u, shape.columns - 1u)`
    return c < outputs ? inHalf : `shape.columns + ${inHalf}`
  }
  const totalOf = (n: string, column: string) => {
    const scaled = norm ? `total(${n}) * root` : `total(${n})`
    return bias ? `${scaled} + bias[${column}]` : scaled
  }
  const value = pairs
    ? `gated(${totalOf('own', 'column')}, ${totalOf(`own + ${outputs}u`, 'shape.columns + column')})`
    : totalOf('own', 'column')
  const kernel = linearOf('row', text, [
    `var<workgroup> shares: array<array<f32, ${threads}>, ${sums}>;${
      folds ? `\nvar<workgroup> parts: array<array<f32, 8>, ${sums}>;` : ''
    }`,
    `fn total(n: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < ${last.count}u; i += 1u) {
    sum += ${last.from}[n][i];
  }
  return sum;
}`,
    `@compute @workgroup_size(${threads})
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let columnBase = (group.x + group.y * groups.x) * ${outputs}u;
  let vectors = shape.vectors;
  let xRow = (rows.first + group.z) * vectors;
${lines(columns, (c) => `  let weightRow${c} = (${weightRow(c)}) * vectors;`)}
${lines(columns, (c) => `  var sum${c} = 0.0;`)}${norm ? '\n  var square = 0.0;' : ''}
  for (var at = thread; at < vectors; at += ${threads}u) {
    ${norm ? 'let bare' : 'let value'} = xAt(xRow + at);${
      norm ? '\n    square += dot(bare, bare);\n    let value = bare * gain[at];' : ''
    }
${lines(columns, (c) => `    sum${c} += dot(value, weightAt(weightRow${c} + at));`)}
  }
${lines(columns, (c) => `  shares[${c}][thread] = sum${c};`)}${norm ? `\n  shares[${columns}][thread] = square;` : ''}
  workgroupBarrier();${
    folds
      ? `
  for (var n = thread; n < ${8 * sums}u; n += ${threads}u) {
    var sum = 0.0;
    for (var i = n % 8u; i < ${threads}u; i += 8u) {
      sum += shares[n / 8u][i];
    }
    parts[n / 8u][n % 8u] = sum;
  }
  workgroupBarrier();`
      : ''
  }
  for (var own = thread; own < ${outputs}u; own += ${threads}u) {
    let column = columnBase + own;
    if (column < shape.columns) {${
      norm ? `\n      let root = inverseSqrt(total(${columns}u) / f32(4u * vectors) + shape.eps);` : ''
    }
      put(group.z, column, ${value});
    }
  }
}`,
  ])
  return { ...kernel, tile: { rows: 1, columns: outputs } }
}
