// What a warpgroup product computes. In: descriptors of shared memory or fragments of a, accumulators' sums. Out: the sums with
// the product added; accumulators with what they hold.

#pragma once

#include "barriers.h"
#include "halves.h"

namespace heddle {
namespace {

// A signalling one: arithmetic on it changes it, so that what touches an accumulator under way is found out.
constexpr unsigned UNDER_WAY = 0x7fa5a5a5u;
constexpr unsigned MOST_COLUMNS = 256;

// What a descriptor says; in bytes.
struct Matrix {
  unsigned start, chunks, groups, pitch, mask;
  bool rowsContracted;  // rows are those of the contracted dimension, and columns come in chunks of `pitch` bytes
};

struct Accumulator {
  float* d[128];
  unsigned columns, queued;  // products under way; 0: a free place
  float (*sums)[MOST_COLUMNS];
};

struct Queued {
  unsigned accumulator, columns;
  int line;
  bool bf16, keep, inRegisters;
  Matrix a, b;
  Span reads[2];
  unsigned const* from[128];  // a in registers, and what it held
  unsigned fragments[128][4];
};

struct Group {
  Accumulator accumulators[4];
  Queued* queued;
  unsigned count, room;
  unsigned* ends;  // of committed groups, in products
  unsigned groups, endsRoom;
  bool fenced;
};

Matrix matrixOf(unsigned long long descriptor, bool rowsContracted, int line) {
  auto bytes = [&](unsigned shift) { return (unsigned)(descriptor >> shift & 0x3fff) << 4; };
  unsigned mode = (unsigned)(descriptor >> 62);
  if (mode != 1 && mode != 2) fail("product in line %d: descriptor %016llx is of no known swizzle", line, descriptor);
  if ((descriptor & 0x3fffc000c000c000ull) != 0)
    fail("product in line %d: descriptor %016llx has bits set that mean nothing here", line, descriptor);
  unsigned pitch = mode == 1 ? 128 : 64;
  return {bytes(0), bytes(16), bytes(32), pitch, mode == 1 ? 7u : 3u, rowsContracted};
}

// Where eight neighbours of a row lie: `row` of the contracted dimension or not, `unit` of the other one.
unsigned unitAt(Matrix const& m, unsigned row, unsigned unit) {
  unsigned units = m.pitch / 16;
  unsigned linear = m.start + row / 8 * m.groups + row % 8 * m.pitch;
  return swizzled(m.rowsContracted ? linear + unit / units * m.chunks + unit % units * 16 : linear + unit * 16, m.mask);
}

Span spanOf(Matrix const& m, unsigned rows, unsigned units, int line) {
  Span span;
  unsigned limit = SHARED_START + current->block->launch->sharedBytes;
  for (unsigned r = 0; r < rows; r++)
    for (unsigned u = 0; u < units; u++) span.add(unitAt(m, r, u), 16);
  if (span.low < SHARED_START || span.high > limit)
    fail("product in line %d reads shared addresses [%u, %u), which lie outside the block's [%u, %u)", line, span.low, span.high,
         SHARED_START, limit);
  return span;
}

// Accumulator i of thread t of a group.
unsigned rowOf(unsigned t, unsigned i) { return t / 32 * 16 + t % 32 / 4 + 8 * (i >> 1 & 1u); }
unsigned columnAt(unsigned t, unsigned i) { return i / 4 * 8 + t % 4 * 2 + (i & 1u); }

typedef float Columns16 __attribute__((vector_size(64), may_alias, aligned(4)));
typedef float Columns8 __attribute__((vector_size(32), may_alias, aligned(4)));

// d += a b with b in rows of `columns` floats.
template <class Vector>
inline void multiplyColumns(float (*sums)[MOST_COLUMNS], float const (*a)[16], float const (*b)[MOST_COLUMNS], unsigned column) {
  for (unsigned row = 0; row < 64; row++) {
    Vector sum = *(Vector*)&sums[row][column];
    for (unsigned k = 0; k < 16; k++) sum += a[row][k] * *(Vector const*)&b[k][column];
    *(Vector*)&sums[row][column] = sum;
  }
}

__attribute__((always_inline)) inline void multiplyOne(bool bf16, Block& block, Queued const& q, float (*sums)[MOST_COLUMNS]) {
  float a[64][16], b[16][MOST_COLUMNS];
  auto load = [&](Matrix const& m, unsigned row, unsigned unit, float* to, unsigned stride) {
    unsigned short halves[8];
    memcpy(halves, asyncShared(block, unitAt(m, row, unit)), 16);
    for (unsigned i = 0; i < 8; i++) to[i * stride] = fromHalf(bf16, halves[i]);
  };
  if (q.inRegisters) {
    for (unsigned t = 0; t < 128; t++)
      for (unsigned i = 0; i < 4; i++) {
        float* to = &a[rowOf(t, 0) + 8 * (i & 1)][2 * (t % 4) + 8 * (i >> 1)];
        to[0] = fromHalf(bf16, (unsigned short)q.fragments[t][i]);
        to[1] = fromHalf(bf16, (unsigned short)(q.fragments[t][i] >> 16));
      }
  } else {
    for (unsigned i = 0; i < 128; i++) load(q.a, i / 2, i % 2, &a[i / 2][i % 2 * 8], 1);
  }
  unsigned units = q.columns / 8;
  if (q.b.rowsContracted) {
    for (unsigned k = 0; k < 16; k++)
      for (unsigned u = 0; u < units; u++) load(q.b, k, u, &b[k][8 * u], 1);
  } else {
    for (unsigned n = 0; n < q.columns; n++)
      for (unsigned u = 0; u < 2; u++) load(q.b, n, u, &b[8 * u][n], MOST_COLUMNS);
  }
  if (!q.keep)
    for (unsigned row = 0; row < 64; row++) memset(sums[row], 0, q.columns * sizeof(float));
  unsigned column = 0;
  for (; column + 16 <= q.columns; column += 16) multiplyColumns<Columns16>(sums, a, b, column);
  if (column < q.columns) multiplyColumns<Columns8>(sums, a, b, column);
}

// Does the oldest `count` products; accumulators without others under way get their values.
void finishProducts(Block& block, Group& group, unsigned count, int line) {
  for (unsigned n = 0; n < count; n++) {
    Queued const& q = group.queued[n];
    Accumulator& acc = group.accumulators[q.accumulator];
    if (q.bf16) multiplyOne(true, block, q, acc.sums);
    else multiplyOne(false, block, q, acc.sums);
    for (unsigned t = 0; q.inRegisters && t < 128; t++)
      if (memcmp(q.from[t], q.fragments[t], sizeof q.fragments[t]) != 0)
        fail("productWait in line %d: thread %u of the warpgroup changed its part of `a` under the product of line %d", line, t, q.line);
    if (--acc.queued > 0) continue;
    for (unsigned t = 0; t < 128; t++)
      for (unsigned i = 0; i < acc.columns / 2; i++) {
        if (memcmp(&acc.d[t][i], &UNDER_WAY, 4) != 0)
          fail("productWait in line %d: thread %u of the warpgroup changed its accumulator %u under the product of line %d", line, t, i, q.line);
        acc.d[t][i] = acc.sums[rowOf(t, i)][columnAt(t, i)];
      }
  }
  group.count -= count;
  memmove(group.queued, group.queued + count, group.count * sizeof *group.queued);
}

}  // namespace
}  // namespace heddle
