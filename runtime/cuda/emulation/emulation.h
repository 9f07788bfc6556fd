// A .cu text of Heddle on the CPU: everything prelude.cuh declares for the GPU, with real lanes, fragments and copies.
//
//   g++ -std=c++17 -O2 -x c++ -DHEDDLE_EMULATED -include runtime/cuda/emulation/emulation.h kernel.cu
//       -shared -fPIC -pthread -Wl,-Bsymbolic -Wl,-z,nodelete -o kernel.so
//
// The library exports heddle_launch(entry, gx, gy, gz, threads, sharedBytes, call, callBytes, error,
// errorBytes): 0, or 1 and a sentence that names block, thread and line of the text. Kernels take a struct named Call, and
// after it up to four of TensorMap; BF16 is a constexpr bool of the text. What is a mistake on the GPU, silent or not, is an error or a NaN here:
// - a lane that is not where the rest of its warp waits (another instruction, another line, returned): error, never a hang
// - shared memory holds NaNs (0xff) at a block's start; copyAsync16 fills its 16 bytes with NaNs, and only waitCopies of the
//   same thread lets the data land; reads before, and by other warps before syncThreads, see NaNs
// - addresses of copyAsync16 and loadMatrices outside the dynamic shared memory, or no multiple of 16: error; shared memory
//   written behind its end: error; global memory of heddle_alloc touched outside: error at that very access
// - a loop that never ends: error after heddle_set("seconds", n), 300 by default
// heddle_set("order", n) runs warps and lanes in ascending order (0), descending (1), or at random from seed n: a missing
// syncThreads or syncLanes shows in at least one of them. heddle_statistics counts mma, ldmatrix, bank conflicts, copies.
// -g -O1 -fsanitize=undefined works; -DHEDDLE_UCONTEXT takes the portable switch of stacks.

#pragma once

#include "block.h"
#include "device.h"
#include "launch.h"
#include "matrices.h"
#include "memory.h"

#define threadIdx (heddle::current->thread)
#define blockIdx (heddle::current->block->index)
#define blockDim (heddle::Index{heddle::current->block->launch->threads, 1u, 1u})
#define gridDim (heddle::current->block->launch->grid)

#define DEVICE static inline __attribute__((unused))
#define CONSTANT static const
#define HEDDLE_JOIN_(a, b) a##b
#define HEDDLE_JOIN(a, b) HEDDLE_JOIN_(a, b)
#define KERNEL(threads, blocks)                                                                                     \
  __attribute__((used)) static bool const HEDDLE_JOIN(heddleKernel, __COUNTER__) = heddle::registerKernel<Call>(threads, blocks); \
  __attribute__((visibility("default"), used)) void

constexpr float INFINITE = __builtin_huge_valf();

// `line` is the caller's: what diverging lanes are told apart by.
#define HEDDLE_LINE int line = __builtin_LINE()

DEVICE int laneIndex() { return (int)heddle::current->lane; }
DEVICE int threadIndex() { return (int)threadIdx.x; }
DEVICE void syncThreads(HEDDLE_LINE) { heddle::meetBlock(line); }
DEVICE void syncLanes(HEDDLE_LINE) {
  heddle::meet("syncLanes", line, nullptr, [](heddle::Block&, void**) {});
}

namespace heddle {
namespace {

struct Exchange {
  unsigned in, out;
  int lane;  // whose value it wants
};

inline void exchangeAll(Block&, void** slots) {
  for (int l = 0; l < 32; l++) ((Exchange*)slots[l])->out = ((Exchange*)slots[((Exchange*)slots[l])->lane & 31])->in;
}

}  // namespace
}  // namespace heddle

DEVICE unsigned ballotLanes(bool p, HEDDLE_LINE) {
  heddle::Exchange mine = {p, 0u, 0};
  heddle::meet("ballotLanes", line, &mine, [](heddle::Block&, void** slots) {
    unsigned all = 0u;
    for (int l = 0; l < 32; l++) all |= ((heddle::Exchange*)slots[l])->in << l;
    for (int l = 0; l < 32; l++) ((heddle::Exchange*)slots[l])->out = all;
  });
  return mine.out;
}
DEVICE int shuffle(int x, int lane, HEDDLE_LINE) {
  heddle::Exchange mine = {(unsigned)x, 0u, lane};
  heddle::meet("shuffle", line, &mine, heddle::exchangeAll);
  return (int)mine.out;
}
DEVICE unsigned shuffleXor(unsigned x, int mask, HEDDLE_LINE) {
  heddle::Exchange mine = {x, 0u, laneIndex() ^ mask};
  heddle::meet("shuffleXor", line, &mine, heddle::exchangeAll);
  return mine.out;
}
DEVICE float shuffleXor(float x, int mask, HEDDLE_LINE) {
  return heddle::floatOfBits(shuffleXor(heddle::bitsOfFloat(x), mask, line));
}
DEVICE int countBits(unsigned x) { return __builtin_popcount(x); }
DEVICE int lowestBit(unsigned x) { return __builtin_ffs((int)x) - 1; }
DEVICE int leadingZeros(unsigned x) { return __clz((int)x); }

DEVICE unsigned bitsOf(float x) { return heddle::bitsOfFloat(x); }
DEVICE float floatOf(unsigned x) { return heddle::floatOfBits(x); }

DEVICE int readOnly(int const* p) { return *p; }
DEVICE float readOnly(float const* p) { return *p; }

template <class T>
DEVICE T atomicAnd(T* p, T x) { return __atomic_fetch_and(p, x, __ATOMIC_SEQ_CST); }
template <class T>
DEVICE T atomicOr(T* p, T x) { return __atomic_fetch_or(p, x, __ATOMIC_SEQ_CST); }
template <class T>
DEVICE T atomicAdd(T* p, T x) { return __atomic_fetch_add(p, x, __ATOMIC_SEQ_CST); }
DEVICE unsigned atomicNext(unsigned* p) { return __atomic_fetch_add(p, 1u, __ATOMIC_SEQ_CST); }
DEVICE unsigned atomicWrap(unsigned* p, unsigned last) {
  unsigned old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(p, &old, old >= last ? 0u : old + 1u, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
  return old;
}
DEVICE void fenceGrid() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

DEVICE float exp2Fast(float x) {
  float y = exp2f(x);
  return y < 0x1p-126f ? 0.0f : y;  // a NaN stays
}

DEVICE unsigned char* sharedBase() { return heddle::current->block->shared; }
DEVICE unsigned sharedAddress(void const* p, HEDDLE_LINE) {
  long long offset = (unsigned char const*)p - heddle::current->block->shared;
  if (offset < 0 || offset > heddle::current->block->launch->sharedBytes)
    heddle::fail("sharedAddress in line %d: %p does not lie in the block's %u bytes of shared memory", line, p,
                 heddle::current->block->launch->sharedBytes);
  return heddle::SHARED_START + (unsigned)offset;
}

DEVICE void copyAsync16(unsigned shared, void const* p, bool valid, HEDDLE_LINE) {
  heddle::issueCopy(shared, p, valid, line);
}
DEVICE void commitCopies() { heddle::commitGroup(); }
template <int pending>
DEVICE void waitCopies() { heddle::landGroups(pending); }

DEVICE void loadMatrices(unsigned (&r)[4], unsigned shared, HEDDLE_LINE) {
  heddle::MatrixLoad mine = {r, heddle::sharedAt("loadMatrices", line, shared)};
  heddle::meet("loadMatrices", line, &mine, [](heddle::Block& block, void** slots) { heddle::loadFour(false, block, slots); });
}
DEVICE void loadMatricesTransposed(unsigned (&r)[4], unsigned shared, HEDDLE_LINE) {
  heddle::MatrixLoad mine = {r, heddle::sharedAt("loadMatricesTransposed", line, shared)};
  heddle::meet("loadMatricesTransposed", line, &mine,
               [](heddle::Block& block, void** slots) { heddle::loadFour(true, block, slots); });
}

// The text's BF16 is not declared yet, so these three read it where they are used.
DEVICE unsigned heddlePackHalves(bool bf16, float low, float high) {
  return heddle::toHalf(bf16, low) | (unsigned)heddle::toHalf(bf16, high) << 16;
}
DEVICE float heddleUnpackHalf(bool bf16, unsigned short x) { return heddle::fromHalf(bf16, x); }
template <bool bf16>
DEVICE void heddleMultiplyAdd(float (&d)[4], unsigned const (&a)[4], unsigned b0, unsigned b1, HEDDLE_LINE) {
  heddle::Product mine = {d, a, b0, b1};
  heddle::meet("multiplyAdd", line, &mine,
               [](heddle::Block& block, void** slots) { heddle::multiplyAddWarp(bf16, block, slots); });
}
#define packHalves(...) heddlePackHalves(BF16, __VA_ARGS__)
#define unpackHalf(...) heddleUnpackHalf(BF16, __VA_ARGS__)
#define multiplyAdd(...) heddleMultiplyAdd<BF16>(__VA_ARGS__)
#define multiplyAddBrains(...) heddleMultiplyAdd<true>(__VA_ARGS__)

#include "hopper.h"
