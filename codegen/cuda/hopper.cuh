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
