// The copy engine: boxes of tensors to shared memory. In: a tensor map and a place in the tensor. Out: the box, swizzled, some
// time after it was asked for: as late as possible, or at random where warps run at random.

#pragma once

#include "groups.h"

// What the host's opaque 128 bytes are to the emulation: emulated.ts writes them.
struct __attribute__((aligned(64))) TensorMap {
  unsigned long long magic, address, sizes[5], strides[4];  // strides in bytes, of all but the columns
  unsigned columns, rows, swizzle;                          // of the box; swizzle 128 or 64
  unsigned rank;
  unsigned unused[6];
};
static_assert(sizeof(TensorMap) == 128, "CUtensorMap");

namespace heddle {
namespace {

constexpr unsigned long long MAP_MAGIC = 0x70614d726f736e54ull;

void checkMap(char const* op, int line, TensorMap const& map) {
  if (map.magic != MAP_MAGIC) fail("%s in line %d: this is no tensor map", op, line);
}

// The elements of the box, one after another; those outside the tensor are zeros.
void readBox(unsigned char* to, TensorMap const& map, int const (&at)[5]) {
  bool inside = true;
  unsigned long long start = map.address;
  for (unsigned d = 2; d < map.rank; d++) {
    inside = inside && at[d] >= 0 && (unsigned long long)at[d] < map.sizes[d];
    start += at[d] * map.strides[d - 1];
  }
  for (unsigned r = 0; r < map.rows; r++) {
    long long row = (long long)at[1] + r;
    unsigned char* target = to + 2ull * r * map.columns;
    memset(target, 0, 2ull * map.columns);
    if (!inside || row < 0 || (unsigned long long)row >= map.sizes[1]) continue;
    unsigned char const* from = (unsigned char const*)start + row * map.strides[0];
    long long low = at[0] < 0 ? -(long long)at[0] : 0, high = (long long)map.sizes[0] - at[0];
    if (high > (long long)map.columns) high = map.columns;
    if (high > low) memcpy(target + 2 * low, from + 2 * (at[0] + low), 2 * (high - low));
  }
}

void issueBox(unsigned to, TensorMap const& map, unsigned barrier, unsigned rank, int const (&at)[5], int line) {
  Block& block = *current->block;
  Async& async = asyncOf(block);
  unsigned bytes = 2 * map.columns * map.rows;
  checkMap("copyBox", line, map);
  if (map.rank != rank) fail("copyBox in line %d: %u coordinates for a map of %u dimensions", line, rank, map.rank);
  checkShared("copyBox", line, to, bytes, 128);
  Barrier& b = barrierAt("copyBox", line, barrier);
  if (!b.told) fail("copyBox in line %d: the copy engine was not told of the barrier at %u, initialised in line %d", line, barrier, b.line);
  Span span;
  span.add(to, bytes);
  for (unsigned i = 0; i < async.boxCount; i++)
    if (async.boxes[i].to.meets(span))
      fail("copyBox in line %d writes where the box of line %d is still to land", line, async.boxes[i].line);
  if (Queued const* q = readerOf(async, span))
    fail("copyBox in line %d writes what the product of line %d still reads", line, q->line);
  makeRoom(async.boxes, async.boxCount, async.boxRoom);
  unsigned char* content = (unsigned char*)malloc(bytes);
  if (content == nullptr) fail("copyBox in line %d: out of memory", line);
  async.boxes[async.boxCount++] = Box{span, (unsigned)(&b - async.barriers), map.swizzle == 128 ? 7u : 3u, line, content};
  current->reading = line;
  current->readingOp = "copyBox";
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  readBox(content, map, at);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  current->reading = 0;
  memset(block.shared + (to - SHARED_START), POISON, bytes);
  memset(async.shared + (to - SHARED_START), POISON, bytes);
}

void land(Block& block, unsigned index) {
  Async& async = asyncOf(block);
  Box box = async.boxes[index];
  async.boxCount--;
  memmove(async.boxes + index, async.boxes + index + 1, (async.boxCount - index) * sizeof(Box));
  unsigned bytes = box.to.high - box.to.low;
  for (unsigned i = 0; i < bytes; i += 16) {
    unsigned at = swizzled(box.to.low + i, box.mask) - SHARED_START;
    memcpy(block.shared + at, box.bytes + i, 16);
    memcpy(async.shared + at, box.bytes + i, 16);
  }
  free(box.bytes);
  Barrier& b = async.barriers[box.barrier];
  b.bytes -= bytes;
  settle(block, b, "copyBox", box.line);
}

// Ordinary stores until now are seen by boxes and products.
void fenceShared() {
  Block& block = *current->block;
  memcpy(asyncOf(block).shared, block.shared, block.launch->sharedBytes);
}

bool landNext(Block& block) {
  if (block.async == nullptr || !block.async->begun || block.async->boxCount == 0) return false;
  land(block, 0);
  return true;
}

void landSometimes(Block& block) {
  if (block.async == nullptr || !block.async->begun || block.async->boxCount == 0) return;
  block.random = block.random * 6364136223846793005ull + 1442695040888963407ull;
  unsigned drawn = (unsigned)(block.random >> 33);
  if (drawn % 16 == 0) land(block, drawn / 16 % block.async->boxCount);
}

// The block's last thread returns.
void endAsync(Block& block) {
  if (block.async == nullptr || !block.async->begun) return;
  Async& async = *block.async;
  if (async.boxCount > 0) fail("the block returned before the box of line %d had landed", async.boxes[0].line);
  Span everything;
  everything.add(0, ~0u);
  if (Queued const* q = readerOf(async, everything)) fail("the block returned before the product of line %d was done", q->line);
}

Async& asyncOf(Block& block) {
  if (block.async == nullptr) {
    block.async = (Async*)calloc(1, sizeof(Async));
    if (block.async != nullptr) block.async->shared = (unsigned char*)malloc(SHARED_LIMIT);
    if (block.async != nullptr) block.async->groups = (Group*)calloc(8, sizeof(Group));
    if (block.async == nullptr || block.async->shared == nullptr || block.async->groups == nullptr) fail("out of memory");
  }
  if (!block.async->begun) beginAsync(block, *block.async);
  return *block.async;
}

void freeAsync(Async* async) {
  if (async == nullptr) return;
  for (unsigned i = 0; i < async->boxCount; i++) free(async->boxes[i].bytes);
  if (async->groups != nullptr) freeGroups(*async);
  free(async->boxes);
  free(async->groups);
  free(async->shared);
  free(async);
}

}  // namespace
}  // namespace heddle
