/** Sizes and a layout in; room for a tensor's rows with NaN in and between all of them out, its strides included. */

export const NAN = 0x7fff

export interface Stored {
  readonly data: Uint16Array<ArrayBuffer>
  readonly strides: readonly [bigint, bigint, bigint]
  at(outer: number, head: number, row: number): number
}

/** Room for rows of `dim`, NaN all over: [outer, heads, rows] in either order. */
export function storage(
  outer: number,
  heads: number,
  rows: number,
  dim: number,
  rowsFirst: boolean,
  aligned: boolean,
): Stored {
  const length = aligned ? Math.ceil(dim / 8) * 8 + 8 : dim + (dim % 2 === 0 ? 1 : 2)
  const [head, row] = rowsFirst ? [length, heads * length] : [rows * length, length]
  const first = aligned ? heads * rows * length : heads * rows * length + 1
  return {
    data: new Uint16Array(outer * first).fill(NAN),
    strides: [BigInt(first), BigInt(head), BigInt(row)],
    at: (o, h, r) => o * first + h * head + r * row,
  }
}
