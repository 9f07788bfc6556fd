constexpr int NO_TILE = 0x7fffffff;

constexpr bool MASKED = true;             // some pair may be dropped; if not, tiles inside kvLen are full
constexpr bool SCORED = false;            // scoreOf changes the scaled logit
constexpr bool SINK = false;              // sinkLogitOf adds to the denominator
constexpr bool TESTED = true;             // isReached asks more than intervals
constexpr bool LISTED = false;            // tiles are listed by the entry `list`
constexpr bool LOOKS = false;             // it looks at the pairs of a tile, not at its tests alone
constexpr bool SHARES_LISTS = false;      // one list serves all heads
constexpr bool ORDERED = false;           // rows and keys are taken by classes of the same remainder
constexpr bool ALIGNED = false;           // query tiles begin at positions that are multiples of TILE_Q
constexpr bool PARTIAL = false;           // outputs go to the scratch as they are, for a pass that joins its own
constexpr bool STATE = false;             // outputs and sums go to call.state as they are, for an attend that goes on with them
constexpr bool BEFORE = false;            // call.before holds what an attend before made of other pairs
constexpr bool MERGES = false;            // scratch and lse hold what an earlier pass made of other pairs
constexpr bool MASK_READS_HEAD = true;    // keeps and the tiles may differ between heads
constexpr bool SCORE_READS_HEAD = false;  // scoreOf may differ between heads
constexpr bool CHEAP_MASK = false;        // keeps is a few instructions: unroll it

DEVICE int floorDiv(int a, int b) {
  int sign = a >> 31;
  return (int)((u32)(a ^ sign) / (u32)b) ^ sign;
}
DEVICE int alignDown(int a, int b) { return (int)((u32)b * (u32)floorDiv(a, b)); }
DEVICE int floorMod(int a, int b) { return a - b * floorDiv(a, b); }

// A positive number that others are divided by: numbers below 2^31 are multiplied by factor / 2^(31 + shift), rounded down.
struct Divisor {
  int value, shift;
  u32 factor;
  __device__ operator int() const { return value; }
};
DEVICE Divisor divisorOf(int d) {
  int shift = d > 1 ? 32 - leadingZeros((u32)(d - 1)) : 0;
  return {d, shift, (u32)(((1ull << (31 + shift)) + (u64)d - 1ull) / (u64)d)};
}
DEVICE int floorDiv(int a, Divisor const& b) {
  int sign = a >> 31;
  return (int)((u32)((u64)((u32)(a ^ sign) << 1) * b.factor >> 32) >> b.shift) ^ sign;
}
DEVICE int floorMod(int a, Divisor const& b) { return a - b.value * floorDiv(a, b); }
DEVICE int alignDown(int a, Divisor const& b) { return (int)((u32)b.value * (u32)floorDiv(a, b)); }

// What a (batch, head) knows.
struct Place {
  int batch, head, kvHead;
  int qLen, kvLen;            // real query rows and key rows
  int qRow, qShift, kvStart;  // rows [qRow, qRow + qLen) are real, row r stands at position r + qShift; key j is row kvStart + j
  // The params and derived uniforms that the pattern reads.
  int summary;
  Divisor stride, groups;
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
  p.stride = divisorOf(readOnly(call.values + 0));
  p.summary = readOnly(call.values + 1);
  p.groups = divisorOf(readOnly(call.values + 2));
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
  Tiles keep0, keep1;  // of kept terms
  Tiles drop0, drop1, drop2, drop3, drop4;  // of dropped terms
  int qLo, qHi;
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
  r.qLo = qLo;
  r.qHi = qHi;
  r.keep0 = tilesOf(p, some, max(0, alignDown(qLo, p.stride)), min(min(p.kvLen - 1, qHi), p.stride + alignDown(qHi, p.stride) - 1));
  r.keep1 = tilesOf(p, some, 0, min(p.kvLen - 1, qHi));
  r.drop0 = tilesOf(p, some, max(0, qLo + 1), p.kvLen - 1);
  r.drop1 = tilesOf(p, some, max(0, p.stride + alignDown(qLo, p.stride)), p.kvLen - 1);
  r.drop2 = tilesOf(p, some, max(0, p.stride + alignDown(qLo, p.stride)), p.kvLen - 1);
  r.drop3 = tilesOf(p, some, 0, min(p.kvLen - 1, alignDown(qHi, p.stride) - 1));
  r.drop4 = tilesOf(p, some, 0, min(p.kvLen - 1, alignDown(qHi, p.stride) - 1));
  return r;
}
DEVICE bool mayKeep1Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorMod(p.head, p.groups) * p.summary;
  int value_2 = min(kvHi, qHi);
  int value_3 = value_2 - alignDown(kvLo, p.stride);
  int value_4 = p.stride - value - 1;
  return p.stride - p.summary - value - 1 < value_3 && 0 <= value_4 && (floorMod(kvLo, p.stride) <= value_4 || p.stride <= value_3) && max(qLo, kvLo) <= qHi && kvLo <= value_2;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayKeep1(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int kvCut = p.stride + alignDown(kvLo, p.stride);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int kvFirst = piece & 1 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 1 ? kvHi : min(kvHi, kvCut - 1);
    may = kvFirst <= kvLast && mayKeep1Piece(call, p, qLo, qHi, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop1Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = p.stride - p.summary - floorMod(p.head, p.groups) * p.summary - 1;
  int value_2 = max(kvLo, p.stride + alignDown(qLo, p.stride));
  return 0 <= value && (floorMod(value_2, p.stride) <= value || p.stride <= kvHi - alignDown(value_2, p.stride)) && qLo <= min(qHi, alignDown(kvHi, p.stride) - 1) && value_2 <= kvHi;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop1(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int kvCut = p.stride + alignDown(kvLo, p.stride);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int kvFirst = piece & 1 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 1 ? kvHi : min(kvHi, kvCut - 1);
    may = kvFirst <= kvLast && mayDrop1Piece(call, p, qLo, qHi, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop2Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = max(kvLo, p.stride + alignDown(qLo, p.stride));
  int value_2 = floorMod(p.head, p.groups) * p.summary;
  return !(kvHi - alignDown(value, p.stride) <= p.stride - value_2 - 1 || value_2 < 1) && qLo <= min(qHi, alignDown(kvHi, p.stride) - 1) && value <= kvHi;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop2(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int kvCut = p.stride + alignDown(kvLo, p.stride);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int kvFirst = piece & 1 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 1 ? kvHi : min(kvHi, kvCut - 1);
    may = kvFirst <= kvLast && mayDrop2Piece(call, p, qLo, qHi, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop3Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = p.stride - p.summary - floorMod(p.head, p.groups) * p.summary - 1;
  int value_2 = min(kvHi, alignDown(qHi, p.stride) - 1);
  int value_3 = alignDown(kvLo, p.stride);
  return 0 <= value && (floorMod(kvLo, p.stride) <= value || p.stride <= value_2 - value_3) && max(qLo, p.stride + value_3) <= qHi && kvLo <= value_2;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop3(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int kvCut = p.stride + alignDown(kvLo, p.stride);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int kvFirst = piece & 1 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 1 ? kvHi : min(kvHi, kvCut - 1);
    may = kvFirst <= kvLast && mayDrop3Piece(call, p, qLo, qHi, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop4Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = min(kvHi, alignDown(qHi, p.stride) - 1);
  int value_2 = alignDown(kvLo, p.stride);
  int value_3 = floorMod(p.head, p.groups) * p.summary;
  return !(value - value_2 <= p.stride - value_3 - 1 || value_3 < 1) && max(qLo, p.stride + value_2) <= qHi && kvLo <= value;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop4(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int kvCut = p.stride + alignDown(kvLo, p.stride);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int kvFirst = piece & 1 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 1 ? kvHi : min(kvHi, kvCut - 1);
    may = kvFirst <= kvLast && mayDrop4Piece(call, p, qLo, qHi, kvFirst, kvLast);
  }
  return may;
}
// The least tile >= from that a kept term's interval holds, or NO_TILE.
DEVICE int nextCandidate(Reach const& r, int from) {
  return min(nextOf(r.keep0, from), nextOf(r.keep1, from));
}
// `begin` is a candidate: the greatest tile such that all from begin to it are candidates, of any term.
DEVICE int candidatesEnd(Reach const& r, int begin) {
  int end = begin;
  for (int again = 0; again < 2; again++) {
    if (r.keep0.first <= end + 1) end = max(end, r.keep0.last);
    if (r.keep1.first <= end + 1) end = max(end, r.keep1.last);
  }
  return end;
}
// A kept term reaches the tile: its interval holds it and its test, if any, allows it.
DEVICE bool isReached(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return holds(r.keep0, tile) || (holds(r.keep1, tile) && mayKeep1(call, p, r.qLo, r.qHi, kvLo, kvHi));
}
// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return (tile + 1) * TILE_KV <= p.kvLen && !(holds(r.drop0, tile)) && !(holds(r.drop1, tile) && mayDrop1(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop2, tile) && mayDrop2(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop3, tile) && mayDrop3(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop4, tile) && mayDrop4(call, p, r.qLo, r.qHi, kvLo, kvHi));
}

// q and kv are positions; kv < kvLen is the caller's to check.
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) {
  int ofRow = floorDiv(q, p.stride);
  int ofColumn = floorDiv(kv, p.stride);
  int ofColumn_2 = floorMod(p.head, p.groups) * p.summary;
  int ofColumn_3 = floorMod(kv, p.stride);
  bool ofColumn_4 = p.stride - p.summary - ofColumn_2 <= ofColumn_3 && ofColumn_3 < p.stride - ofColumn_2;
  return kv <= q && (ofRow == ofColumn || ofColumn_4);
}

// s is scale * (q . k), natural-log units.
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return s; }

DEVICE float sinkLogitOf(Call const& call, Place const& p) { return -INFINITE; }
