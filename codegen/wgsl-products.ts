/** Products of panels in workgroup memory: the statements of kernel.ts as WGSL, for devices of which no matrix units are known. */

import type { PrintedPanel, Products } from './target.ts'

/** A tile's side, and what of it a thread has: the rows y + SIDE i and the columns x + SIDE j. */
const CELLS = 64
const EACH = 4
const SIDE = CELLS / EACH
const THREADS = SIDE * SIDE
/** Channels that are staged at once. */
const STEP = 16
/** A row of the staged channels; one more, so that the threads that store a vector's channels meet different banks. */
const PITCH = CELLS + 1
const PANEL = STEP * PITCH

const times = [...Array(EACH).keys()]
const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ')

/** One component of a panel's vector, of the channel that `channel` names. */
function valueOf({ from, channel }: PrintedPanel): { readonly lines: string; readonly value: string } {
  if (from.kind === 'values') return { lines: `let ${from.at} = ${channel};\n`, value: from.value }
  const lines = `let panelElement = ${from.index};\n`
  if (from.kind === 'floats') return { lines, value: `${from.buffer}[panelElement]` }
  const word = `${from.buffer}[panelElement >> 1u]`
  const value =
    from.kind === 'halves'
      ? `unpack2x16float(${word})[panelElement & 1u]`
      : `bitcast<f32>(select(${word} << 16u, ${word} & 0xffff0000u, (panelElement & 1u) == 1u))`
  return { lines, value }
}

/** A few channels of all the tile's vectors: each thread has some components. */
function stage(panel: PrintedPanel, memory: string, offset: number, channels: string): string {
  const { lines, value } = valueOf(panel)
  return `for (var panelN = i32(thread); panelN < ${STEP * CELLS}; panelN += ${THREADS}) {
  let ${panel.row} = panelN / ${STEP};
  let ${panel.first} = panelBegin;
  let ${panel.channel} = panelBegin + panelN % ${STEP};
${panel.body}  var panelValue = 0.0;
  if (${panel.there} & (${panel.channel} < ${channels})) {
${indented(indented(lines))}    panelValue = ${value};
  }
  ${memory}[${offset} + panelN % ${STEP} * ${PITCH} + ${panel.row}] = bitcast<u32>(panelValue);
}`
}

const load = (name: string, memory: string, offset: number, own: string): string =>
  times
    .map(
      (i) => `let ${name}${i} = bitcast<f32>(${memory}[${offset + SIDE * i} + panelK * ${PITCH} + ${own}]);`,
    )
    .join('\n')

const y = `i32(thread) / ${SIDE}`
const x = `i32(thread) % ${SIDE}`

/** Sums stand in variables of their own while they grow: what is indexed by a number that a loop counts may be no register. */
const product: Products['product'] = (sums, memory, rows, columns, channels) => {
  const each = (line: (i: number, j: number) => string): string =>
    times.flatMap((i) => times.map((j) => line(i, j))).join('\n')
  const multiply = [
    load('panelA', memory, 0, 'panelY'),
    load('panelB', memory, PANEL, 'panelX'),
    each((i, j) => `panelSum${i}${j} = panelSum${i}${j} + panelA${i} * panelB${j};`),
  ].join('\n')
  return `{
  let panelY = ${y};
  let panelX = ${x};
${indented(each((i, j) => `var panelSum${i}${j} = ${sums}[${i}][${j}];`))}
  for (var panelBegin = 0; panelBegin < ${channels}; panelBegin += ${STEP}) {
    workgroupBarrier();
${indented(indented(stage(rows, memory, 0, channels)))}
${indented(indented(stage(columns, memory, PANEL, channels)))}
    workgroupBarrier();
    for (var panelK = 0; panelK < ${STEP}; panelK++) {
${indented(indented(indented(multiply)))}
    }
  }
${indented(each((i, j) => `${sums}[${i}][${j}] = panelSum${i}${j};`))}
}`
}

const bits: Products['bits'] = (
  sums,
  words,
  each,
) => `for (var panelN = 0; panelN < ${EACH * EACH}; panelN++) {
  if (${sums}[panelN / ${EACH}][panelN % ${EACH}] != 0.0) {
    let panelRow = ${y} + panelN / ${EACH} * ${SIDE};
    let panelColumn = ${x} + panelN % ${EACH} * ${SIDE};
    let panelWord = panelRow / ${each} * ${CELLS / 32} + panelColumn / 32;
    atomicOr(&${words}[panelWord], 1u << u32(panelColumn % 32));
  }
}`

export const WORKGROUP_PRODUCTS: Products = {
  tile: { q: CELLS, kv: CELLS },
  threads: THREADS,
  chunk: STEP,
  halfParts: 1,
  bytes: () => 2 * PANEL * 4,
  // What every device gives.
  most: 16384,
  // Set, and not only declared: in a loop SwiftShader has the last round's numbers there.
  sums: (name) => `var ${name} = array<array<f32, ${EACH}>, ${EACH}>();`,
  product,
  cells: (cell, row, column) => ({
    head: `for (var ${cell} = 0; ${cell} < ${EACH * EACH}; ${cell}++)`,
    first: `let ${row} = ${y} + ${cell} / ${EACH} * ${SIDE};\nlet ${column} = ${x} + ${cell} % ${EACH} * ${SIDE};`,
  }),
  // Threads of a row are not known to be neighbours.
  widths: [],
  lses: () => {
    throw new Error('no block of columns is a thread’s')
  },
  bits,
}
