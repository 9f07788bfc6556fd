// Hopper's own instructions: mbarriers, the tensor memory accelerator, warpgroup matrix products, register reallocation. The
// products' wrappers for a shape's numbers of columns are written by wgmma.ts and stand before this text's users. With
// HEDDLE_EMULATED the host's emulation has declared the same functions.

#ifndef HEDDLE_EMULATED

struct __align__(64) TensorMap {
  u64 words[16];
};

// A barrier in shared memory. A phase ends when `count` arrivals and all expected bytes have come; waiting names its parity.
DEVICE void barrierInit(u32 barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
// Makes initialised barriers visible to the copy engine.
DEVICE void barrierInitFence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrierArrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// One more arrival is awaited, and comes when all that the thread has asked for by copyAsync16 is there.
DEVICE void barrierArriveCopies(u32 barrier) {
  asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
DEVICE void barrierExpect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
DEVICE void barrierWait(u32 barrier, u32 parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier), "r"(parity) : "memory");
}

// A box of a tensor to shared memory, counted in bytes by the barrier; elements outside the tensor arrive as zeros.
DEVICE void copyBox(u32 shared, TensorMap const& map, u32 barrier, int column, int row, int head, int batch, u64 policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(shared),
      "l"(&map), "r"(barrier), "r"(column), "r"(row), "r"(head), "r"(batch), "l"(policy)
      : "memory");
}
// The same of a tensor whose rows are told apart by their remainder: `index` counts those of one.
DEVICE void copyBox(u32 shared, TensorMap const& map, u32 barrier, int column, int index, int residue, int head, int batch, u64 policy) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(shared),
      "l"(&map), "r"(barrier), "r"(column), "r"(index), "r"(residue), "r"(head), "r"(batch), "l"(policy)
      : "memory");
}
DEVICE void prefetchMap(TensorMap const& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// The line of memory comes to the second-level cache.
DEVICE void prefetchLine(void const* line) { asm volatile("prefetch.global.L2 [%0];" ::"l"(line) : "memory"); }
// Ordinary stores to shared memory become visible to the copy engine and to warpgroup products.
DEVICE void fenceAsync() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Named barriers of some of the block's warps.
DEVICE void namedSync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEVICE void namedArrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

template <int registers>
DEVICE void growRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers)); }
template <int registers>
DEVICE void shrinkRegisters() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers)); }

// Warpgroup products run behind the program: fence before the first, commit a group, wait until `pending` groups are left.
DEVICE void productFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void productCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int pending>
DEVICE void productWait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory"); }
// The compiler must not move reads or writes of accumulators across a wait or a fence.
template <int n>
DEVICE void pin(float (&r)[n]) {
#pragma unroll
  for (int i = 0; i < n; i++) asm volatile("" : "+f"(r[i])::"memory");
}

#endif

// What the second-level cache does with a copied line.
constexpr u64 EVICT_FIRST = 0x12f0000000000000ull;
constexpr u64 EVICT_LAST = 0x14f0000000000000ull;

// A matrix in shared memory for a product: rows of `swizzle` bytes (128 or 64), swizzled in units of 16 bytes. `groups`: bytes
// from eight rows to the next eight; `chunks`: bytes from one column chunk to the next, of a matrix whose columns are not
// contracted.
template <int swizzle>
DEVICE u64 descriptorOf(u32 shared, u32 chunks, u32 groups) {
  u64 mode = swizzle == 128 ? 1 : 2;
  return (u64)((shared & 0x3ffff) >> 4) | (u64)(chunks >> 4) << 16 | (u64)(groups >> 4) << 32 | mode << 62;
}
