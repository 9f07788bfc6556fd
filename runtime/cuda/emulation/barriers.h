// Barriers in shared memory, named barriers and the block's registers. In: arrivals and waits of fibers. Out: fibers that may go
// on, or a sentence about why none can.

#pragma once

#include "async.h"

namespace heddle {
namespace {

constexpr unsigned long long BARRIER_MARK = 0x6d62617272696572ull << 16;
constexpr long long MOST_BYTES = (1 << 20) - 1;
char const NAMED[] = "namedSync";
char const GROW[] = "growRegisters";

unsigned long long& barrierWord(char const* op, int line, unsigned address) {
  checkShared(op, line, address, 8, 8);
  return *(unsigned long long*)(current->block->shared + (address - SHARED_START));
}

// The barrier whose word lies there, untouched.
Barrier& barrierAt(char const* op, int line, unsigned address) {
  Async& async = asyncOf(*current->block);
  unsigned long long index = barrierWord(op, line, address) ^ BARRIER_MARK;
  if (index >= async.barrierCount || async.barriers[index].address != address)
    fail("%s in line %d: at shared address %u there is no barrier, or no longer", op, line, address);
  return async.barriers[index];
}

void initBarrier(unsigned address, int count, int line) {
  Async& async = asyncOf(*current->block);
  unsigned long long& word = barrierWord("barrierInit", line, address);
  if (count < 1 || count > MOST_BYTES) fail("barrierInit in line %d: a count of %d", line, count);
  for (unsigned i = 0; i < async.barrierCount; i++)
    if (async.barriers[i].address == address)
      fail("barrierInit in line %d: the barrier at %u was initialised in line %d", line, address, async.barriers[i].line);
  if (async.barrierCount == 64) fail("barrierInit in line %d: the emulation has 64 barriers a block", line);
  word = async.barrierCount ^ BARRIER_MARK;
  async.barriers[async.barrierCount++] = Barrier{address, line, (unsigned)count, (unsigned)count, 0, 0, false, {}};
}

void tellBarriers() {
  Async& async = asyncOf(*current->block);
  for (unsigned i = 0; i < async.barrierCount; i++) async.barriers[i].told = true;
}

// Ends the phase if all has come.
void settle(Block& block, Barrier& b, char const* op, int line) {
  if (b.left == 0 && b.bytes < 0)
    fail("%s in line %d: the barrier at %u of line %d got %lld bytes more than its phase expects", op, line, b.address, b.line,
         -b.bytes);
  if (b.left != 0 || b.bytes != 0) return;
  b.left = b.count;
  b.phase++;
  for (unsigned w = 0; w < block.warpCount; w++) {
    block.warps[w].ready |= b.waiting[w];
    b.waiting[w] = 0u;
  }
}

void arriveAt(char const* op, int line, unsigned address, unsigned bytes) {
  Block& block = *current->block;
  Barrier& b = barrierAt(op, line, address);
  if (b.left == 0)
    fail("%s in line %d: the barrier at %u of line %d has its %u arrivals already, and %lld bytes to come", op, line, address,
         b.line, b.count, b.bytes);
  b.bytes += bytes;
  if (b.bytes > MOST_BYTES) fail("%s in line %d: the barrier at %u expects %lld bytes", op, line, address, b.bytes);
  b.left--;
  settle(block, b, op, line);
  // Another one may run now as well as later.
  if (block.launch->settings.order >= 2) yieldFrom(*current, current->warp);
}

void waitFor(unsigned address, unsigned parity, int line) {
  Fiber& me = *current;
  Block& block = *me.block;
  if (parity > 1) fail("barrierWait in line %d: a parity of %u", line, parity);
  Barrier& b = barrierAt("barrierWait", line, address);
  if ((b.phase & 1) != parity) return;
  b.waiting[me.warp] |= 1u << me.lane;
  block.warps[me.warp].ready &= ~(1u << me.lane);
  me.waitLine = line;
  yieldFrom(me, me.warp);
}

// A whole warp comes to a place where it may have to stay. `act`: true if it goes on.
template <class Act>
void meetAndStay(char const* op, int line, void* slot, Act act) {
  Fiber& me = *current;
  Warp& warp = me.block->warps[me.warp];
  arrive(me, warp, op, line);
  warp.slots[me.lane] = slot;
  if (warp.arrived == warp.members && act(*me.block, warp)) {
    warp.arrived = 0u;
    warp.ready = warp.members;
  }
  yieldFrom(me, me.warp);
}

void wake(Block& block, unsigned warps) {
  for (; warps != 0u; warps &= warps - 1) {
    Warp& warp = block.warps[__builtin_ctz(warps)];
    warp.arrived = 0u;
    warp.ready = warp.members;
  }
}

struct NamedArrival {
  int id, threads;
};

void meetNamed(bool stays, int id, int threads, int line) {
  NamedArrival mine = {id, threads};
  char const* op = stays ? NAMED : "namedArrive";
  meetAndStay(op, line, &mine, [=](Block& block, Warp& warp) {
    for (void* slot : warp.slots)
      if (((NamedArrival*)slot)->id != id || ((NamedArrival*)slot)->threads != threads)
        fail("%s in line %d: lanes of a warp name different barriers or counts", op, line);
    if (id < 1 || id > 15) fail("%s in line %d: barrier %d; 0 is that of syncThreads, 15 the last", op, line, id);
    if (threads < 32 || threads % 32 != 0 || threads > (int)block.launch->threads)
      fail("%s in line %d: %d threads", op, line, threads);
    Named& n = asyncOf(block).named[id];
    if (n.arrived != 0 && n.wanted != (unsigned)threads)
      fail("%s in line %d: barrier %d is one of %u threads, not of %d", op, line, id, n.wanted, threads);
    n.wanted = (unsigned)threads;
    n.arrived += 32;
    if (n.arrived < n.wanted) {
      if (stays) n.warps |= 1u << current->warp;
      return !stays;
    }
    wake(block, n.warps);
    n = Named();
    return true;
  });
}

// setmaxnreg. What is given back goes to who waits for it.
void setRegisters(bool grow, unsigned registers, int line) {
  char const* op = grow ? GROW : "shrinkRegisters";
  meetAndStay(op, line, nullptr, [=](Block& block, Warp&) {
    Async& async = asyncOf(block);
    unsigned warp = current->warp, have = async.registers[warp];
    if (grow ? registers < have : registers > have)
      fail("%s in line %d: to %u, but threads have %u", op, line, registers, have);
    if (!grow) {
      async.registers[warp] = registers;
      async.freeRegisters += 32 * (have - registers);
    } else {
      async.growing |= 1u << warp;
      async.wish[warp] = registers;
    }
    for (unsigned w = 0; w < block.warpCount; w++) {
      unsigned more = 32 * (async.wish[w] - async.registers[w]);
      if ((async.growing >> w & 1u) == 0u || more > async.freeRegisters) continue;
      async.freeRegisters -= more;
      async.registers[w] = async.wish[w];
      async.growing &= ~(1u << w);
      if (w != warp) wake(block, 1u << w);
    }
    return (async.growing >> warp & 1u) == 0u;
  });
}

// Where the lanes of a warp are, if any waits.
void addWaits(Text& text, Block& block, unsigned w) {
  Warp const& warp = block.warps[w];
  bool begun = false;
  if (warp.arrived != 0u) {
    addLanes(text, warp.arrived);
    text.add(" at %s in line %d", warp.op, warp.line);
    begun = true;
    if (warp.op == NAMED) {
      int id = ((NamedArrival*)warp.slots[__builtin_ctz(warp.arrived)])->id;
      Named const& n = asyncOf(block).named[id];
      text.add(" (barrier %d, %u of %u threads)", id, n.arrived, n.wanted);
    }
    if (warp.op == GROW) text.add(" (%u of the block's registers are free)", asyncOf(block).freeRegisters);
  }
  if (block.async == nullptr) return;
  for (unsigned i = 0; i < block.async->barrierCount; i++) {
    Barrier const& b = block.async->barriers[i];
    if (b.waiting[w] == 0u) continue;
    if (begun) text.add(", ");
    addLanes(text, b.waiting[w]);
    text.add(" in line %d for parity %u of barrier %u", warp.lanes[__builtin_ctz(b.waiting[w])].waitLine, b.phase & 1, b.address);
    begun = true;
  }
}

// No fiber can go on, and nothing is under way that could free one.
[[noreturn]] void stuck(Block& block) {
  Text all, last;
  all.add("no thread can go on:");
  unsigned first = 0;
  for (unsigned w = 0; w <= block.warpCount; w++) {
    Text text;
    if (w < block.warpCount) addWaits(text, block, w);
    if (w < block.warpCount && w > first && strcmp(text.bytes, last.bytes) == 0) continue;
    if (w > 0 && last.length > 0) {
      if (w - first > 1) all.add(" warps %u-%u: %s;", first, w - 1, last.bytes);
      else all.add(" warp %u: %s;", first, last.bytes);
    }
    first = w;
    last = text;
  }
  for (unsigned i = 0; block.async != nullptr && i < block.async->barrierCount; i++) {
    Barrier const& b = block.async->barriers[i];
    unsigned waits = 0u;
    for (unsigned lanes : b.waiting) waits |= lanes;
    if (waits != 0u)
      all.add(" barrier %u (initialised in line %d) has in phase %u %u of %u arrivals and %lld bytes to come;", b.address, b.line,
              b.phase, b.count - b.left, b.count, b.bytes);
  }
  all.bytes[all.length - 1] = '.';
  fail("%s", all.bytes);
}

}  // namespace
}  // namespace heddle
