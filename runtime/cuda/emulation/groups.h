// Warpgroup products (wgmma): four warps multiply at once, behind their program. In: descriptors of shared memory or fragments.
// Out: accumulators, when the group of products they belong to is waited for, and NaNs in them until then. Shared memory is
// read at the wait too: what overwrites it earlier is found out.

#pragma once

#include "products.h"

namespace heddle {
namespace {

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

struct GroupProduct {
  float* d;
  unsigned const* fragments;  // null: a is the descriptor's
  unsigned long long a, b;
  bool keep;
};

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
