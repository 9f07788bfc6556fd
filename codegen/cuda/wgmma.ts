/** Wrappers of Hopper's warpgroup product for one number of columns: its accumulators are separate operands of the instruction. */

import type { CudaDtype } from './manifest.ts'

export interface Product {
  /** The function's name. */
  readonly name: string
  /** Columns of b and d, a multiple of 8 up to 256. */
  readonly columns: number
  /** Where a comes from: shared memory by descriptor, or four registers a thread. */
  readonly a: 'shared' | 'registers'
  /** b is stored with its columns contiguous, not the contracted dimension. */
  readonly transposed: boolean
  /** Of brain floats, whatever the storage is. */
  readonly brains?: true
}

/** d += a b with a of 64 x 16; `keep` 0 overwrites d. */
export function productText({ name, columns, a, transposed, brains }: Product, dtype: CudaDtype): string {
  const count = columns / 2
  const halves = brains ? 'bf16' : dtype
  const registers = Array.from({ length: count }, (_, i) => i)
  const list = (items: readonly string[], each: number): string =>
    Array.from({ length: Math.ceil(items.length / each) }, (_, i) =>
      items.slice(i * each, (i + 1) * each).join(', '),
    ).join(',\n        ')
  const next = count
  const [parameter, operand, inputs, b] =
    a === 'shared'
      ? ['u64 a', `%${next}`, ['"l"(a)'], next + 1]
      : [
          'u32 const* a',
          `{%${next}, %${next + 1}, %${next + 2}, %${next + 3}}`,
          [0, 1, 2, 3].map((i) => `"r"(a[${i}])`),
          next + 4,
        ]
  // Negation flags of a and b, then which operands are transposed: a from registers has no such flag.
  const flags = a === 'shared' ? `1, 1, 0, ${transposed ? 1 : 0}` : `1, 1, ${transposed ? 1 : 0}`
  const lines = list(
    registers.map((i) => `%${i}`),
    16,
  )
  return `#ifdef HEDDLE_EMULATED
DEVICE void ${name}(float (&d)[${count}], ${parameter}, u64 b, int keep, HEDDLE_LINE) {
  productOf<${brains ? 'true' : 'BF16'}, ${transposed}>(d, a, b, keep, line);
}
#else
DEVICE void ${name}(float (&d)[${count}], ${parameter}, u64 b, int keep) {
  asm volatile(
      "{\\n"
      ".reg .pred keep;\\n"
      "setp.ne.b32 keep, %${b + 1}, 0;\\n"
      "wgmma.mma_async.sync.aligned.m64n${columns}k16.f32.${halves}.${halves} "
      "{${lines.replaceAll(',\n        ', ', "\n      "')}}, ${operand}, %${b}, keep, ${flags};\\n"
      "}"
      : ${list(
        registers.map((i) => `"+f"(d[${i}])`),
        8,
      )}
      : ${inputs.join(', ')}, "l"(b), "r"(keep));
}
#endif`
}
