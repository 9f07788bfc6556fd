/** The argument every CUDA kernel takes: one table of fields, printed as the struct of the text and put into the manifest. */

export type CallType = 'pointer' | 'i64' | 'i32' | 'f32'

export interface CallField {
  readonly name: string
  readonly type: CallType
  /** More than one: an array. */
  readonly count: number
  /** In bytes from the struct's start. */
  readonly offset: number
}

const SIZE: Readonly<Record<CallType, number>> = { pointer: 8, i64: 8, i32: 4, f32: 4 }

/** Tables that one pattern may read. */
export const MAX_TABLES = 8
/** Lists that one attend walks. */
export const MAX_PARTS = 4

/**
 * Name, type, count, C type, meaning. Strides are in elements: batch, head, row; of paged K and V: page, head, row in page.
 * Eight-byte fields first, so that nothing is padded.
 */
const ROWS: readonly (readonly [
  name: string,
  type: CallType,
  count: number,
  spelled: string,
  about: string,
])[] = [
  ['q', 'pointer', 1, 'void const*', '[batch, qHeads, qRows, headDim] by strides'],
  ['k', 'pointer', 1, 'void const*', '[batch, kvHeads, kvRows, headDim] by strides, or pages'],
  ['v', 'pointer', 1, 'void const*', '[batch, kvHeads, kvRows, valueDim] by strides, or pages'],
  ['out', 'pointer', 1, 'void*', '[batch, qHeads, qRows, valueDim] by strides'],
  ['lse', 'pointer', 1, 'float*', '[batch, qHeads, qRows], contiguous, natural log'],
  ['lengths', 'pointer', 1, 'int const*', '[batch][5]: qRow, qStart, qLen, kvStart, kvLen'],
  [
    'values',
    'pointer',
    1,
    'int const*',
    'scalar params, one word each; perHead params, qHeads each; derived, batch * qHeads each',
  ],
  ['pages', 'pointer', 1, 'int const*', '[batch][pageStride] page numbers, or null: K and V are contiguous'],
  ['list', 'pointer', 1, 'unsigned*', 'tile lists, where the pattern has them'],
  ['parts', 'pointer', MAX_PARTS, 'int const*', 'lists of units, where the kernel walks them'],
  [
    'order',
    'pointer',
    1,
    'int const*',
    '[batch, sharers, kvRows] the key at each place, where places are walked',
  ],
  ['before', 'pointer', 1, 'float const*', 'a state to go on with, [batch, qHeads, qRows, 4 + valueDim]'],
  ['state', 'pointer', 1, 'float*', 'the state that is made in place of out and lse'],
  ['counters', 'pointer', 1, 'unsigned*', 'zero before a launch, and zero again after it'],
  ['scratch', 'pointer', 1, 'float*', 'partial results of split keys'],
  ['tables', 'pointer', MAX_TABLES, 'void const*', 'in the order of the manifest'],
  ['qStride', 'i64', 3, 'long long', ''],
  ['kStride', 'i64', 3, 'long long', ''],
  ['vStride', 'i64', 3, 'long long', ''],
  ['outStride', 'i64', 3, 'long long', ''],
  ['batch', 'i32', 1, 'int', ''],
  ['qHeads', 'i32', 1, 'int', ''],
  ['kvHeads', 'i32', 1, 'int', 'divides qHeads'],
  ['qRows', 'i32', 1, 'int', ''],
  ['kvRows', 'i32', 1, 'int', 'of paged K and V: pageStride * pageSize'],
  ['headDim', 'i32', 1, 'int', 'at most HEAD_DIM'],
  ['valueDim', 'i32', 1, 'int', 'at most VALUE_DIM'],
  ['pageSize', 'i32', 1, 'int', 'tokens in a page'],
  ['pageStride', 'i32', 1, 'int', 'entries of a batch row of pages'],
  ['pageCount', 'i32', 1, 'int', 'pages that k and v hold'],
  ['splits', 'i32', 1, 'int', 'parts that the keys of a decode tile are split into'],
  ['vectors', 'i32', 1, 'int', '1 if pointers and strides of q, k, v, out are multiples of 16 bytes'],
  ['listStride', 'i32', 1, 'int', 'words of a tile list: 1 + ceil(kvRows / tile)'],
  ['scale', 'f32', 1, 'float', 'factor of q . k'],
]

export const CALL_FIELDS: readonly CallField[] = (() => {
  let offset = 0
  return ROWS.map(([name, type, count]) => {
    const field = { name, type, count, offset }
    offset += SIZE[type] * count
    return field
  })
})()

/** Bytes of the struct, its alignment of 8 included. */
export const CALL_BYTES =
  Math.ceil(Math.max(...CALL_FIELDS.map((f) => f.offset + SIZE[f.type] * f.count)) / 8) * 8

export const CALL_TEXT = `struct Call {
${ROWS.map(([name, , count, spelled, about]) => {
  const declared = `  ${spelled} ${name}${count > 1 ? `[${count}]` : ''};`
  return about === '' ? declared : `${declared}  // ${about}`
}).join('\n')}
};
static_assert(sizeof(Call) == ${CALL_BYTES}, "the host's view of Call");`
