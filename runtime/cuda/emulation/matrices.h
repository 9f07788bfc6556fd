// What a warp does at once with matrices and copies: ldmatrix, mma.m16n8k16, cp.async. In: the lanes' fragments and shared
// addresses. Out: fragments in the layouts of the instructions.

#pragma once

#include "async.h"
#include "halves.h"

namespace heddle {
namespace {

// Sixteen bytes of shared memory at an address that an instruction was given.
unsigned char* sharedAt(char const* op, int line, unsigned address) {
  Block& block = *current->block;
  unsigned limit = SHARED_START + block.launch->sharedBytes;
  if (address % 16 != 0) fail("%s in line %d: shared address %u is no multiple of 16", op, line, address);
  if (address < SHARED_START || address > limit - 16)
    fail("%s in line %d: shared address %u lies outside the block's [%u, %u)", op, line, address, SHARED_START, limit);
  return block.shared + (address - SHARED_START);
}

struct MatrixLoad {
  unsigned* r;
  unsigned char const* row;  // checked
};

// Eight rows are read at once if they lie in different eighths of the 128 bytes that the banks are wide, or in one place.
unsigned conflictsOf(unsigned char const* const* rows) {
  unsigned used = 0u, most = 0;
  for (unsigned i = 0; i < 8; i++) used |= 1u << ((uintptr_t)rows[i] / 16 % 8);
  if (used == 0xffu) return 0;
  for (unsigned i = 0; i < 8; i++) {
    unsigned same = 0;
    for (unsigned j = 0; j < 8; j++) {
      bool first = true;
      for (unsigned k = 0; k < j; k++) first = first && rows[k] != rows[j];
      same += first && (rows[i] - rows[j]) % 128 == 0;
    }
    most = same > most ? same : most;
  }
  return most - 1;
}

void loadFour(bool transposed, Block& block, void** slots) {
  unsigned char const* rows[32];
  for (unsigned l = 0; l < 32; l++) rows[l] = ((MatrixLoad*)slots[l])->row;
  block.statistics.matrixLoads++;
  for (unsigned m = 0; m < 4; m++) {
    block.statistics.bankConflicts += conflictsOf(rows + 8 * m);
    for (unsigned l = 0; l < 32; l++) {
      unsigned row = l / 4, column = 2 * (l % 4);
      unsigned short low, high;
      if (transposed) {
        memcpy(&low, rows[8 * m + column] + 2 * row, 2);
        memcpy(&high, rows[8 * m + column + 1] + 2 * row, 2);
      } else {
        memcpy(&low, rows[8 * m + row] + 2 * column, 2);
        memcpy(&high, rows[8 * m + row] + 2 * column + 2, 2);
      }
      ((MatrixLoad*)slots[l])->r[m] = low | (unsigned)high << 16;
    }
  }
}

struct Product {
  float* d;
  unsigned const* a;
  unsigned b0, b1;
};

inline void unpackTwo(bool bf16, unsigned x, float* first, unsigned stride) {
  first[0] = fromHalf(bf16, (unsigned short)x);
  first[stride] = fromHalf(bf16, (unsigned short)(x >> 16));
}

typedef float Eight __attribute__((vector_size(32), may_alias));

// Inlined where bf16 is known. Rows of b and d are vectors, which any host has in one form or another.
__attribute__((always_inline)) inline void multiplyAddWarp(bool bf16, Block& block, void** slots) {
  float a[16][16];
  alignas(32) float b[16][8], d[16][8];
  block.statistics.multiplyAdds++;
  for (unsigned l = 0; l < 32; l++) {
    Product const& p = *(Product const*)slots[l];
    unsigned group = l / 4, pair = 2 * (l % 4);
    for (unsigned i = 0; i < 4; i++) unpackTwo(bf16, p.a[i], &a[group + 8 * (i & 1)][pair + 8 * (i >> 1)], 1);
    unpackTwo(bf16, p.b0, &b[pair][group], 8);
    unpackTwo(bf16, p.b1, &b[pair + 8][group], 8);
    for (unsigned i = 0; i < 4; i++) d[group + 8 * (i >> 1)][pair + (i & 1)] = p.d[i];
  }
  for (unsigned row = 0; row < 16; row++) {
    Eight sum = *(Eight*)d[row];
    for (unsigned k = 0; k < 16; k++) sum += a[row][k] * *(Eight*)b[k];
    *(Eight*)d[row] = sum;
  }
  for (unsigned l = 0; l < 32; l++) {
    Product const& p = *(Product const*)slots[l];
    for (unsigned i = 0; i < 4; i++) p.d[i] = d[l / 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)];
  }
}

// The copy lands when it is waited for and not before: until then its destination holds neither old nor new values.
void issueCopy(unsigned to, void const* from, bool valid, int line) {
  unsigned char* target = sharedAt("copyAsync16", line, to);
  if (valid && (uintptr_t)from % 16 != 0)
    fail("copyAsync16 in line %d: global address %p is no multiple of 16", line, from);
  Copies& c = current->copies;
  makeRoom(c.all, c.count, c.room);
  Copy& copy = c.all[c.count++];
  copy.to = to;
  memset(copy.bytes, 0, 16);
  if (valid) {
    current->reading = line;
    current->readingOp = "copyAsync16";
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    memcpy(copy.bytes, from, 16);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    current->reading = 0;
  }
  memset(target, POISON, 16);
  current->block->statistics.copies++;
}

void commitGroup() {
  Copies& c = current->copies;
  makeRoom(c.ends, c.groups, c.endsRoom);
  c.ends[c.groups++] = c.count;
}

void landGroups(unsigned pending) {
  Copies& c = current->copies;
  for (; c.groups - c.waited > pending; c.waited++)
    for (; c.landed < c.ends[c.waited]; c.landed++)
      memcpy(current->block->shared + (c.all[c.landed].to - SHARED_START), c.all[c.landed].bytes, 16);
  if (c.waited == c.groups) c.waited = c.groups = 0;
  if (c.landed == c.count && c.groups == 0) c.landed = c.count = 0;
  if (c.landed > 4096) {
    // A pipeline that never runs dry: what has landed makes room.
    c.count -= c.landed;
    memmove(c.all, c.all + c.landed, c.count * sizeof *c.all);
    c.groups -= c.waited;
    for (unsigned i = 0; i < c.groups; i++) c.ends[i] = c.ends[c.waited + i] - c.landed;
    c.waited = c.landed = 0;
  }
}

}  // namespace
}  // namespace heddle
