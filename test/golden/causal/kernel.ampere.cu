// causal: le(kv, q)
// d128-bf16-ampere: 128 x 64 tiles found by ranges; 128 threads
// shape: two blocks in 164 KiB; eight warps are a quarter slower
// npx heddle build causal --target cuda --head-dim 128 --dtype bf16 --skeleton ampere

// ==== configuration ====

constexpr bool BF16 = true;
constexpr bool DEBUG = false;
constexpr int HEAD_DIM = 128;
constexpr int VALUE_DIM = 128;
constexpr int TILE_Q = 128;
constexpr int TILE_KV = 64;
constexpr int UNITS = 1;
constexpr int UNIT_KV = 64;
constexpr int THREADS = 128;
constexpr int STAGES = 1;
constexpr int BLOCKS = 2;
constexpr int KNOWN_BYTES = 1024;

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

// ==== ampere.cuh ====

// attend for mma.sync and cp.async: a block takes one (batch, head, query tile), walks the kv tiles that the pattern
// reaches and keeps an online softmax in base 2. A warp owns whole query rows, so that no score leaves its registers: the
// accumulator of S = Q Kt is, packed to halves, the left operand of P V.

constexpr int WARPS = THREADS / 32;
constexpr int ROW_TILES = TILE_Q / (16 * WARPS);  // query rows of a warp, in sixteens
constexpr int WARP_ROWS = 16 * ROW_TILES;
constexpr int KEY_TILES = TILE_KV / 8;            // columns of S, in eights
constexpr int VALUE_TILES = VALUE_DIM / 8;        // columns of the output, in eights
static_assert(TILE_Q % (16 * WARPS) == 0 && TILE_KV % 16 == 0, "whole matrices");
static_assert(HEAD_DIM % 32 == 0 && VALUE_DIM % 32 == 0 && THREADS % 64 == 0, "whole copies");

constexpr float LOG2E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;

// Shared memory: Q, STAGES tiles of K, STAGES tiles of V, what is known of the tile, row sums. The output takes Q's place
// and more.
constexpr int Q_BYTES = TILE_Q * HEAD_DIM * 2;
constexpr int K_BYTES = TILE_KV * HEAD_DIM * 2;
constexpr int V_BYTES = TILE_KV * VALUE_DIM * 2;
constexpr int K_AT = Q_BYTES;
constexpr int V_AT = K_AT + STAGES * K_BYTES;
constexpr int KNOWN_AT = V_AT + STAGES * V_BYTES;
constexpr int SUMS_AT = KNOWN_AT + KNOWN_BYTES;
static_assert(TILE_Q * VALUE_DIM * 2 <= KNOWN_AT, "the output tile is staged below what is known");

// Tiles that are known at once: those in buffers, and the one before, whose mask some warp may still be at.
constexpr int RING = STAGES + 1;

struct Work {
  int batch, head, qTile;
};

// What all threads know and the main loop seldom reads: kept in shared memory, because the loop takes every register.
struct Known {
  Work work;
  Place place;
  Reach reach;
  u16 const* keys;  // key 0 of this batch and head
  u16 const* values;
  int keyVectors, valueVectors;  // rows are copied by sixteen bytes
  int someReal;                  // of the tile's query rows
  Walk walk;
  Visit visits[RING];  // tile n of the walk lies at n % RING
};
static_assert(sizeof(Known) <= KNOWN_BYTES, "reserved by the shape");

// Matrices in shared memory are rows of chunks of sixteen bytes. The chunk's place within its span (128 bytes, or 64 where
// the row is no multiple of 128) is xored with the row, so that eight rows of one column lie in different banks.
template <int DIM>
struct Rows {
  static constexpr bool WIDE = DIM % 64 == 0;
  static constexpr int PITCH = DIM * 2;
  static constexpr int CHUNKS = DIM / 8;
  static constexpr int SPAN = WIDE ? 8 : 4;
  // A copy by all threads: one row's span takes SPAN of them.
  static constexpr int PASS = THREADS / SPAN;
};

template <int DIM>
DEVICE int chunkOffset(int row, int chunk) {
  int key = Rows<DIM>::WIDE ? row & 7 : (row >> 1) & 3;
  return row * Rows<DIM>::PITCH + ((chunk ^ key) << 4);
}

// From the address of chunk 0 or 1 of a row to the one 2 * step chunks on.
template <int DIM>
DEVICE u32 stepChunks(u32 address, int step) {
  constexpr int HALF = Rows<DIM>::SPAN / 2;
  return (address ^ (u32)(step % HALF * 32)) + (u32)(step / HALF * Rows<DIM>::SPAN * 16);
}

// Copies ROWS rows of `dim` halves to `offset` in shared memory, zeros in columns from `dim` on and in rows from `rows` on.
template <int DIM, int ROWS>
DEVICE void copyRows(int offset, u16 const* from, long long stride, int dim, int rows, bool vectors) {
  using R = Rows<DIM>;
  int thread = threadIndex();
  if (vectors) {
    int row = thread / R::SPAN, chunk = thread % R::SPAN;
    // The key of the swizzle is the same in all passes: they are whole multiples of eight rows apart.
    u32 to = sharedAddress(sharedBase()) + (u32)(offset + chunkOffset<DIM>(row, chunk));
    u16 const* p = from + row * stride + chunk * 8;
#pragma unroll
    for (int pass = 0; pass < (ROWS + R::PASS - 1) / R::PASS; pass++) {
      if (ROWS % R::PASS == 0 || row + pass * R::PASS < ROWS) {
#pragma unroll
        for (int span = 0; span < R::CHUNKS / R::SPAN; span++) {
          bool valid = row + pass * R::PASS < rows && (span * R::SPAN + chunk) * 8 < dim;
          copyAsync16(to + (u32)(pass * R::PASS * R::PITCH + span * R::SPAN * 16), p + span * R::SPAN * 8, valid);
        }
      }
      p += R::PASS * stride;
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < ROWS * R::CHUNKS; i += THREADS) {
    int row = i / R::CHUNKS, chunk = i % R::CHUNKS;
    u16 const* p = from + row * stride + chunk * 8;
    int count = row < rows ? dim - chunk * 8 : 0;
    u64* to = (u64*)(sharedBase() + offset + chunkOffset<DIM>(row, chunk));
#pragma unroll
    for (int half = 0; half < 2; half++) {
      u64 four = 0;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if (half * 4 + e < count) four |= (u64)p[half * 4 + e] << (16 * e);
      }
      to[half] = four;
    }
  }
}

// The items in order of launch: last query tiles first, since the longest walks must not come last. Heads of one kv head
// are neighbours, and kv heads are taken in groups whose K and V stay in the L2 cache together.
DEVICE Work workOf(Call const& call, int item) {
  constexpr long long CACHE_BYTES = 32 << 20;
  int qTiles = (call.qRows + TILE_Q - 1) / TILE_Q;
  int shared = call.qHeads / call.kvHeads;
  int owners = call.batch * call.kvHeads;
  long long bytes = 2ll * max(call.kvRows, 1) * (call.headDim + call.valueDim);
  int size = (int)min(max(CACHE_BYTES / bytes, 1ll), (long long)owners);
  int group = item / (size * shared * qTiles);
  int rest = item - group * size * shared * qTiles;
  int heads = min(size, owners - group * size) * shared;
  int owner = group * size + rest % heads / shared;
  return {owner / call.kvHeads, owner % call.kvHeads * shared + rest % heads % shared, qTiles - 1 - rest / heads};
}

// The first warp takes the walk's next tile for all; they see it after the next barrier.
DEVICE void findNext(Call const& call, Known& known, int at) {
  if (threadIndex() >= 32) return;
  Walk walk = known.walk;
  Visit visit = {NO_TILE, false};
  if (known.someReal) visit = nextTile(call, known.place, known.reach, walk);
  syncLanes();
  if (laneIndex() == 0) {
    known.walk = walk;
    known.visits[at] = visit;
  }
}

// What a thread keeps from tile to tile, of rows lane / 4 and lane / 4 + 8 of each row tile.
struct Sums {
  float out[ROW_TILES][VALUE_TILES][4];
  float top[ROW_TILES][2];  // the largest score, in the units of S
};

// Of the same rows, the sum of the weights in this thread's columns.
struct RowSums {
  float of[ROW_TILES][2];
};
DEVICE RowSums& rowSums() { return ((RowSums*)(sharedBase() + SUMS_AT))[threadIndex()]; }

// A thread's scores: columns 2 (lane % 4) and the next of each key tile.
using Scores = float[ROW_TILES][KEY_TILES][4];

constexpr int PAIRS = ROW_TILES * KEY_TILES * 4;
constexpr int WORDS = (PAIRS + 31) / 32;
static_assert(PAIRS % 32 == 0 || PAIRS < 32, "bits of a thread's pairs fill words");
struct KeptPairs {
  u32 words[WORDS];
};

// A thread's first row of the tensor, and its first column of a tile.
DEVICE int firstRowOf(Known const& known) {
  int thread = threadIndex();
  return known.work.qTile * TILE_Q + thread / 32 * WARP_ROWS + thread % 32 / 4;
}
DEVICE int firstColumn() { return threadIndex() % 4 * 2; }

// The position of a thread's row; of a row that is not real, that of the nearest one that is.
DEVICE int positionOf(Place const& place, int firstRow, int rowTile, int half) {
  int row = firstRow + 16 * rowTile + 8 * half;
  return min(max(row, place.qRow), place.qRow + place.qLen - 1) + place.qShift;
}

// One bit a pair, by a rolled loop: `keeps` may be long. Bits enter at the top and sink, so that no index varies.
DEVICE void findKept(Call const& call, Known const& known, int tile, KeptPairs& kept) {
  Place const& place = known.place;
  int firstRow = firstRowOf(known), firstKey = tile * TILE_KV + firstColumn();
#pragma unroll
  for (int w = 0; w < WORDS; w++) kept.words[w] = 0u;
#pragma unroll 2
  for (int pair = 0; pair < PAIRS; pair++) {
    int kv = firstKey + pair / 4 % KEY_TILES * 8 + pair % 2;
    int q = positionOf(place, firstRow, pair / (4 * KEY_TILES), pair / 2 % 2);
    u32 bit = kv < place.kvLen && keeps(call, place, q, kv) ? 1u << 31 : 0u;
#pragma unroll
    for (int w = 0; w + 1 < WORDS; w++) kept.words[w] = kept.words[w] >> 1 | kept.words[w + 1] << 31;
    kept.words[WORDS - 1] = kept.words[WORDS - 1] >> 1 | bit;
  }
  if (PAIRS < 32) kept.words[0] >>= (32 - PAIRS) & 31;
}

// S = Q Kt. The next fragment is on its way while one is multiplied.
DEVICE void multiplyKeys(Scores& s, u32 queries, u32 keys) {
  constexpr int STEPS = HEAD_DIM / 16, COLUMNS = KEY_TILES / 2;
  u32 a[2][ROW_TILES][4], b[2][4];
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[m][n][e] = 0.0f;
    }
    loadMatrices(a[0][m], queries + (u32)(m * 16 * Rows<HEAD_DIM>::PITCH));
  }
  loadMatrices(b[0], keys);
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) {
      int now = step * COLUMNS + n, next = now + 1;
      if (next < STEPS * COLUMNS)
        loadMatrices(b[next % 2],
                     stepChunks<HEAD_DIM>(keys, next / COLUMNS) + (u32)(next % COLUMNS * 16 * Rows<HEAD_DIM>::PITCH));
      if (n == 0 && step + 1 < STEPS) {
#pragma unroll
        for (int m = 0; m < ROW_TILES; m++)
          loadMatrices(a[(step + 1) % 2][m],
                       stepChunks<HEAD_DIM>(queries, step + 1) + (u32)(m * 16 * Rows<HEAD_DIM>::PITCH));
      }
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
        multiplyAdd(s[m][2 * n], a[step % 2][m], b[now % 2][0], b[now % 2][1]);
        multiplyAdd(s[m][2 * n + 1], a[step % 2][m], b[now % 2][2], b[now % 2][3]);
      }
    }
  }
}

// Scores changed in natural units and put into base 2.
DEVICE void changeScores(Call const& call, Known const& known, int tile, Scores& s) {
  Place place = known.place;
  int firstRow = firstRowOf(known), firstKey = tile * TILE_KV + firstColumn();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int q = positionOf(place, firstRow, m, half);
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float& x = s[m][n][2 * half + e];
          x = scoreOf(call, place, x * call.scale, q, firstKey + 8 * n + e) * LOG2E;
        }
      }
    }
  }
}

DEVICE void maskScores(Call const& call, Known const& known, int tile, KeptPairs const& kept, Scores& s) {
  // In registers, so that a condition's second half is not worth a branch.
  Place place = known.place;
  int firstRow = firstRowOf(known), firstKey = tile * TILE_KV + firstColumn();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int q = positionOf(place, firstRow, m, half);
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          int kv = firstKey + 8 * n + e;
          int pair = (m * KEY_TILES + n) * 4 + 2 * half + e;
          bool keep = kv < place.kvLen;
          if (MASKED && CHEAP_MASK) keep = keep & keeps(call, place, q, kv);
          if (MASKED && !CHEAP_MASK) keep = (kept.words[pair / 32] >> (pair % 32)) & 1u;
          if (!keep) s[m][n][2 * half + e] = -INFINITE;
        }
      }
    }
  }
}

// From the units of S to base 2. Zero would make NaN of minus infinity, and a negative factor would turn the largest score
// into the smallest.
DEVICE float factorOf(Call const& call) { return SCORED ? 1.0f : fmaxf(fabsf(call.scale * LOG2E), 1e-30f); }

// What a thread subtracts from the scores of its rows, in base 2.
struct Bases {
  float of[ROW_TILES][2];
};

// Finds the new largest scores and brings the sums to them.
DEVICE Bases raiseTops(Scores const& s, Sums& sums, float factor) {
  Bases base;
  RowSums& rows = rowSums();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = sums.top[m][half];
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      top = fmaxf(top, shuffleXor(top, 1));
      top = fmaxf(top, shuffleXor(top, 2));
      // A row that has kept nothing must not subtract minus infinity from itself.
      base.of[m][half] = top == -INFINITE ? 0.0f : top * factor;
      // A product that is rounded on one side of the difference only is no exact zero, and hundreds of tiles would add up.
      float shrink = top == sums.top[m][half] ? 1.0f : exp2Fast(sums.top[m][half] * factor - base.of[m][half]);
      sums.top[m][half] = top;
      rows.of[m][half] *= shrink;
#pragma unroll
      for (int n = 0; n < VALUE_TILES; n++) {
        sums.out[m][n][2 * half] *= shrink;
        sums.out[m][n][2 * half + 1] *= shrink;
      }
    }
  }
  return base;
}

// out += P V, where P = 2^(S factor - base) is made sixteen keys at a time. The row sums are stored with every step, before
// its matrices are loaded: left in registers, their additions sink to the end and keep all of P alive until then.
DEVICE void addValues(Scores const& s, Bases const& base, Sums& sums, float factor, u32 values) {
  constexpr int STEPS = TILE_KV / 16, COLUMNS = VALUE_TILES / 2;
  RowSums& rows = rowSums();
  RowSums sum = rows;
  u32 b[2][4];
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    u32 a[ROW_TILES][4];
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float const(&tile)[4] = s[m][2 * step + i / 2];
        float low = exp2Fast(tile[i % 2 * 2] * factor - base.of[m][i % 2]);
        float high = exp2Fast(tile[i % 2 * 2 + 1] * factor - base.of[m][i % 2]);
        sum.of[m][i % 2] += low + high;
        a[m][i] = packHalves(low, high);
      }
    }
    rows = sum;
    if (step == 0) loadMatricesTransposed(b[0], values);
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) {
      int now = step * COLUMNS + n, next = now + 1;
      if (next < STEPS * COLUMNS)
        loadMatricesTransposed(b[next % 2], stepChunks<VALUE_DIM>(values, next % COLUMNS) +
                                                (u32)(next / COLUMNS * 16 * Rows<VALUE_DIM>::PITCH));
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
        multiplyAdd(sums.out[m][2 * n], a[m], b[now % 2][0], b[now % 2][1]);
        multiplyAdd(sums.out[m][2 * n + 1], a[m], b[now % 2][2], b[now % 2][3]);
      }
    }
  }
}

// Divides by the row sums, writes LSE, and leaves the halves of this warp's rows in shared memory.
DEVICE void finishRows(Call const& call, Known const& known, Sums& sums) {
  float factor = factorOf(call);
  Place const& place = known.place;
  Work const& work = known.work;
  RowSums& rows = rowSums();
  int lane = laneIndex(), warp = (int)threadIdx.x / 32;
  long long lseRow = ((long long)work.batch * call.qHeads + work.head) * call.qRows;
  float sinkLogit = SINK ? sinkLogitOf(call, place) : -INFINITE;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = rows.of[m][half];
      sum += shuffleXor(sum, 1);
      sum += shuffleXor(sum, 2);
      float top = sums.top[m][half] * factor;
      float base = fmaxf(top, sinkLogit * LOG2E);
      int inTile = warp * WARP_ROWS + 16 * m + 8 * half + lane / 4;
      int row = work.qTile * TILE_Q + inTile;
      bool real = place.qRow <= row && row < place.qRow + place.qLen;
      float lse = -INFINITE, share = 0.0f;
      if (real && base != -INFINITE) {
        float shrink = exp2Fast(top - base);
        sum *= shrink;
        if (SINK) sum += exp2Fast(sinkLogit * LOG2E - base);
        share = shrink / sum;
        // The sink's own units where it is the larger: a row that keeps nothing gives it back exactly.
        lse = (SINK && base > top ? sinkLogit : base * LN2) + logf(sum);
      }
      if (lane % 4 == 0 && row < call.qRows) call.lse[lseRow + row] = lse;
#pragma unroll
      for (int n = 0; n < VALUE_TILES; n++) {
        float low = sums.out[m][n][2 * half] * share, high = sums.out[m][n][2 * half + 1] * share;
        // Not a product: the sums of a row that is not real may be anything.
        u32 both = share == 0.0f ? 0u : packHalves(low, high);
        *(u32*)(sharedBase() + chunkOffset<VALUE_DIM>(inTile, n) + lane % 4 * 4) = both;
      }
    }
  }
}

// Writes this warp's rows from shared memory.
DEVICE void storeRows(Call const& call, Work const& work) {
  using R = Rows<VALUE_DIM>;
  int lane = laneIndex(), first = (int)threadIdx.x / 32 * WARP_ROWS;
  int dim = call.valueDim;
  long long stride = call.outStride[2];
  u16* out = (u16*)call.out + work.batch * call.outStride[0] + work.head * call.outStride[1] +
             (long long)(work.qTile * TILE_Q + first) * stride;
  int rows = min(call.qRows - work.qTile * TILE_Q - first, WARP_ROWS);
  if (call.vectors && dim % 8 == 0) {
    struct alignas(16) Chunk { u64 halves[2]; };
#pragma unroll 4
    for (int i = lane; i < WARP_ROWS * R::CHUNKS; i += 32) {
      int row = i / R::CHUNKS, chunk = i % R::CHUNKS;
      if (row < rows && chunk * 8 < dim)
        *(Chunk*)(out + row * stride + chunk * 8) = *(Chunk const*)(sharedBase() + chunkOffset<VALUE_DIM>(first + row, chunk));
    }
    return;
  }
#pragma unroll 1
  for (int row = 0; row < rows; row++) {
#pragma unroll 1
    for (int column = lane; column < dim; column += 32)
      out[row * stride + column] =
          *(u16 const*)(sharedBase() + chunkOffset<VALUE_DIM>(first + row, column / 8) + column % 8 * 2);
  }
}

KERNEL(THREADS, BLOCKS) ENTRY(attend)(Call call) {
  Known& known = *(Known*)(sharedBase() + KNOWN_AT);
  {
    // Q depends on no length: it is under way while those are read.
    Work work = workOf(call, (int)blockIdx.x);
    int tileRow = work.qTile * TILE_Q;
    bool keyVectors = call.vectors && call.headDim % 8 == 0;
    copyRows<HEAD_DIM, TILE_Q>(
        0, (u16 const*)call.q + work.batch * call.qStride[0] + work.head * call.qStride[1] + tileRow * call.qStride[2],
        call.qStride[2], call.headDim, call.qRows - tileRow, keyVectors);
    if (threadIdx.x == 0u) {
      Place p = placeOf(call, work.batch, work.head);
      int lo = max(tileRow, p.qRow), hi = min(tileRow + TILE_Q, p.qRow + p.qLen) - 1;
      known.reach = reachOf(call, p, lo + p.qShift, hi + p.qShift);
      known.place = p;
      known.work = work;
      known.someReal = lo <= hi;
      known.walk = walkOf(call, p, work.qTile);
      known.keyVectors = keyVectors;
      known.valueVectors = call.vectors && call.valueDim % 8 == 0;
      known.keys = (u16 const*)call.k + work.batch * call.kStride[0] + p.kvHead * call.kStride[1] + p.kvStart * call.kStride[2];
      known.values = (u16 const*)call.v + work.batch * call.vStride[0] + p.kvHead * call.vStride[1] + p.kvStart * call.vStride[2];
    }
    syncThreads();
  }
#pragma unroll 1
  for (int i = 0; i < (STAGES > 1 ? STAGES - 1 : 1); i++) findNext(call, known, i);
  syncThreads();
  auto copyKeys = [&](int tile, int slot) {
    int first = tile * TILE_KV;
    copyRows<HEAD_DIM, TILE_KV>(K_AT + slot * K_BYTES, known.keys + first * call.kStride[2], call.kStride[2],
                                call.headDim, known.place.kvLen - first, known.keyVectors);
  };
  auto copyValues = [&](int tile, int slot) {
    int first = tile * TILE_KV;
    copyRows<VALUE_DIM, TILE_KV>(V_AT + slot * V_BYTES, known.values + first * call.vStride[2], call.vStride[2],
                                 call.valueDim, known.place.kvLen - first, known.valueVectors);
  };

  // Where the scale is negative, Q is negated instead.
  if (!SCORED && call.scale < 0.0f) {
    commitCopies();
    waitCopies<0>();
    syncThreads();
    for (int i = threadIndex(); i < Q_BYTES / 4; i += THREADS) ((u32*)sharedBase())[i] ^= 0x80008000u;
  }

  Sums sums;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      sums.top[m][half] = -INFINITE;
      rowSums().of[m][half] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < VALUE_TILES; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) sums.out[m][n][e] = 0.0f;
    }
  }
  Scores s;
  KeptPairs kept;

  auto scores = [&](int at, int slot) {
    int lane = laneIndex(), firstRow = threadIndex() / 32 * WARP_ROWS;
    u32 base = sharedAddress(sharedBase());
    u32 queries = base + (u32)chunkOffset<HEAD_DIM>(firstRow + lane % 16, lane / 16);
    u32 keys = base + (u32)(K_AT + slot * K_BYTES + chunkOffset<HEAD_DIM>(lane / 16 * 8 + lane % 8, lane / 8 % 2));
    multiplyKeys(s, queries, keys);
    if (SCORED) changeScores(call, known, known.visits[at].tile, s);
    if (!known.visits[at].full) maskScores(call, known, known.visits[at].tile, kept, s);
  };
  auto values = [&](int slot) {
    int lane = laneIndex();
    u32 base = sharedAddress(sharedBase());
    float factor = factorOf(call);
    Bases bases = raiseTops(s, sums, factor);
    addValues(s, bases, sums, factor, base + (u32)(V_AT + slot * V_BYTES + chunkOffset<VALUE_DIM>(lane % 16, lane / 16)));
  };

  auto prepare = [&](int at) {
    if (MASKED && !CHEAP_MASK && !known.visits[at].full) findKept(call, known, known.visits[at].tile, kept);
  };

  int at = 0;
  if (STAGES == 1) {
    // K and V have one buffer each: V comes while K is multiplied, the next K while V is.
    if (known.visits[0].tile != NO_TILE) copyKeys(known.visits[0].tile, 0);
    commitCopies();
    while (known.visits[at].tile != NO_TILE) {
      findNext(call, known, at ^ 1);
      prepare(at);
      waitCopies<0>();
      syncThreads();
      copyValues(known.visits[at].tile, 0);
      commitCopies();
      scores(at, 0);
      waitCopies<0>();
      syncThreads();
      at ^= 1;
      if (known.visits[at].tile != NO_TILE) copyKeys(known.visits[at].tile, 0);
      commitCopies();
      values(0);
    }
  } else {
    // A whole tile, K and V, comes while another is worked on; one barrier a tile.
    auto copyTile = [&](int tile, int slot) {
      if (tile != NO_TILE) {
        copyKeys(tile, slot);
        copyValues(tile, slot);
      }
      commitCopies();
    };
#pragma unroll 1
    for (int i = 0; i + 1 < STAGES; i++) copyTile(known.visits[i].tile, i);
    int slot = 0;
    while (known.visits[at].tile != NO_TILE) {
      int last = at < 2 ? at + RING - 2 : at - 2;  // STAGES - 1 further on
      findNext(call, known, last);
      prepare(at);
      waitCopies<(STAGES > 1 ? STAGES - 2 : 0)>();
      syncThreads();
      copyTile(known.visits[last].tile, slot == 0 ? STAGES - 1 : slot - 1);
      scores(at, slot);
      values(slot);
      at = at + 1 == RING ? 0 : at + 1;
      slot = slot + 1 == STAGES ? 0 : slot + 1;
    }
  }

  // The output tile overlays what other warps may still read and what Q's copies may still write.
  waitCopies<0>();
  syncThreads();
  finishRows(call, known, sums);
  syncLanes();
  storeRows(call, known.work);
}
