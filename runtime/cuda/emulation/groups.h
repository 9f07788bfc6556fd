// Warpgroup products (wgmma): four warps multiply at once, behind their program. In: descriptors of shared memory or fragments.
// Out: accumulators, when the group of products they belong to is waited for, and NaNs in them until then. Shared memory is
// read at the wait too: what overwrites it earlier is found out.

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

void clearGroups(Async& async) {
  for (unsigned g = 0; g < 8; g++) {
    Group& group = async.groups[g];
    group.count = group.groups = 0;
    group.fenced = false;
    for (Accumulator& a : group.accumulators) a.queued = 0;
  }
}

void freeGroups(Async& async) {
  for (unsigned g = 0; g < 8; g++) {
    for (Accumulator& a : async.groups[g].accumulators) free(a.sums);
    free(async.groups[g].queued);
    free(async.groups[g].ends);
  }
}

// A product under way that reads there.
Queued const* readerOf(Async const& async, Span const& span) {
  for (unsigned g = 0; g < 8; g++)
    for (unsigned i = 0; i < async.groups[g].count; i++) {
      Queued const& q = async.groups[g].queued[i];
      if (q.reads[1].meets(span) || (!q.inRegisters && q.reads[0].meets(span))) return &q;
    }
  return nullptr;
}

// Four consecutive warps come to the same place; the last lane to arrive acts for all.
template <class Act>
void meetGroup(char const* op, int line, void* slot, Act act) {
  Fiber& me = *current;
  Block& block = *me.block;
  unsigned first = me.warp & ~3u;
  if (first + 4 > block.warpCount) fail("%s in line %d: warp %u is of no whole warpgroup", op, line, me.warp);
  Warp& warp = block.warps[me.warp];
  arrive(me, warp, op, line);
  warp.slots[me.lane] = slot;
  unsigned here = 0;
  for (unsigned w = first; w < first + 4; w++) {
    Warp const& other = block.warps[w];
    here += other.arrived == other.members && other.op == op && other.line == line;
  }
  if (here == 4) {
    act(block, asyncOf(block).groups[first / 4], &block.warps[first]);
    wake(block, 0xfu << first);
    if (block.launch->settings.order < 2) return;
  }
  yieldFrom(me, me.warp);
}

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

struct GroupProduct {
  float* d;
  unsigned const* fragments;  // null: a is the descriptor's
  unsigned long long a, b;
  bool keep;
};

// Accumulator i of thread t of a group.
unsigned rowOf(unsigned t, unsigned i) { return t / 32 * 16 + t % 32 / 4 + 8 * (i >> 1 & 1u); }
unsigned columnAt(unsigned t, unsigned i) { return i / 4 * 8 + t % 4 * 2 + (i & 1u); }

unsigned accumulatorOf(Group& group, GroupProduct* const* slots, unsigned columns, int line) {
  unsigned place = 4;
  for (unsigned i = 0; i < 4; i++) {
    Accumulator& a = group.accumulators[i];
    if (a.queued == 0) place = i;
    else if (a.d[0] == slots[0]->d) {
      if (a.columns != columns) fail("product in line %d: accumulators of a product of another shape are under way", line);
      return i;
    }
  }
  if (place == 4) fail("product in line %d: the emulation has four accumulators a warpgroup", line);
  Accumulator& a = group.accumulators[place];
  if (a.sums == nullptr) a.sums = (float(*)[MOST_COLUMNS])malloc(64 * sizeof *a.sums);
  if (a.sums == nullptr) fail("out of memory");
  a.columns = columns;
  for (unsigned t = 0; t < 128; t++) {
    a.d[t] = slots[t]->d;
    for (unsigned i = 0; i < columns / 2; i++) {
      a.sums[rowOf(t, i)][columnAt(t, i)] = a.d[t][i];
      memcpy(&a.d[t][i], &UNDER_WAY, 4);
    }
  }
  return place;
}

void queueProduct(Block& block, Group& group, GroupProduct* const* slots, unsigned columns, bool bf16, bool transposed, int line) {
  GroupProduct const& mine = *slots[0];
  if (!group.fenced) fail("product in line %d: no productFence since the last productWait", line);
  for (unsigned t = 0; t < 128; t++)
    if (slots[t]->a != mine.a || slots[t]->b != mine.b || slots[t]->keep != mine.keep)
      fail("product in line %d: threads of a warpgroup give different descriptors or different `keep`", line);
  makeRoom(group.queued, group.count, group.room);
  Queued& q = group.queued[group.count];
  q.columns = columns;
  q.line = line;
  q.bf16 = bf16;
  q.keep = mine.keep;
  q.inRegisters = mine.fragments != nullptr;
  q.reads[0] = Span();
  if (q.inRegisters) {
    for (unsigned t = 0; t < 128; t++) {
      q.from[t] = slots[t]->fragments;
      memcpy(q.fragments[t], q.from[t], sizeof q.fragments[t]);
    }
  } else {
    q.a = matrixOf(mine.a, false, line);
    q.reads[0] = spanOf(q.a, 64, 2, line);
  }
  q.b = matrixOf(mine.b, transposed, line);
  q.reads[1] = transposed ? spanOf(q.b, 16, columns / 8, line) : spanOf(q.b, columns, 2, line);
  Async const& async = *block.async;
  for (unsigned i = 0; i < async.boxCount; i++)
    if (async.boxes[i].to.meets(q.reads[1]) || async.boxes[i].to.meets(q.reads[0]))
      fail("product in line %d reads what the box of line %d is still to bring", line, async.boxes[i].line);
  q.accumulator = accumulatorOf(group, slots, columns, line);
  group.accumulators[q.accumulator].queued++;
  group.count++;
}

typedef float Sixteen __attribute__((vector_size(64), may_alias, aligned(4)));
typedef float Half16 __attribute__((vector_size(32), may_alias, aligned(4)));

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
  for (; column + 16 <= q.columns; column += 16) multiplyColumns<Sixteen>(sums, a, b, column);
  if (column < q.columns) multiplyColumns<Half16>(sums, a, b, column);
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

void fenceProducts(int line) {
  meetGroup("productFence", line, nullptr, [](Block&, Group& group, Warp*) { group.fenced = true; });
}

void commitProducts(int line) {
  meetGroup("productCommit", line, nullptr, [](Block&, Group& group, Warp*) {
    makeRoom(group.ends, group.groups, group.endsRoom);
    group.ends[group.groups++] = group.count;
  });
}

void waitProducts(unsigned pending, int line) {
  meetGroup("productWait", line, nullptr, [=](Block& block, Group& group, Warp*) {
    group.fenced = false;
    if (group.groups <= pending) return;
    unsigned over = group.groups - pending, done = group.ends[over - 1];
    finishProducts(block, group, done, line);
    group.groups = pending;
    for (unsigned i = 0; i < pending; i++) group.ends[i] = group.ends[over + i] - done;
  });
}

template <bool bf16, bool transposed>
void startProduct(GroupProduct& mine, unsigned columns, int line) {
  meetGroup("product", line, &mine, [=](Block& block, Group& group, Warp* warps) {
    GroupProduct* slots[128];
    for (unsigned t = 0; t < 128; t++) slots[t] = (GroupProduct*)warps[t / 32].slots[t % 32];
    queueProduct(block, group, slots, columns, bf16, transposed, line);
  });
}

}  // namespace
}  // namespace heddle
