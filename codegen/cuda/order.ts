/** The order in which a pass takes rows and keys, in; the functions by which a skeleton finds them, as C++ text, out. */

import type { Expr } from '../../compiler/ir.ts'

/** Members of Place that a pass over residues adds. */
export const ORDER_FIELDS = ['step', 'rowFirst', 'keyFirst']

/** Rows in their own order, tiles of them cut at positions that are multiples of TILE_Q: as the query units of lists are. */
export const ALIGNED_TEXT = `// Tiles of rows begin at positions that are multiples of TILE_Q: the first one may begin before the first row.
DEVICE int skewOf(Place const& p) { return p.qShift & (TILE_Q - 1); }
DEVICE int classesOf(Call const&) { return 1; }
DEVICE Place classOf(Place const& p, int) { return p; }
DEVICE int stepOf(Place const&) { return 1; }
DEVICE int stepsTo(Place const&, int) { return 0; }
DEVICE int rowAt(Place const& p, int i) { return i - skewOf(p); }
DEVICE int rowsBefore(Place const& p, int row) { return row + skewOf(p); }
DEVICE int keyAt(Place const&, int i) { return i; }`

/** `step` null: natural order. Else it is text of the step, in which `call` is in scope. */
export function orderText(step: string | null): string {
  if (step === null)
    return `// Rows and keys are taken in their own order: they are one class.
DEVICE int classesOf(Call const&) { return 1; }
DEVICE Place classOf(Place const& p, int) { return p; }
DEVICE int stepOf(Place const&) { return 1; }
DEVICE int stepsTo(Place const&, int) { return 0; }
DEVICE int rowAt(Place const&, int i) { return i; }
DEVICE int rowsBefore(Place const&, int row) { return row; }
DEVICE int keyAt(Place const&, int i) { return i; }`
  return `// Rows and keys are taken by classes: a class has every step-th row, and the keys that are whole steps from its positions.
DEVICE int classesOf(Call const& call) { return ${step}; }
DEVICE Place classOf(Place p, int row) {
  p.rowFirst = row;
  p.keyFirst = floorMod(row + p.qShift, p.step);
  return p;
}
DEVICE int stepOf(Place const& p) { return p.step.value; }
DEVICE int stepsTo(Place const& p, int row) { return floorDiv(row, p.step); }
// The row, or position of a key, that is the class's i-th; and how many of the class come before one.
DEVICE int rowAt(Place const& p, int i) { return p.rowFirst + i * p.step.value; }
DEVICE int rowsBefore(Place const& p, int row) { return floorDiv(row - p.rowFirst + p.step.value - 1, p.step); }
DEVICE int keyAt(Place const& p, int i) { return p.keyFirst + i * p.step.value; }
DEVICE int keysBefore(Place const& p, int kv) { return floorDiv(kv - p.keyFirst + p.step.value - 1, p.step); }`
}

/** What the host makes maps with, and what the text of a pass calls its step. */
export const stepJson = (step: Expr): number | { readonly param: string } =>
  step.op === 'param' ? { param: step.arg } : (step.arg as number)
