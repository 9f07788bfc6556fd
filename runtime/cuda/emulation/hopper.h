// What prelude-hopper.cuh declares for sm_90, on the CPU. It is an error here
// - to wait for a barrier that nothing under way can complete: the sentence tells every waiting warp, barrier and parity
// - to arrive more often, or with more bytes, than a phase expects; to use a barrier that was overwritten or is not there
// - to copy a box to, or multiply, bytes that a box is still to bring; to copy a box over what a product under way reads
// - to touch accumulators or fragments of a product under way; to begin one without a fence
// - to return with boxes or products under way
// Boxes land as late as they can, at random where warps run at random; their bytes, and accumulators, are NaNs until then.
// Ordinary stores that no fenceAsync followed, of whatever thread, are not there for products. What a fence of products leaves
// out of registers, and a wait for a phase that is two rounds old, are not noticed.

#pragma once

#include "boxes.h"

DEVICE void barrierInit(unsigned barrier, int count, HEDDLE_LINE) { heddle::initBarrier(barrier, count, line); }
DEVICE void barrierInitFence() { heddle::tellBarriers(); }
DEVICE void barrierArrive(unsigned barrier, HEDDLE_LINE) { heddle::arriveAt("barrierArrive", line, barrier, 0); }
// What the thread copies lands here and now: nobody may look at it before the barrier's phase is over.
DEVICE void barrierArriveCopies(unsigned barrier, HEDDLE_LINE) {
  heddle::barrierAt("barrierArriveCopies", line, barrier);
  heddle::commitGroup();
  heddle::landGroups(0);
}
DEVICE void barrierExpect(unsigned barrier, unsigned bytes, HEDDLE_LINE) { heddle::arriveAt("barrierExpect", line, barrier, bytes); }
DEVICE void barrierWait(unsigned barrier, unsigned parity, HEDDLE_LINE) { heddle::waitFor(barrier, parity, line); }

DEVICE void copyBox(unsigned shared, TensorMap const& map, unsigned barrier, int column, int row, int head, int batch,
                    unsigned long long, HEDDLE_LINE) {
  heddle::issueBox(shared, map, barrier, 4, {column, row, head, batch, 0}, line);
}
DEVICE void copyBox(unsigned shared, TensorMap const& map, unsigned barrier, int column, int index, int residue, int head,
                    int batch, unsigned long long, HEDDLE_LINE) {
  heddle::issueBox(shared, map, barrier, 5, {column, index, residue, head, batch}, line);
}
DEVICE void prefetchMap(TensorMap const& map, HEDDLE_LINE) { heddle::checkMap("prefetchMap", line, map); }
DEVICE void prefetchLine(void const*) {}
DEVICE void fenceAsync() { heddle::fenceShared(); }

DEVICE void namedSync(int id, int threads, HEDDLE_LINE) { heddle::meetNamed(true, id, threads, line); }
DEVICE void namedArrive(int id, int threads, HEDDLE_LINE) { heddle::meetNamed(false, id, threads, line); }

template <int registers>
DEVICE void growRegisters(HEDDLE_LINE) {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0, "setmaxnreg");
  heddle::setRegisters(true, registers, line);
}
template <int registers>
DEVICE void shrinkRegisters(HEDDLE_LINE) {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0, "setmaxnreg");
  heddle::setRegisters(false, registers, line);
}

DEVICE void productFence(HEDDLE_LINE) { heddle::fenceProducts(line); }
DEVICE void productCommit(HEDDLE_LINE) { heddle::commitProducts(line); }
template <int pending>
DEVICE void productWait(HEDDLE_LINE) { heddle::waitProducts(pending, line); }
template <int n>
DEVICE void pin(float (&)[n]) {}

// What wgmma.ts writes wrappers around: a of 64 x 16 by descriptor or in registers, b of 16 x 2n.
template <bool bf16, bool transposed, int n>
DEVICE void productOf(float (&d)[n], unsigned long long a, unsigned long long b, int keep, int line) {
  static_assert(n % 4 == 0 && n <= 128, "columns");
  heddle::GroupProduct mine = {d, nullptr, a, b, keep != 0};
  heddle::startProduct<bf16, transposed>(mine, 2 * n, line);
}
template <bool bf16, bool transposed, int n>
DEVICE void productOf(float (&d)[n], unsigned const* a, unsigned long long b, int keep, int line) {
  static_assert(n % 4 == 0 && n <= 128, "columns");
  heddle::GroupProduct mine = {d, a, 0, b, keep != 0};
  heddle::startProduct<bf16, transposed>(mine, 2 * n, line);
}
