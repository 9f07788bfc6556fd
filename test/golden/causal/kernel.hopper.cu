// causal: le(kv, q)
// d128-bf16-hopper: 128 x 176 tiles found by ranges; 384 threads
// shape: the longest products that registers and shared memory hold: 4 % ahead of 128
// npx heddle build causal --target cuda --head-dim 128 --dtype bf16 --skeleton hopper

// ==== configuration ====

constexpr bool BF16 = true;
constexpr bool DEBUG = false;
constexpr int HEAD_DIM = 128;
constexpr int VALUE_DIM = 128;
constexpr int TILE_Q = 128;
constexpr int TILE_KV = 176;
constexpr int UNITS = 1;
constexpr int UNIT_KV = 176;
constexpr int THREADS = 384;
constexpr bool GATHERS = false;
constexpr bool ROWS_DIFFER = false;
constexpr int CONSUMERS = 2;
constexpr int BLOCKS = 1;
constexpr int K_PARTS = 1;
constexpr int STAGES = 2;
constexpr int Q_STAGES = 1;
constexpr int PRODUCER_REGISTERS = 40;
constexpr int CONSUMER_REGISTERS = 232;
constexpr bool UNROLL_MASK = true;
constexpr int HOST_SHARED_BYTES = 214016;

// ==== call ====

struct Call {
  void const* q;  // [batch, qHeads, qRows, headDim] by strides
  void const* k;  // [batch, kvHeads, kvRows, headDim] by strides, or pages
  void const* v;  // [batch, kvHeads, kvRows, valueDim] by strides, or pages
  void* out;  // [batch, qHeads, qRows, valueDim] by strides
  float* lse;  // [batch, qHeads, qRows], contiguous, natural log
  int const* lengths;  // [batch][5]: qRow, qStart, qLen, kvStart, kvLen
  int const* values;  // scalar params, one word each; perHead params, qHeads each; derived, batch * qHeads each
  int const* pages;  // [batch][pageStride] page numbers, or null: K and V are contiguous
  unsigned* list;  // tile lists, where the pattern has them
  int const* parts[4];  // lists of units, where the kernel walks them
  int const* order;  // [batch, sharers, kvRows] the key at each place, where places are walked
  float const* before;  // a state to go on with, [batch, qHeads, qRows, 4 + valueDim]
  float* state;  // the state that is made in place of out and lse
  unsigned* counters;  // zero before a launch, and zero again after it
  float* scratch;  // partial results of split keys
  void const* tables[8];  // in the order of the manifest
  long long qStride[3];
  long long kStride[3];
  long long vStride[3];
  long long outStride[3];
  int batch;
  int qHeads;
  int kvHeads;  // divides qHeads
  int qRows;
  int kvRows;  // of paged K and V: pageStride * pageSize
  int headDim;  // at most HEAD_DIM
  int valueDim;  // at most VALUE_DIM
  int pageSize;  // tokens in a page
  int pageStride;  // entries of a batch row of pages
  int pageCount;  // pages that k and v hold
  int splits;  // parts that the keys of a decode tile are split into
  int vectors;  // 1 if pointers and strides of q, k, v, out are multiples of 16 bytes
  int listStride;  // words of a tile list: 1 + ceil(kvRows / tile)
  float scale;  // factor of q . k
};
static_assert(sizeof(Call) == 360, "the host's view of Call");

// ==== prelude.cuh ====

// The instructions behind every skeleton, each a function. Includes nothing, so that NVRTC takes the text as it is; with
// HEDDLE_EMULATED the host's emulation has declared the same functions before this text.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A kernel's name; a text of several passes gives each its own.
#define ENTRY(name) name

#ifndef HEDDLE_EMULATED

#define DEVICE static __device__ __forceinline__
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define CONSTANT static __device__ const

constexpr float INFINITE = __builtin_bit_cast(float, 0x7f800000u);

// Lanes and warps.
DEVICE int laneIndex() { return (int)(threadIdx.x & 31u); }
// The thread's index, read anew at each call: what is made of it need not stay in registers from one use to the next.
DEVICE int threadIndex() {
  int x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return x;
}
DEVICE void syncThreads() { __syncthreads(); }
DEVICE void syncLanes() { __syncwarp(); }
DEVICE u32 ballotLanes(bool p) { return __ballot_sync(0xffffffffu, p); }
DEVICE int shuffle(int x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE u32 shuffleXor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float shuffleXor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE int countBits(u32 x) { return __popc(x); }
DEVICE int lowestBit(u32 x) { return __ffs((int)x) - 1; }
DEVICE int leadingZeros(u32 x) { return __clz((int)x); }

// Bits.
DEVICE u32 bitsOf(float x) { return __float_as_uint(x); }
DEVICE float floatOf(u32 x) { return __uint_as_float(x); }

// Reads of what no kernel writes; the compiler may share and move them.
DEVICE int readOnly(int const* p) { return __ldg(p); }
DEVICE float readOnly(float const* p) { return __ldg(p); }

// Counters of a whole grid: old values come back. `wrap`: zero again once `last` was reached.
DEVICE u32 atomicNext(u32* p) { return atomicAdd(p, 1u); }
DEVICE u32 atomicWrap(u32* p, u32 last) { return atomicInc(p, last); }
DEVICE void fenceGrid() { __threadfence(); }

// Two to the power of x, to 2 ulp, subnormal results flushed.
DEVICE float exp2Fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats rounded to nearest even, `low` in the low half.
DEVICE u32 packHalves(float low, float high) {
  u32 y;
  if (BF16) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
DEVICE float unpackHalf(u16 x) {
  if (BF16) return __uint_as_float((u32)x << 16);
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}

// Shared memory: the block's dynamic part begins at address sharedBase(), a multiple of 1024 bytes.
extern __shared__ __align__(1024) unsigned char sharedBytes[];
DEVICE unsigned char* sharedBase() { return sharedBytes; }
DEVICE u32 sharedAddress(void const* p) { return (u32)__cvta_generic_to_shared(p); }

// Sixteen bytes from global to shared memory, zeros where not `valid` (p is then not read).
DEVICE void copyAsync16(u32 shared, void const* p, bool valid) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(p), "r"(bytes) : "memory");
}
DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's groups are under way.
template <int pending>
DEVICE void waitCopies() { asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory"); }

// Four 8 x 8 matrices of halves; lane 8 i + r gives the address of row r of matrix i. Lane l gets of each matrix the two
// halves at row l / 4, columns 2 (l % 4) and the next; of its transpose with the second function.
DEVICE void loadMatrices(u32 (&r)[4], u32 shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared) : "memory");
}
DEVICE void loadMatricesTransposed(u32 (&r)[4], u32 shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared) : "memory");
}

// d += a b; a is 16 x 16, b 16 x 8, d 16 x 8 in f32. Lane l holds of d rows l / 4 (d[0], d[1]) and l / 4 + 8 (d[2], d[3]) at
// columns 2 (l % 4) and the next; of a the same rows, a[0], a[1] at columns 2 (l % 4), a[2], a[3] eight columns on; of b
// column l / 4, b0 at rows 2 (l % 4) and the next, b1 eight rows on.
DEVICE void multiplyAdd(float (&d)[4], u32 const (&a)[4], u32 b0, u32 b1) {
  if (BF16)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

// ==== prelude-hopper.cuh ====

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

// ==== shape ====

#ifdef HEDDLE_EMULATED
DEVICE void productScores(float (&d)[88], u64 a, u64 b, int keep, HEDDLE_LINE) {
  productOf<BF16, false>(d, a, b, keep, line);
}
#else
DEVICE void productScores(float (&d)[88], u64 a, u64 b, int keep) {
  asm volatile(
      "{\n"
      ".reg .pred keep;\n"
      "setp.ne.b32 keep, %90, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n176k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87}, %88, %89, keep, 1, 1, 0, 0;\n"
      "}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
        "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
        "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),
        "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]),
        "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]),
        "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
      : "l"(a), "l"(b), "r"(keep));
}
#endif

#ifdef HEDDLE_EMULATED
DEVICE void productOutputs(float (&d)[64], u32 const* a, u64 b, int keep, HEDDLE_LINE) {
  productOf<BF16, true>(d, a, b, keep, line);
}
#else
DEVICE void productOutputs(float (&d)[64], u32 const* a, u64 b, int keep) {
  asm volatile(
      "{\n"
      ".reg .pred keep;\n"
      "setp.ne.b32 keep, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, keep, 1, 1, 1;\n"
      "}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
        "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
        "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep));
}
#endif

// ==== pattern ====

constexpr int NO_TILE = 0x7fffffff;

constexpr bool MASKED = true;             // some pair may be dropped; if not, tiles inside kvLen are full
constexpr bool SCORED = false;            // scoreOf changes the scaled logit
constexpr bool SINK = false;              // sinkLogitOf adds to the denominator
constexpr bool TESTED = false;            // isReached asks more than intervals
constexpr bool LISTED = false;            // tiles are listed by the entry `list`
constexpr bool LOOKS = false;             // it looks at the pairs of a tile, not at its tests alone
constexpr bool SHARES_LISTS = true;       // one list serves all heads
constexpr bool ORDERED = false;           // rows and keys are taken by classes of the same remainder
constexpr bool ALIGNED = false;           // query tiles begin at positions that are multiples of TILE_Q
constexpr bool PARTIAL = false;           // outputs go to the scratch as they are, for a pass that joins its own
constexpr bool STATE = false;             // outputs and sums go to call.state as they are, for an attend that goes on with them
constexpr bool BEFORE = false;            // call.before holds what an attend before made of other pairs
constexpr bool MERGES = false;            // scratch and lse hold what an earlier pass made of other pairs
constexpr bool MASK_READS_HEAD = false;   // keeps and the tiles may differ between heads
constexpr bool SCORE_READS_HEAD = false;  // scoreOf may differ between heads
constexpr bool CHEAP_MASK = true;         // keeps is a few instructions: unroll it

// What a (batch, head) knows.
struct Place {
  int batch, head, kvHead;
  int qLen, kvLen;            // real query rows and key rows
  int qRow, qShift, kvStart;  // rows [qRow, qRow + qLen) are real, row r stands at position r + qShift; key j is row kvStart + j
};
DEVICE Place placeOf(Call const& call, int batch, int head) {
  Place p;
  int const* lengths = call.lengths + 5 * batch;
  p.batch = batch;
  p.head = head;
  p.kvHead = head / (call.qHeads / call.kvHeads);
  p.qRow = readOnly(lengths);
  p.qShift = readOnly(lengths + 1) - p.qRow;
  p.qLen = readOnly(lengths + 2);
  p.kvStart = readOnly(lengths + 3);
  p.kvLen = readOnly(lengths + 4);
  return p;
}

// Rows and keys are taken in their own order: they are one class.
DEVICE int classesOf(Call const&) { return 1; }
DEVICE Place classOf(Place const& p, int) { return p; }
DEVICE int stepOf(Place const&) { return 1; }
DEVICE int stepsTo(Place const&, int) { return 0; }
DEVICE int rowAt(Place const&, int i) { return i; }
DEVICE int rowsBefore(Place const&, int row) { return row; }
DEVICE int keyAt(Place const&, int i) { return i; }

// Tiles from first to last, both inside; none if last < first.
struct Tiles {
  int first, last;
};
DEVICE Tiles tilesOf(Place const& p, bool some, int kvLo, int kvHi) {
  kvLo = max(kvLo, 0);
  kvHi = min(kvHi, p.kvLen - 1);
  return {kvLo / TILE_KV, some && kvLo <= kvHi ? kvHi / TILE_KV : -1};
}
DEVICE bool holds(Tiles const& t, int tile) { return t.first <= tile && tile <= t.last; }
DEVICE int nextOf(Tiles const& t, int from) {
  int begin = max(from, t.first);
  return begin <= t.last ? begin : NO_TILE;
}
// What the terms of the mask reach from the query positions [qLo, qHi].
struct Reach {
  Tiles keep0;  // of kept terms
  Tiles drop0;  // of dropped terms
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
  r.keep0 = tilesOf(p, some, 0, min(p.kvLen - 1, qHi));
  r.drop0 = tilesOf(p, some, max(0, qLo + 1), p.kvLen - 1);
  return r;
}
// The least tile >= from that a kept term's interval holds, or NO_TILE.
DEVICE int nextCandidate(Reach const& r, int from) {
  return nextOf(r.keep0, from);
}
// `begin` is a candidate: the greatest tile such that all from begin to it are candidates, of any term.
DEVICE int candidatesEnd(Reach const& r, int begin) {
  return max(begin, r.keep0.last);
}
// A kept term reaches the tile: its interval holds it and its test, if any, allows it.
DEVICE bool isReached(Call const& call, Place const& p, Reach const& r, int tile) {
  return holds(r.keep0, tile);
}
// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  return (tile + 1) * TILE_KV <= p.kvLen && !(holds(r.drop0, tile));
}

// q and kv are positions; kv < kvLen is the caller's to check.
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) { return kv <= q; }

// s is scale * (q . k), natural-log units.
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return s; }

DEVICE float sinkLogitOf(Call const& call, Place const& p) { return -INFINITE; }

// ==== tiles.cuh ====

// The walk over the kv tiles of a query tile. In: the pattern section's Reach, or a list. Out: tiles in ascending order (of a list of
// several units a tile: its entries), each known to be full or not. A whole warp walks: its lanes ask about 32 tiles at once.

struct Visit {
  int tile;   // NO_TILE: none is left
  bool full;  // inside kvLen, and no pair is dropped
};

// Words of a list: a count, then of each entry the UNITS units that are a tile; bit 31 of the first: all of it is kept.
constexpr unsigned UNIT_INDEX = 0x7fffffffu;

struct Walk {
  int from;         // the next candidate has this index or a greater one; of lists: the next entry
  int base;         // the tile of bit 0
  unsigned kept;    // tiles of this window that are still to be given out
  unsigned full;
  unsigned const* list;
};

// Query tiles of a head, where they are cut at positions: the first and the last may have few rows.
DEVICE int listTilesOf(Call const& call) { return (call.qRows + 2 * TILE_Q - 2) / TILE_Q; }

DEVICE Walk walkOf(Call const& call, Place const& place, int qTile) {
  Walk walk = {0, 0, 0u, 0u, nullptr};
  if (LISTED) {
    int qTiles = ALIGNED ? listTilesOf(call) : (call.qRows + TILE_Q - 1) / TILE_Q;
    long long owner = SHARES_LISTS ? place.batch : (long long)place.batch * call.qHeads + place.head;
    walk.list = call.list + (owner * qTiles + qTile) * call.listStride;
  }
  return walk;
}

// Fills the window of 32 tiles; false if no tile is left.
DEVICE bool refill(Call const& call, Place const& place, Reach const& reach, Walk& walk) {
  int lane = laneIndex();
  if (LISTED) {
    // Bit i stands for the list's entry base + i.
    int count = (int)walk.list[0];
    if (walk.from >= count) return false;
    int entry = walk.from + lane;
    bool inside = entry < count;
    bool full = inside && (walk.list[1 + entry * UNITS] >> 31) != 0u;
    walk.base = walk.from;
    walk.kept = ballotLanes(inside);
    walk.full = ballotLanes(full);
    walk.from += 32;
    return true;
  }
  while (walk.kept == 0u) {
    int base = nextCandidate(reach, walk.from);
    if (base == NO_TILE) return false;
    int tile = base + lane;
    bool kept = isReached(call, place, reach, tile);
    walk.base = base;
    walk.kept = ballotLanes(kept);
    walk.full = ballotLanes(kept && isFull(call, place, reach, tile));
    walk.from = base + 32;
  }
  return true;
}

DEVICE Visit nextTile(Call const& call, Place const& place, Reach const& reach, Walk& walk) {
  if (walk.kept == 0u && !refill(call, place, reach, walk)) return {NO_TILE, false};
  int bit = lowestBit(walk.kept);
  walk.kept &= walk.kept - 1u;
  bool full = (walk.full >> bit) & 1u;
  int tile = walk.base + bit;
  if (LISTED && UNITS == 1) tile = (int)(walk.list[1 + tile] & UNIT_INDEX);
  return {tile, full};
}

// How many tiles the walk will give.
DEVICE int countTiles(Call const& call, Place const& place, Reach const& reach, Walk walk) {
  if (LISTED) return (int)walk.list[0];
  int count = 0;
  if (!TESTED) {
    for (int begin = nextCandidate(reach, 0); begin != NO_TILE;) {
      int end = candidatesEnd(reach, begin);
      count += end - begin + 1;
      begin = nextCandidate(reach, end + 1);
    }
    return count;
  }
  while (refill(call, place, reach, walk)) {
    count += countBits(walk.kept);
    walk.kept = 0u;
  }
  return count;
}

// Passes over the next `count` tiles.
DEVICE void skipTiles(Call const& call, Place const& place, Reach const& reach, Walk& walk, int count) {
  if (LISTED) {
    walk.from += count;
    return;
  }
  if (!TESTED) {
    int begin = nextCandidate(reach, 0);
    while (begin != NO_TILE) {
      int size = candidatesEnd(reach, begin) - begin + 1;
      if (count < size) break;
      count -= size;
      begin = nextCandidate(reach, begin + size);
    }
    walk.from = begin == NO_TILE ? NO_TILE : begin + count;
    return;
  }
  while (count > 0 && refill(call, place, reach, walk)) {
    int here = countBits(walk.kept);
    if (here <= count) {
      count -= here;
      walk.kept = 0u;
    } else {
      for (; count > 0; count--) walk.kept &= walk.kept - 1u;
    }
  }
}

// ==== hopper.cuh ====

// Attention for Hopper: a warp, or four, bring tiles of K and V (bring.cuh, gather.cuh), CONSUMERS warpgroups of 64 query rows each
// multiply them by wgmma (multiply.cuh). A block stays and takes query tiles from a counter, longest first; the bringing warp runs ahead of the multiplying
// ones, across query tiles too. In: tensor maps of Q, K, V. Out: `out` and `lse`, or a state. This text: what the two share.
//
// The products of a warpgroup run behind its program: while it does the softmax of one tile, the output of the tile before is
// multiplied. The warpgroups of a block drift apart by themselves, so that one's products run under another's exponentials, and
// under its stores at the end of a query tile; taking turns by named barriers was measured and is 3 to 6 % slower.

constexpr int CHUNK_BYTES_K = HEAD_DIM % 64 == 0 ? 128 : 64;   // a swizzled row of shared memory
constexpr int CHUNK_BYTES_V = VALUE_DIM % 64 == 0 ? 128 : 64;
constexpr int CHUNK_K = CHUNK_BYTES_K / 2;                     // its columns
constexpr int CHUNK_V = CHUNK_BYTES_V / 2;
constexpr int Q_BYTES = TILE_Q * HEAD_DIM * 2;
constexpr int K_PART = TILE_KV * HEAD_DIM * 2;                 // of K_PARTS, whose sum is the key
constexpr int K_BYTES = K_PARTS * K_PART;
constexpr int V_BYTES = TILE_KV * VALUE_DIM * 2;
constexpr int K_BEGIN = Q_STAGES * Q_BYTES;                    // places in shared memory: Q, K, V, barriers and messages
constexpr int V_BEGIN = K_BEGIN + STAGES * K_BYTES;
constexpr int BOOK = V_BEGIN + STAGES * V_BYTES;
constexpr int SHARED_BYTES = BOOK + 1024;
constexpr int CONSUMER_WARPS = CONSUMERS * 4;
constexpr int BRINGING_WARPS = GATHERS ? 4 : 1;
constexpr int S_COUNT = TILE_KV / 2;                           // accumulators a thread
constexpr int O_COUNT = VALUE_DIM / 2;
static_assert(TILE_Q == CONSUMERS * 64 && THREADS == (CONSUMERS + 1) * 128, "64 rows a warpgroup");
// What the warpgroups ask for in all must be there from the start: more is waited for without end.
static_assert(PRODUCER_REGISTERS + CONSUMERS * CONSUMER_REGISTERS <= 65536 / (THREADS * BLOCKS) / 8 * 8 * (CONSUMERS + 1), "registers");
static_assert(SHARED_BYTES <= HOST_SHARED_BYTES, "the host's count of shared memory");
static_assert(UNITS == 1 || UNROLL_MASK, "which unit a column is in is known where it is written out");
static_assert(STAGES <= 4 && Q_STAGES <= 2, "the book has room for four stages, and for two of Q");

// Messages to the multiplying warps. A tile's: its index, and two flags.
constexpr u32 TILE_FULL = 1u << 31;
constexpr u32 TILE_LAST = 1u << 30;
constexpr u32 TILE_INDEX = TILE_LAST - 1u;

// The keys of a tile. By boxes: the units that it has: one, itself, or of a list those that its entry names; a unit behind the last
// key stands for none: another one is brought in its place, and the mask drops it. GATHERS: `count` keys, those at `rows`, or from
// the key id[0] on.
struct Units {
  int id[UNITS];
  int count;
  int const* rows;
};

// A query tile of a class: all rows, or those of one remainder.
struct Work {
  int batch, head, row, qTile;
};

// What the bringing warp tells of a query tile: written when its Q may be, read until its output is written. Q is released
// before that, so the ring is longer than that of Q.
struct Message {
  bool more;  // false: there is no more work
  Work work;
  Place place;
};
constexpr int MESSAGES = 4;

struct Book {
  u64 qFull[2], qEmpty[2];
  u64 kFull[4], kEmpty[4], vFull[4], vEmpty[4];
  u32 tiles[4];
  Units units[4];
  int next[2];  // query tiles that all bringing warps take together
  Message messages[MESSAGES];
};
static_assert(sizeof(Book) <= 1024, "BOOK");

// A place in a ring of stages, and the parity of its present phase.
template <int stages>
struct Turn {
  int stage;
  u32 parity;
  __device__ __forceinline__ void advance() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1u;
    }
  }
};

// Query rows of a tile: the index of the first in its class, and the positions of the first and last real one.
struct Rows {
  int first, qLo, qHi;
};
DEVICE Rows rowsOf(Place const& place, int qTile) {
  int first = qTile * TILE_Q;
  int lo = max(first, rowsBefore(place, place.qRow)), hi = min(first + TILE_Q, rowsBefore(place, place.qRow + place.qLen)) - 1;
  return {first, rowAt(place, lo) + place.qShift, rowAt(place, hi) + place.qShift};
}

// The order of work: heads whose K and V fit the second-level cache together, within them class by class, of a class the last
// query tiles first.
struct Order {
  int ofClass, qTiles, span, items;
};
DEVICE Order orderOf(Call const& call) {
  Order o;
  int const step = classesOf(call), rows = (call.qRows + step - 1) / step;
  o.ofClass = ALIGNED ? listTilesOf(call) : (rows + TILE_Q - 1) / TILE_Q;
  o.qTiles = min(step, call.qRows) * o.ofClass;
  long long bytes = 2ll * call.kvRows * (call.headDim + call.valueDim);
  int fit = call.kvHeads;
  while (fit > 1 && (call.kvHeads % fit != 0 || fit * bytes > (32ll << 20))) fit--;
  o.span = fit * (call.qHeads / call.kvHeads);
  o.items = call.batch * call.qHeads * o.qTiles;
  return o;
}
DEVICE Work workOf(Call const& call, Order const& o, int item) {
  int section = item / (o.span * o.qTiles);
  int within = item - section * (o.span * o.qTiles);
  int step = within / o.span;
  int slot = section * o.span + (within - step * o.span);
  int batch = slot / call.qHeads;
  int row = ORDERED ? step / o.ofClass : 0;
  return {batch, slot - batch * call.qHeads, row, o.ofClass - 1 - (step - row * o.ofClass)};
}

// The row's part of the scratch, of an earlier pass.
DEVICE float* partialRow(Call const& call, Work const& work, int r) {
  return call.scratch + (((long long)work.batch * call.qHeads + work.head) * call.qRows + r) * VALUE_DIM;
}
// The row of a state: maximum in base 2 and sum, then from STATE_VALUES on the weighted values, not normalised.
constexpr int STATE_VALUES = 4;
DEVICE long long stateRow(Call const& call, Work const& work, int r) {
  int const words = STATE_VALUES + (call.valueDim + 3) / 4 * 4;
  return (((long long)work.batch * call.qHeads + work.head) * call.qRows + r) * words;
}

// What was made of a row before: its LSE in base 2, and values that are outputs when multiplied by `scale`.
struct Earlier {
  float lse, scale;
  float const* values;
};
constexpr bool JOINS = MERGES || BEFORE;
DEVICE Earlier earlierOf(Call const& call, Work const& work, int r, float lse) {
  if (!BEFORE) return {lse, 1.0f, partialRow(call, work, r)};
  float const* const row = call.before + stateRow(call, work, r);
  float const sum = row[1];
  bool const empty = !(sum > 0.0f);
  return {empty ? -INFINITE : row[0] + log2f(sum), empty ? 0.0f : 1.0f / sum, row + STATE_VALUES};
}

// A query tile that no key meets: zeros, and the LSE of nothing or of the sink alone; or what was made of its rows before.
DEVICE void writeEmpty(Call const& call, Work const& work, Place const& place) {
  constexpr float LN2 = 0.6931471805599453f;
  u16* const out = (u16*)call.out + work.batch * call.outStride[0] + work.head * call.outStride[1];
  float* const lses = call.lse + ((long long)work.batch * call.qHeads + work.head) * call.qRows;
  float const sink = SINK ? sinkLogitOf(call, place) : -INFINITE;
  int const first = work.qTile * TILE_Q;
  for (int i = max(first, rowsBefore(place, 0)); !PARTIAL && i < first + TILE_Q && rowAt(place, i) < call.qRows; i++) {
    int const r = rowAt(place, i);
    if (STATE) {
      float* const row = call.state + stateRow(call, work, r);
      for (int column = laneIndex(); column < STATE_VALUES + call.valueDim; column += 32) row[column] = column == 0 ? -INFINITE : 0.0f;
      continue;
    }
    Earlier const earlier = JOINS ? earlierOf(call, work, r, MERGES ? lses[r] / LN2 : 0.0f) : Earlier{-INFINITE, 0.0f, nullptr};
    bool const held = earlier.lse != -INFINITE;
    for (int column = laneIndex(); column < call.valueDim; column += 32)
      out[r * call.outStride[2] + column] = held ? (u16)packHalves(earlier.values[column] * earlier.scale, 0.0f) : (u16)0;
    if (BEFORE && laneIndex() == 0) lses[r] = earlier.lse * LN2;
  }
  for (int i = max(first, rowsBefore(place, 0)) + laneIndex(), r = rowAt(place, i); !JOINS && !STATE && i < first + TILE_Q && r < call.qRows; i += 32, r = rowAt(place, i))
    lses[r] = r >= place.qRow & r < place.qRow + place.qLen ? sink : -INFINITE;
}

// ==== bring.cuh ====

// The bringing warp of a Hopper block: tiles of K and V by boxes of the copy engine, as the walk of tiles.cuh names them.

// The queries of a tile have its keys in common.
struct RowKeys {};
DEVICE RowKeys rowKeysOf(Call const&, Place const&, int) { return {}; }
DEVICE bool hasTile(RowKeys&, Units const&) { return true; }

// Rows of a tensor that a tile, or a unit of it, has: row first + i * step for each i from `from` on.
struct Run {
  int first, from;
};
DEVICE Run queriesOf(Place const& place, int index) { return {rowAt(place, 0), index}; }
DEVICE Run keysOf(Place const& place, int unit) { return {place.kvStart + keyAt(place, 0), unit * UNIT_KV}; }

// Of a list those that the tile's entry names.
DEVICE Units unitsOf(Walk const& walk, int tile) {
  Units units = {};
#pragma unroll
  for (int u = 0; u < UNITS; u++) units.id[u] = UNITS == 1 ? tile : (int)(walk.list[1 + tile * UNITS + u] & UNIT_INDEX);
  return units;
}
DEVICE int broughtOf(Place const& place, int unit) { return UNITS == 1 ? unit : min(unit, max(place.kvLen - 1, 0) / UNIT_KV); }

// A box of a run's rows.
DEVICE void copyRun(u32 shared, TensorMap const& map, u32 barrier, int column, Place const& place, Run run, int head, int batch, u64 policy) {
  if (ORDERED) {
    int const skipped = stepsTo(place, run.first);
    copyBox(shared, map, barrier, column, run.from + skipped, run.first - skipped * stepOf(place), head, batch, policy);
  } else {
    copyBox(shared, map, barrier, column, run.first + run.from, head, batch, policy);
  }
}

// A map by remainder has as many rows of each as the remainder with the fewest: a row behind those is not copied by a box.
template <int count>
DEVICE bool isCut(Place const& place, Run run, int rows) {
  if (!ORDERED) return false;
  int const step = stepOf(place), whole = stepsTo(place, rows), skipped = stepsTo(place, run.first);
  return run.first - skipped * step < rows - whole * step && skipped + run.from + count > whole;
}

// Rows copied by hand to where a tile of `rows` rows has them, swizzled as a box would be, with zeros for those at or beyond
// `limit`.
template <int rows, int count, int dims, int chunkBytes>
DEVICE void copyByHand(u16 const* from, long long rowStride, int dim, Place const& place, Run run, int limit, unsigned char* to) {
  constexpr int UNITS = dims / 8, CHUNK = chunkBytes / 2;
  for (int i = laneIndex(); i < count * UNITS; i += 32) {
    int row = i / UNITS, column = i % UNITS * 8;
    int const at = run.first + (run.from + row) * stepOf(place);
    u32 words[4] = {0u, 0u, 0u, 0u};
    if (at < limit) {
      u16 const* p = from + at * rowStride + column;
      if (column + 8 <= dim) {
        uint4 v = *(uint4 const*)p;
        words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
      } else {
#pragma unroll
        for (int e = 0; e < 8; e++)
          if (column + e < dim) words[e / 2] |= (u32)p[e] << (16 * (e & 1));
      }
    }
    int unit = column % CHUNK / 8;
    int swizzled = chunkBytes == 128 ? unit ^ (row & 7) : unit ^ ((row >> 1) & 3);
    unsigned char* target = to + column / CHUNK * (rows * chunkBytes) + row * chunkBytes + swizzled * 16;
    *(uint4*)target = make_uint4(words[0], words[1], words[2], words[3]);
  }
  fenceAsync();
  syncLanes();
}

// The bringing warp.
DEVICE void produce(Call const& call, TensorMap const& qMap, TensorMap const& kMap, TensorMap const& vMap, Book* book) {
  unsigned char* base = sharedBase();
  u32 const qShared = sharedAddress(base);
  int const lane = laneIndex();
  Order const order = orderOf(call);
  Turn<STAGES> k = {0, 1u}, v = {0, 1u};  // a fresh barrier's previous phase counts as over
  Turn<Q_STAGES> t = {0, 1u};
  int message = 0;
  if (lane == 0) {
    prefetchMap(qMap);
    prefetchMap(kMap);
    prefetchMap(vMap);
  }

  for (int item = (int)blockIdx.x; item < order.items;) {
    u32 next = 0;
    if (lane == 0) next = atomicNext(call.counters);
    Work const work = workOf(call, order, item);
    Place const place = classOf(placeOf(call, work.batch, work.head), work.row);
    Rows const rows = rowsOf(place, work.qTile);
    Reach const reach = reachOf(call, place, rows.qLo, rows.qHi);
    Walk walk = walkOf(call, place, work.qTile);
    Visit visit = {NO_TILE, false};
    if (rows.qLo <= rows.qHi) visit = nextTile(call, place, reach, walk);
    if (visit.tile == NO_TILE) {
      writeEmpty(call, work, place);
      item = (int)gridDim.x + shuffle((int)next, 0);
      continue;
    }

    barrierWait(sharedAddress(&book->qEmpty[t.stage]), t.parity);
    if (lane == 0) {
      book->messages[message] = {true, work, place};
    }
    Run const queries = queriesOf(place, rows.first);
    u32 const qFull = sharedAddress(&book->qFull[t.stage]);
    if (isCut<TILE_Q>(place, queries, call.qRows)) {
      u16 const* from = (u16 const*)call.q + work.batch * call.qStride[0] + work.head * call.qStride[1];
      copyByHand<TILE_Q, TILE_Q, HEAD_DIM, CHUNK_BYTES_K>(from, call.qStride[2], call.headDim, place, queries, call.qRows, base + t.stage * Q_BYTES);
      if (lane == 0) barrierArrive(qFull);
    } else if (lane == 0) {
      barrierExpect(qFull, Q_BYTES);
#pragma unroll
      for (int c = 0; c < HEAD_DIM / CHUNK_K; c++)
        copyRun(qShared + t.stage * Q_BYTES + c * TILE_Q * CHUNK_BYTES_K, qMap, qFull, c * CHUNK_K, place, queries, work.head, place.batch, EVICT_FIRST);
    }
    t.advance();
    message = (message + 1) % MESSAGES;

    // V is brought one tile behind K: the scores of a tile are computed before the output of the tile before it.
    bool behind = false;
    Units valuesOf = {};
    auto bringValues = [&]() {
      unsigned char* to = base + V_BEGIN + v.stage * V_BYTES;
      u32 full = sharedAddress(&book->vFull[v.stage]);
      barrierWait(sharedAddress(&book->vEmpty[v.stage]), v.parity);
      // Rows beyond kvLen but inside the tensor must be zeros, since a masked weight of zero times a NaN is a NaN.
      bool byHand = false;
#pragma unroll
      for (int u = 0; u < UNITS; u++) {
        int const unit = broughtOf(place, valuesOf.id[u]);
        bool const ends = keyAt(place, (unit + 1) * UNIT_KV - 1) >= place.kvLen && place.kvStart + place.kvLen < call.kvRows;
        byHand = byHand || ends || isCut<UNIT_KV>(place, keysOf(place, unit), call.kvRows);
      }
      if (byHand) {
        u16 const* from = (u16 const*)call.v + work.batch * call.vStride[0] + place.kvHead * call.vStride[1];
        for (int u = 0; u < UNITS; u++)
          copyByHand<TILE_KV, UNIT_KV, VALUE_DIM, CHUNK_BYTES_V>(from, call.vStride[2], call.valueDim, place, keysOf(place, broughtOf(place, valuesOf.id[u])), place.kvStart + place.kvLen, to + u * UNIT_KV * CHUNK_BYTES_V);
        if (lane == 0) barrierArrive(full);
      } else if (lane == 0) {
        barrierExpect(full, V_BYTES);
#pragma unroll
        for (int c = 0; c < VALUE_DIM / CHUNK_V; c++)
#pragma unroll
          for (int u = 0; u < UNITS; u++)
            copyRun(sharedAddress(to) + (c * TILE_KV + u * UNIT_KV) * CHUNK_BYTES_V, vMap, full, c * CHUNK_V, place, keysOf(place, broughtOf(place, valuesOf.id[u])), place.kvHead, place.batch, EVICT_LAST);
      }
      v.advance();
    };
    while (visit.tile != NO_TILE) {
      Visit const after = nextTile(call, place, reach, walk);
      barrierWait(sharedAddress(&book->kEmpty[k.stage]), k.parity);
      Units const keys = unitsOf(walk, visit.tile);
      u32 const full = sharedAddress(&book->kFull[k.stage]);
      int const to = K_BEGIN + k.stage * K_BYTES;
      if (lane == 0) {
        book->tiles[k.stage] = (u32)visit.tile | (visit.full ? TILE_FULL : 0u) | (after.tile == NO_TILE ? TILE_LAST : 0u);
        if (UNITS > 1)
          for (int u = 0; u < UNITS; u++) book->units[k.stage].id[u] = keys.id[u];
      }
      // A class has no units but its tiles.
      if (isCut<TILE_KV>(place, keysOf(place, keys.id[0]), call.kvRows)) {
        u16 const* from = (u16 const*)call.k + work.batch * call.kStride[0] + place.kvHead * call.kStride[1];
        copyByHand<TILE_KV, TILE_KV, HEAD_DIM, CHUNK_BYTES_K>(from, call.kStride[2], call.headDim, place, keysOf(place, keys.id[0]), place.kvStart + place.kvLen, base + to);
        if (lane == 0) barrierArrive(full);
      } else if (lane == 0) {
        barrierExpect(full, K_BYTES);
#pragma unroll
        for (int part = 0; part < K_PARTS; part++)
#pragma unroll
          for (int c = 0; c < HEAD_DIM / CHUNK_K; c++)
#pragma unroll
            for (int u = 0; u < UNITS; u++)
              copyRun(qShared + to + part * K_PART + (c * TILE_KV + u * UNIT_KV) * CHUNK_BYTES_K, kMap, full, c * CHUNK_K, place, keysOf(place, broughtOf(place, keys.id[u])), place.kvHead, place.batch + part * call.batch, EVICT_LAST);
      }
      k.advance();
      if (behind) bringValues();
      behind = true;
      valuesOf = keys;
      visit = after;
    }
    bringValues();
    item = (int)gridDim.x + shuffle((int)next, 0);
  }

  barrierWait(sharedAddress(&book->qEmpty[t.stage]), t.parity);
  if (lane == 0) {
    book->messages[message].more = false;
    barrierExpect(sharedAddress(&book->qFull[t.stage]), 0);
    // The last block to find no more work leaves the counters as it found them.
    fenceGrid();
    if (atomicWrap(call.counters + 1, gridDim.x - 1) == gridDim.x - 1) call.counters[0] = 0u;
  }
}

// ==== multiply.cuh ====

// The multiplying warpgroups of a Hopper block, and its entry: scores, softmax and outputs of the tiles that are brought.

// A thread's two rows of a warpgroup's 64, and what is known of their softmax: greatest score so far, in the units of the
// accumulators, and the sum of this thread's weights.
struct Softmax {
  float max0, max1, sum0, sum1;
};

DEVICE float quadMax(float x) {
  x = fmaxf(x, shuffleXor(x, 1));
  return fmaxf(x, shuffleXor(x, 2));
}
DEVICE float quadSum(float x) {
  x += shuffleXor(x, 1);
  return x + shuffleXor(x, 2);
}

// Accumulator i of a thread: of its first row (i & 2 is 0) or second, at this column of the tile.
DEVICE int columnOf(int i) { return (i >> 2) * 8 + (laneIndex() & 3) * 2 + (i & 1); }

// Whether accumulator i has a key, and its position, or that of the key in that column where `units` are whole tiles.
DEVICE bool isThere(Units const& units, int i) { return !GATHERS || columnOf(i) < units.count; }
DEVICE int positionOf(Place const& place, Units const& units, int i) {
  if (GATHERS) {
    int const column = min(columnOf(i), units.count - 1);
    return units.rows ? readOnly(units.rows + column) : units.id[0] + column;
  }
  int const column = columnOf(i), u = UNITS == 1 ? 0 : (i >> 2) * 8 / UNIT_KV;
  return keyAt(place, units.id[u] * UNIT_KV + column - u * UNIT_KV);
}

DEVICE void maskScores(Call const& call, Place const& place, float (&s)[S_COUNT], Units const& units, int q0, int q1) {
  if (UNROLL_MASK) {
#pragma unroll
    for (int i = 0; i < S_COUNT; i++) {
      int kv = positionOf(place, units, i);
      bool kept = isThere(units, i) & kv < place.kvLen & keeps(call, place, i & 2 ? q1 : q0, kv);
      s[i] = kept ? s[i] : -INFINITE;
    }
  } else {
    // A loop over columns; only its application to the registers is unrolled.
#pragma unroll
    for (int word = 0; word < (S_COUNT + 31) / 32; word++) {
      u32 bits = 0u;
#pragma unroll 4
      for (int column = 0; column < min(16, S_COUNT / 2 - word * 16); column++) {
        int const i = (column >> 1) * 4 + (column & 1), kv = positionOf(place, units, word * 32 + i);
        u32 const both = (u32)keeps(call, place, q0, kv) | (u32)keeps(call, place, q1, kv) << 2;
        bits |= (kv < place.kvLen ? both : 0u) << i;
      }
#pragma unroll
      for (int i = 0; i < 32; i++)
        if (word * 32 + i < S_COUNT && !(bits >> i & 1u)) s[word * 32 + i] = -INFINITE;
    }
  }
}

// Scores become weights; returns what the sums and outputs so far must be multiplied by.
DEVICE float2 weigh(Softmax& state, float (&s)[S_COUNT], float unit) {
  float max0 = state.max0, max1 = state.max1;
#pragma unroll
  for (int i = 0; i < S_COUNT; i += 4) {
    max0 = fmaxf(max0, fmaxf(s[i], s[i + 1]));
    max1 = fmaxf(max1, fmaxf(s[i + 2], s[i + 3]));
  }
  max0 = quadMax(max0);
  max1 = quadMax(max1);
  // A row without any kept key yet has no maximum to subtract.
  float const top0 = max0 == -INFINITE ? 0.0f : max0, top1 = max1 == -INFINITE ? 0.0f : max1;
  float const shift0 = top0 * unit, shift1 = top1 * unit;
  // Exactly 1 where the maximum stays: products rounded on one side only would let hundreds of tiles add up.
  float2 const decay = make_float2(exp2Fast((state.max0 - top0) * unit), exp2Fast((state.max1 - top1) * unit));
  state.max0 = max0;
  state.max1 = max1;
  float sum0 = 0.0f, sum1 = 0.0f;
#pragma unroll
  for (int i = 0; i < S_COUNT; i += 4) {
    s[i] = exp2Fast(s[i] * unit - shift0);
    s[i + 1] = exp2Fast(s[i + 1] * unit - shift0);
    s[i + 2] = exp2Fast(s[i + 2] * unit - shift1);
    s[i + 3] = exp2Fast(s[i + 3] * unit - shift1);
    sum0 += s[i] + s[i + 1];
    sum1 += s[i + 2] + s[i + 3];
  }
  state.sum0 = state.sum0 * decay.x + sum0;
  state.sum1 = state.sum1 * decay.y + sum1;
  return decay;
}

// Four threads hold two columns each of four blocks of eight columns; afterwards each holds one block's eight.
DEVICE void gatherColumns(u32 (&w)[4]) {
  int lane = laneIndex();
  bool odd = lane & 1, high = lane & 2;
  u32 a = shuffleXor(odd ? w[0] : w[1], 1), b = shuffleXor(odd ? w[2] : w[3], 1);
  if (odd) w[0] = a, w[2] = b;
  else w[1] = a, w[3] = b;
  a = shuffleXor(high ? w[0] : w[2], 2), b = shuffleXor(high ? w[1] : w[3], 2);
  if (high) w[0] = a, w[1] = b;
  else w[2] = a, w[3] = b;
}

DEVICE void storeRow(Call const& call, u16* row, int column, u32 const (&w)[4]) {
  if (column + 8 <= call.valueDim) {
    *(uint4*)(row + column) = make_uint4(w[0], w[1], w[2], w[3]);
  } else {
#pragma unroll
    for (int e = 0; e < 8; e++)
      if (column + e < call.valueDim) row[column + e] = (u16)(w[e / 2] >> (16 * (e & 1)));
  }
}

// What an earlier pass has of a warpgroup's rows is asked for while their scores are made.
DEVICE void fetchPartial(Call const& call, Message const& message, int group) {
  constexpr int LINES = VALUE_DIM * 4 / 128;
  Work const work = message.work;
  Place const place = message.place;
  for (int i = (int)(threadIdx.x & 127u); i < 64 * LINES; i += 128) {
    int const r = rowAt(place, work.qTile * TILE_Q + group * 64 + i / LINES);
    if (r < call.qRows) prefetchLine((unsigned char const*)partialRow(call, work, r) + i % LINES * 128);
  }
  // One lane releases the message for all.
  syncLanes();
}

// Writes a query tile's output and LSE; empty rows and rows that are padding are zeros. What a merging pass finds there is the
// other part of the same rows.
DEVICE void finish(Call const& call, Message const& message, int row, Softmax const& state, float unit, float (&o)[O_COUNT]) {
  constexpr float LN2 = 0.6931471805599453f;
  Work const work = message.work;
  Place const place = message.place;
  float const sink = SINK ? sinkLogitOf(call, place) / LN2 : -INFINITE;
  u16* const out = (u16*)call.out + work.batch * call.outStride[0] + work.head * call.outStride[1];
  float* const lses = call.lse + ((long long)work.batch * call.qHeads + work.head) * call.qRows;
  int const lane = laneIndex();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int const r = rowAt(place, work.qTile * TILE_Q + row + 8 * half);
    bool const real = r >= place.qRow & r < place.qRow + place.qLen;
    float const top = (half ? state.max1 : state.max0) * unit;
    float sum = quadSum(half ? state.sum1 : state.sum0);
    bool const empty = !real | top == -INFINITE;
    float const most = SINK ? fmaxf(top, sink) : top;
    float rescale = 1.0f;
    if (SINK && !empty) {
      rescale = exp2Fast(top - most);
      sum = sum * rescale + exp2Fast(sink - most);
    }
    float weight = empty ? 0.0f : rescale / sum;
    float lse = empty ? (SINK && real ? sink : -INFINITE) : most + log2f(sum);
    u16* const target = out + r * call.outStride[2];
    bool const writes = (u32)r < (u32)call.qRows;
    float* const partial = STATE ? call.state + stateRow(call, work, r) + STATE_VALUES + (lane & 3) * 2 : partialRow(call, work, r) + (lane & 3) * 2;
    // A state has the rows as they are.
    if (STATE) {
      weight = empty ? 0.0f : 1.0f;
      if ((lane & 3) == 0 && writes) *(float2*)(partial - STATE_VALUES) = make_float2(empty ? -INFINITE : top, empty ? 0.0f : sum);
    }
    float earlier = 0.0f;  // the weight of what was made before
    float2 held[VALUE_DIM / 8];
    if (JOINS) {
      // All are under way before the first is waited for.
      Earlier const from = writes ? earlierOf(call, work, r, MERGES ? lses[r] / LN2 : 0.0f) : Earlier{-INFINITE, 0.0f, nullptr};
      float const* const values = from.values + (lane & 3) * 2;
#pragma unroll
      for (int i = 0; i < VALUE_DIM / 8; i++)
        held[i] = writes & i * 8 < call.valueDim ? *(float2 const*)(values + i * 8) : make_float2(0.0f, 0.0f);
      float const higher = fmaxf(from.lse, lse);
      if (higher != -INFINITE) {
        float const both = higher + log2f(exp2Fast(from.lse - higher) + exp2Fast(lse - higher));
        earlier = exp2Fast(from.lse - both) * from.scale;
        weight *= exp2Fast(lse - both);
        lse = both;
      }
    }
#pragma unroll
    for (int block = 0; block < VALUE_DIM / 32; block++) {
      u32 w[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int i = block * 16 + j * 4 + half * 2;
        // A weight of zero does not clear a NaN.
        float2 x = make_float2(empty ? 0.0f : o[i] * weight, empty ? 0.0f : o[i + 1] * weight);
        if (PARTIAL && writes) *(float2*)(partial + block * 32 + j * 8) = x;
        if (STATE && writes && block * 32 + j * 8 < call.valueDim) *(float2*)(partial + block * 32 + j * 8) = x;
        // What no earlier pass wrote may be anything.
        if (JOINS && earlier > 0.0f) {
          x.x += held[block * 4 + j].x * earlier;
          x.y += held[block * 4 + j].y * earlier;
        }
        w[j] = packHalves(x.x, x.y);
      }
      if (PARTIAL || STATE) continue;
      gatherColumns(w);
      if (writes) storeRow(call, target, block * 32 + (lane & 3) * 8, w);
    }
    // Four lanes have read it: all of them before the exchanges above.
    if ((lane & 3) == 0 && writes && !STATE) lses[r] = lse * LN2;
  }
}

// A multiplying warpgroup.
DEVICE void consume(Call const& call, Book* book, int group) {
  u32 const base = sharedAddress(sharedBase());
  int const lane = laneIndex();
  int const row = group * 64 + (int)(threadIdx.x >> 5 & 3u) * 16 + (lane >> 2);  // and row + 8
  // exp(x) is 2 to the power of unit * x; a negative scale turns the scores round first.
  constexpr float LOG2E = 1.4426950408889634f;
  float const unit = SCORED ? LOG2E : fmaxf(fabsf(call.scale), 1e-30f) * LOG2E;
  bool const turned = !SCORED && call.scale < 0.0f;
  u64 const qMatrix = descriptorOf<CHUNK_BYTES_K>(base + group * 64 * CHUNK_BYTES_K, 0, 8 * CHUNK_BYTES_K);
  u64 const kMatrix = descriptorOf<CHUNK_BYTES_K>(base + K_BEGIN, 0, 8 * CHUNK_BYTES_K);
  u64 const vMatrix = descriptorOf<CHUNK_BYTES_V>(base + V_BEGIN, TILE_KV * CHUNK_BYTES_V, 8 * CHUNK_BYTES_V);
  Turn<STAGES> k = {0, 0u}, v = {0, 0u};
  Turn<Q_STAGES> t = {0, 0u};
  Softmax const fresh = {-INFINITE, -INFINITE, 0.0f, 0.0f};
  Softmax state = fresh;
  int message = 0;
  u32 tile = 0u;
  Units units = {};
  float s[S_COUNT], o[O_COUNT];
  u32 p[TILE_KV / 4];
  RowKeys keys0 = {}, keys1 = {};

  auto release = [&](u64& barrier) {
    if (lane == 0) barrierArrive(sharedAddress(&barrier));
  };
  auto clear = [&]() {
#pragma unroll
    for (int i = 0; i < O_COUNT; i++) o[i] = 0.0f;
  };
  auto takeWork = [&](int message) {
    barrierWait(sharedAddress(&book->qFull[t.stage]), t.parity);
    return shuffle((int)book->messages[message].more, 0) != 0;
  };
  // What was stored by ordinary copies, and not by the copy engine, is there for products only after a fence.
  auto awaitKeys = [&]() {
    barrierWait(sharedAddress(&book->kFull[k.stage]), k.parity);
    if (GATHERS) fenceAsync();
  };
  // Asked while products run, so that nothing waits for the answer. The lane that reads is the one that releases.
  auto readTile = [&]() {
    if (lane == 0) tile = book->tiles[k.stage];
    tile = (u32)shuffle((int)tile, 0);
    units.id[0] = (int)(tile & TILE_INDEX);
    if (UNITS > 1)
#pragma unroll
      for (int u = 0; u < UNITS; u++) units.id[u] = shuffle(lane == 0 ? book->units[k.stage].id[u] : 0, 0);
    if (GATHERS) {
      Units const told = lane == 0 ? book->units[k.stage] : Units{};
      u64 const rows = (u64)told.rows;
      units.count = shuffle(told.count, 0);
      units.rows = (int const*)((u64)(u32)shuffle((int)(rows >> 32), 0) << 32 | (u32)shuffle((int)rows, 0));
    }
  };
  auto startScores = [&]() {
    constexpr int STEPS = CHUNK_K / 16;
    productFence();
    u64 const a = qMatrix + (u32)(t.stage * (Q_BYTES >> 4)), b = kMatrix + (u32)(k.stage * (K_BYTES >> 4));
#pragma unroll
    for (int part = 0; part < K_PARTS; part++)
#pragma unroll
      for (int i = 0; i < HEAD_DIM / 16; i++)
        productScores(s, a + ((i / STEPS * (TILE_Q * CHUNK_BYTES_K) + i % STEPS * 32) >> 4),
                      b + ((part * K_PART + i / STEPS * (TILE_KV * CHUNK_BYTES_K) + i % STEPS * 32) >> 4), part + i > 0);
    productCommit();
  };
  auto endScores = [&]() {
    release(book->kEmpty[k.stage]);
    k.advance();
    if (tile & TILE_LAST) {
      release(book->qEmpty[t.stage]);
      t.advance();
    }
  };
  auto startOutputs = [&]() {
    barrierWait(sharedAddress(&book->vFull[v.stage]), v.parity);
    if (GATHERS) fenceAsync();
    productFence();
    u64 const b = vMatrix + (u32)(v.stage * (V_BYTES >> 4));
#pragma unroll
    for (int i = 0; i < TILE_KV / 16; i++) productOutputs(o, p + 4 * i, b + (i * 16 * CHUNK_BYTES_V >> 4), 1);
    productCommit();
  };
  auto endOutputs = [&]() {
    pin(o);
    release(book->vEmpty[v.stage]);
    v.advance();
  };
  auto shapeScores = [&]() {
    Message const& told = book->messages[message];
    if (SCORED) {
      Place const place = told.place;
      int const r = told.work.qTile * TILE_Q + row, q0 = rowAt(place, r) + place.qShift, q1 = rowAt(place, r + 8) + place.qShift;
#pragma unroll
      for (int i = 0; i < S_COUNT; i++)
        s[i] = scoreOf(call, place, s[i] * call.scale, i & 2 ? q1 : q0, positionOf(place, units, i));
    } else if (turned) {
#pragma unroll
      for (int i = 0; i < S_COUNT; i++) s[i] = -s[i];
    }
    if (ROWS_DIFFER) {
      bool const has0 = hasTile(keys0, units), has1 = hasTile(keys1, units);
#pragma unroll
      for (int i = 0; i < S_COUNT; i++) s[i] = (i & 2 ? has1 : has0) ? s[i] : -INFINITE;
    }
    if (GATHERS && tile & TILE_FULL && units.count < TILE_KV) {
#pragma unroll
      for (int i = 0; i < S_COUNT; i++) s[i] = isThere(units, i) ? s[i] : -INFINITE;
    }
    if (!(tile & TILE_FULL)) {
      Place const place = told.place;
      int const r = told.work.qTile * TILE_Q + row, q0 = rowAt(place, r) + place.qShift, q1 = rowAt(place, r + 8) + place.qShift;
      maskScores(call, place, s, units, q0, q1);
    }
  };
  auto roundWeights = [&]() {
#pragma unroll
    for (int i = 0; i < TILE_KV / 4; i++) p[i] = packHalves(s[2 * i], s[2 * i + 1]);
  };

  for (;;) {
    if (!takeWork(message)) return;
    if (MERGES) fetchPartial(call, book->messages[message], group);
    clear();
    state = fresh;
    if (ROWS_DIFFER) {
      Place const place = book->messages[message].place;
      int const r = book->messages[message].work.qTile * TILE_Q + row;
      keys0 = rowKeysOf(call, place, rowAt(place, r));
      keys1 = rowKeysOf(call, place, rowAt(place, r + 8));
    }
    awaitKeys();
    startScores();
    readTile();
    productWait<0>();
    pin(s);
    endScores();
    shapeScores();
    weigh(state, s, unit);
    roundWeights();
    while (!(tile & TILE_LAST)) {
      awaitKeys();
      startScores();
      startOutputs();
      readTile();
      productWait<1>();
      pin(s);
      endScores();
      shapeScores();
      float2 const decay = weigh(state, s, unit);
      productWait<0>();
      endOutputs();
      roundWeights();
#pragma unroll
      for (int i = 0; i < O_COUNT; i++) o[i] *= i & 2 ? decay.y : decay.x;
    }
    startOutputs();
    productWait<0>();
    endOutputs();
    finish(call, book->messages[message], row, state, unit, o);
    message = (message + 1) % MESSAGES;
  }
}

KERNEL(THREADS, BLOCKS)
ENTRY(attend)(const __grid_constant__ Call call, const __grid_constant__ TensorMap qMap, const __grid_constant__ TensorMap kMap,
       const __grid_constant__ TensorMap vMap) {
  Book* book = (Book*)(sharedBase() + BOOK);
  if (threadIdx.x == 0) {
    for (int i = 0; i < Q_STAGES; i++) {
      barrierInit(sharedAddress(&book->qFull[i]), 1);
      barrierInit(sharedAddress(&book->qEmpty[i]), CONSUMER_WARPS);
    }
    for (int i = 0; i < STAGES; i++) {
      barrierInit(sharedAddress(&book->kFull[i]), BRINGING_WARPS);
      barrierInit(sharedAddress(&book->vFull[i]), BRINGING_WARPS);
      barrierInit(sharedAddress(&book->kEmpty[i]), CONSUMER_WARPS);
      barrierInit(sharedAddress(&book->vEmpty[i]), CONSUMER_WARPS);
    }
    barrierInitFence();
  }
  syncThreads();
  int const group = (int)(threadIdx.x >> 7);
  if (group == 0) {
    shrinkRegisters<PRODUCER_REGISTERS>();
    if (threadIdx.x < 32 * BRINGING_WARPS) produce(call, qMap, kMap, vMap, book);
  } else {
    growRegisters<CONSUMER_REGISTERS>();
    consume(call, book, group - 1);
  }
}
