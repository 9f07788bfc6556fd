// What runs behind a block's program on sm_90: barriers in shared memory, copied boxes, warpgroup products. In: a block. Out:
// its state, made when the first of these instructions comes.

#pragma once

#include "block.h"

namespace heddle {
namespace {

// An mbarrier. Its word in shared memory holds a mark and its index here.
struct Barrier {
  unsigned address;
  int line;              // of its barrierInit
  unsigned count, left;  // arrivals of a phase, and those that are still to come
  long long bytes;       // expected and not yet come
  unsigned phase;        // how many are over
  bool told;             // the copy engine knows of it
  unsigned waiting[32];  // lanes by warp
};

// bar.sync and bar.arrive of some warps.
struct Named {
  unsigned wanted, arrived;  // threads
  unsigned warps;            // that wait
};

// Bytes of shared memory, as addresses.
struct Span {
  unsigned low = ~0u, high = 0u;
  bool meets(Span const& other) const { return low < other.high && other.low < high; }
  void add(unsigned address, unsigned bytes) {
    low = address < low ? address : low;
    high = address + bytes > high ? address + bytes : high;
  }
};

// A copy under way: its bytes, in the order of the addresses before the swizzle.
struct Box {
  Span to;
  unsigned barrier, mask;  // of the swizzle
  int line;
  unsigned char* bytes;
};

struct Group;

struct Async {
  bool begun;
  // Shared memory as boxes and products see it: ordinary stores come here at the next fenceAsync.
  unsigned char* shared;
  Barrier barriers[64];
  unsigned barrierCount;
  Named named[16];
  Box* boxes;
  unsigned boxCount, boxRoom;
  Group* groups;               // 8 of them
  unsigned registers[32];      // of a thread, by warp
  unsigned freeRegisters;      // of the block
  unsigned growing, wish[32];  // warps that wait for more, and how many they want
};

void clearGroups(Async& async);

// Blocks that KERNEL says share a multiprocessor's registers, by warps of a block.
unsigned blocksOf[33];

// A block begins with nothing under way.
void beginAsync(Block& block, Async& async) {
  unsigned threads = block.launch->threads;
  memset(async.shared, POISON, block.launch->sharedBytes);
  async.begun = true;
  async.barrierCount = 0;
  memset(async.named, 0, sizeof async.named);
  for (unsigned i = 0; i < async.boxCount; i++) free(async.boxes[i].bytes);
  async.boxCount = 0;
  async.freeRegisters = async.growing = 0;
  unsigned const blocks = blocksOf[threads / 32] > 0 ? blocksOf[threads / 32] : 1;
  for (unsigned& r : async.registers) r = 65536 / (threads * blocks) / 8 * 8;
  clearGroups(async);
}

Async& asyncOf(Block& block);

unsigned char* asyncShared(Block& block, unsigned address) { return asyncOf(block).shared + (address - SHARED_START); }

// An address with its bits exchanged: units of sixteen bytes change places within eight rows of 128 bytes (mask 7), or of 64 (3).
unsigned swizzled(unsigned address, unsigned mask) { return address ^ ((address >> 7 & mask) << 4); }

void checkShared(char const* op, int line, unsigned address, unsigned bytes, unsigned alignment) {
  unsigned limit = SHARED_START + current->block->launch->sharedBytes;
  if (address % alignment != 0) fail("%s in line %d: shared address %u is no multiple of %u", op, line, address, alignment);
  if (address < SHARED_START || address > limit || bytes > limit - address)
    fail("%s in line %d: shared addresses [%u, %u) lie outside the block's [%u, %u)", op, line, address, address + bytes,
         SHARED_START, limit);
}

template <class T>
void makeRoom(T*& all, unsigned count, unsigned& room) {
  if (count < room) return;
  room = room == 0 ? 64 : 2 * room;
  all = (T*)realloc(all, room * sizeof(T));
}

}  // namespace
}  // namespace heddle
