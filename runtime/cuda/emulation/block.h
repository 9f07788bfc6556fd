// One thread block as fibers of one host thread. In: a kernel and its index. Out: the kernel's effects, or a sentence about
// why the block cannot go on. A fiber runs until it meets its warp or its block; the last to arrive acts for all.

#pragma once

#include <stdarg.h>
#include <stdio.h>

#include "fiber.h"
#include "state.h"

namespace heddle {
namespace {

#if defined(__GLIBC__)
// The C library keeps room for a word like this, which is then found without a call.
thread_local Fiber* current __attribute__((tls_model("initial-exec"))) = nullptr;
#else
thread_local Fiber* current = nullptr;
#endif

char const BARRIER[] = "syncThreads";

void record(Launch& launch, char const* text) {
  pthread_mutex_lock(&launch.lock);
  if (!launch.failed) snprintf(launch.error, launch.errorBytes, "%s", text);
  launch.failed = true;
  pthread_mutex_unlock(&launch.lock);
}

// Ends the block: none of its fibers runs again.
[[noreturn]] void abandon(Block& block) {
  void* here;
  current = nullptr;
  switchStack(&here, block.host);
  __builtin_unreachable();
}

// From a fiber: the launch fails with this sentence, and where it was.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(char const* format, ...) {
  char text[2048];
  Fiber& me = *current;
  Index b = me.block->index, t = me.thread;
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, sizeof text - 200, format, args);
  va_end(args);
  if (length > (int)sizeof text - 200) length = (int)sizeof text - 200;
  snprintf(text + length, sizeof text - length, " [block (%u, %u, %u), thread (%u, %u, %u)]", b.x, b.y, b.z, t.x, t.y, t.z);
  record(*me.block->launch, text);
  abandon(*me.block);
}

struct Text {
  char bytes[1400] = {};
  size_t length = 0;
  __attribute__((format(printf, 2, 3))) void add(char const* format, ...) {
    va_list args;
    va_start(args, format);
    int more = vsnprintf(bytes + length, sizeof bytes - length, format, args);
    va_end(args);
    length += more;
    if (length >= sizeof bytes) length = sizeof bytes - 1;
  }
};

// "lanes 0-3, 7"
void addLanes(Text& text, unsigned mask) {
  text.add(mask & (mask - 1) ? "lanes " : "lane ");
  char const* before = "";
  for (unsigned l = 0; l < 32; l++) {
    if (!(mask >> l & 1u)) continue;
    unsigned end = l;
    while (end < 31 && (mask >> (end + 1) & 1u)) end++;
    if (end > l) text.add("%s%u-%u", before, l, end);
    else text.add("%s%u", before, l);
    before = ", ";
    l = end;
  }
}

void addWarp(Text& text, Warp const& warp) {
  unsigned gone = warp.members & ~warp.alive;
  if (warp.arrived != 0u) {
    addLanes(text, warp.arrived);
    text.add(" at %s in line %d", warp.op, warp.line);
  }
  if (gone != 0u) {
    if (warp.arrived != 0u) text.add(", ");
    if (gone == warp.members) text.add("all lanes");
    else addLanes(text, gone);
    text.add(" returned");
  }
}

unsigned draw(Block& block, unsigned mask) {
  unsigned order = block.launch->settings.order;
  if (order == 0) return __builtin_ctz(mask);
  if (order == 1) return 31 - __builtin_clz(mask);
  block.random = block.random * 6364136223846793005ull + 1442695040888963407ull;
  unsigned skipped = (unsigned)(block.random >> 33) % __builtin_popcount(mask);
  while (skipped-- > 0) mask &= mask - 1;
  return __builtin_ctz(mask);
}

// Some fiber that may run: of this warp if there is one, for warps run on until they meet others; null if there is none.
Fiber* choose(Block& block, unsigned warp) {
  bool stays = block.launch->settings.order < 2 && warp < block.warpCount && block.warps[warp].ready != 0u;
  if (!stays) {
    unsigned ready = 0u;
    for (unsigned w = 0; w < block.warpCount; w++) ready |= block.warps[w].ready != 0u ? 1u << w : 0u;
    if (ready == 0u) return nullptr;
    warp = draw(block, ready);
  }
  return &block.warps[warp].lanes[draw(block, block.warps[warp].ready)];
}

// Of what runs behind the program: async.h and what follows it.
bool landNext(Block& block);       // the oldest copy under way, if there is one
void landSometimes(Block& block);  // any, at random
void endAsync(Block& block);
[[noreturn]] void stuck(Block& block);

// Stops this fiber until it is chosen again.
void yieldFrom(Fiber& me, unsigned warp) {
  Block& block = *me.block;
  if (block.launch->settings.order >= 2) landSometimes(block);
  bool stays = block.launch->settings.order == 0 && warp < block.warpCount && block.warps[warp].ready != 0u;
  Fiber* next = stays ? &block.warps[warp].lanes[__builtin_ctz(block.warps[warp].ready)] : choose(block, warp);
  while (next == nullptr) {
    if (!landNext(block)) stuck(block);
    next = choose(block, warp);
  }
  if (next == &me) return;
  current = next;
  switchStack(&me.stack, next->stack);
}

void openBarrier(Block& block) {
  block.waiting = 0;
  block.statistics.barriers++;
  for (unsigned w = 0; w < block.warpCount; w++) {
    block.warps[w].ready |= block.warps[w].arrived;
    block.warps[w].arrived = 0u;
  }
}

// All lanes of a warp must come to the same place, or none of them ever leaves it.
void arrive(Fiber& me, Warp& warp, char const* op, int line) {
  unsigned bit = 1u << me.lane;
  bool differs = warp.arrived != 0u && (warp.op != op || warp.line != line);
  if (differs || (op != BARRIER && warp.alive != warp.members)) {
    Text text;
    addWarp(text, warp);
    fail("lane %u of warp %u is at %s in line %d alone: %s", me.lane, me.warp, op, line, text.bytes);
  }
  warp.op = op;
  warp.line = line;
  warp.arrived |= bit;
  warp.ready &= ~bit;
}

// A warp-wide instruction: `act` sees the slots of all lanes, once.
template <class Act>
void meet(char const* op, int line, void* slot, Act act) {
  Fiber& me = *current;
  Warp& warp = me.block->warps[me.warp];
  arrive(me, warp, op, line);
  warp.slots[me.lane] = slot;
  if (warp.arrived == warp.members) {
    act(*me.block, warp.slots);
    warp.arrived = 0u;
    warp.ready = warp.members;
    if (me.block->launch->settings.order < 2) return;
  }
  yieldFrom(me, me.warp);
}

void meetBlock(int line) {
  Fiber& me = *current;
  Block& block = *me.block;
  arrive(me, block.warps[me.warp], BARRIER, line);
  bool last = ++block.waiting == block.alive;
  if (last) openBarrier(block);
  yieldFrom(me, last ? block.warpCount : me.warp);
}

// The kernel returned. Threads that are gone do not count at barriers.
[[noreturn]] void leave(Fiber& me) {
  Block& block = *me.block;
  Warp& warp = block.warps[me.warp];
  unsigned bit = 1u << me.lane;
  if (warp.arrived != 0u && warp.op != BARRIER) {
    Text text;
    addWarp(text, warp);
    fail("lane %u of warp %u returned without the others: %s", me.lane, me.warp, text.bytes);
  }
  warp.alive &= ~bit;
  warp.ready &= ~bit;
  if (--block.alive == 0) {
    endAsync(block);
    abandon(block);
  }
  if (block.waiting == block.alive) openBarrier(block);
  yieldFrom(me, me.warp);
  __builtin_unreachable();
}

void runFiber() {
  Launch& launch = *current->block->launch;
  launch.call(launch.entry, launch.parameter, launch.maps, launch.mapCount);
  leave(*current);
}

}  // namespace
}  // namespace heddle
