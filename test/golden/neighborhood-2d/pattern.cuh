constexpr int NO_TILE = 0x7fffffff;

constexpr bool MASKED = true;             // some pair may be dropped; if not, tiles inside kvLen are full
constexpr bool SCORED = false;            // scoreOf changes the scaled logit
constexpr bool SINK = false;              // sinkLogitOf adds to the denominator
constexpr bool TESTED = true;             // isReached asks more than intervals
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
  int height, windowHeight, windowWidth;
  Divisor width;
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
  p.height = readOnly(call.values + 0);
  p.width = divisorOf(readOnly(call.values + 1));
  p.windowHeight = readOnly(call.values + 2);
  p.windowWidth = readOnly(call.values + 3);
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
  Tiles drop0, drop1, drop2, drop3, drop4, drop5;  // of dropped terms
  int qLo, qHi;
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
  r.qLo = qLo;
  r.qHi = qHi;
  int value = p.windowHeight >> 1;
  int value_2 = p.height - p.windowHeight;
  int value_3 = p.height * p.width - 1;
  r.keep0 = tilesOf(p, some && (qLo <= min(qHi, p.height * p.width - 1)), max(0, min(min(max(floorDiv(qLo, p.width) - value, 0), value_2) * p.width, min(max(floorDiv(min(qHi, p.height * p.width - 1), p.width) - value, 0), value_2) * p.width)), min(min(p.kvLen - 1, value_3), p.windowHeight * p.width + max(min(max(floorDiv(qLo, p.width) - value, 0), value_2) * p.width, min(max(floorDiv(min(qHi, value_3), p.width) - value, 0), value_2) * p.width) - 1));
  r.drop0 = tilesOf(p, some && (max(qLo, p.height * p.width) <= qHi), 0, p.kvLen - 1);
  r.drop1 = tilesOf(p, some, p.height * p.width, p.kvLen - 1);
  r.drop2 = tilesOf(p, some, 0, min(p.kvLen - 1, max(min(max(floorDiv(qLo, p.width) - value, 0), value_2) * p.width, min(max(floorDiv(qHi, p.width) - value, 0), value_2) * p.width) - 1));
  r.drop3 = tilesOf(p, some, max(0, p.windowHeight * p.width + min(min(max(floorDiv(qLo, p.width) - value, 0), value_2) * p.width, min(max(floorDiv(qHi, p.width) - value, 0), value_2) * p.width)), p.kvLen - 1);
  r.drop4 = tilesOf(p, some, 0, p.kvLen - 1);
  r.drop5 = tilesOf(p, some, 0, p.kvLen - 1);
  return r;
}
DEVICE bool mayKeep0Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(qLo, p.width);
  int value_2 = p.height * p.width - 1;
  int value_3 = min(qHi, value_2);
  int value_4 = floorDiv(value_3, p.width);
  bool value_5 = value == value_4;
  int value_6 = p.windowWidth >> 1;
  int value_7 = p.width - p.windowWidth;
  int value_8 = min(max((value_5 ? floorMod(qLo, p.width) : 0) - value_6, 0), value_7);
  int value_9 = p.windowHeight >> 1;
  int value_10 = p.height - p.windowHeight;
  int value_11 = min(max(value - value_9, 0), value_10) * p.width;
  int value_12 = min(max(value_4 - value_9, 0), value_10) * p.width;
  int value_13 = max(kvLo, min(value_11, value_12));
  int value_14 = min(min(kvHi, value_2), p.windowHeight * p.width + max(value_11, value_12) - 1);
  bool value_15 = floorDiv(value_13, p.width) == floorDiv(value_14, p.width);
  int value_16 = p.width - 1;
  int value_17 = value_15 ? floorMod(value_14, p.width) : value_16;
  int value_18 = max(value_8 - value_17, 1 - p.windowWidth);
  int value_19 = value_15 ? floorMod(value_13, p.width) : 0;
  int value_20 = min(max((value_5 ? floorMod(value_3, p.width) : value_16) - value_6, 0), value_7);
  int value_21 = max(value_19 - value_20, 0);
  return value_18 <= 0 && value_21 + 1 - p.windowWidth <= 0 && qLo <= value_3 && value_13 <= value_14 && value_18 <= min(value_20 - value_19, 0) && value_21 <= min(value_17 - value_8, p.windowWidth - 1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayKeep0(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.width + alignDown(qLo, p.width);
  int kvCut = p.width + alignDown(kvLo, p.width);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 4 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    int kvFirst = piece & 2 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 2 ? kvHi : min(kvHi, kvCut - 1);
    may = qFirst <= qLast && kvFirst <= kvLast && mayKeep0Piece(call, p, qFirst, qLast, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop4Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  bool value = floorDiv(kvLo, p.width) == floorDiv(kvHi, p.width);
  int value_2 = value ? floorMod(kvLo, p.width) : 0;
  bool value_3 = floorDiv(qLo, p.width) == floorDiv(qHi, p.width);
  int value_4 = p.width - 1;
  int value_5 = p.windowWidth >> 1;
  int value_6 = p.width - p.windowWidth;
  int value_7 = min(max((value_3 ? floorMod(qHi, p.width) : value_4) - value_5, 0), value_6);
  return value_2 + 1 - value_7 <= 0 && value_2 - value_7 <= min((value ? floorMod(kvHi, p.width) : value_4) - min(max((value_3 ? floorMod(qLo, p.width) : 0) - value_5, 0), value_6), -1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop4(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.width + alignDown(qLo, p.width);
  int kvCut = p.width + alignDown(kvLo, p.width);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 4 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    int kvFirst = piece & 2 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 2 ? kvHi : min(kvHi, kvCut - 1);
    may = qFirst <= qLast && kvFirst <= kvLast && mayDrop4Piece(call, p, qFirst, qLast, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop5Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  bool value = floorDiv(qLo, p.width) == floorDiv(qHi, p.width);
  int value_2 = p.windowWidth >> 1;
  int value_3 = p.width - p.windowWidth;
  int value_4 = min(max((value ? floorMod(qLo, p.width) : 0) - value_2, 0), value_3);
  bool value_5 = floorDiv(kvLo, p.width) == floorDiv(kvHi, p.width);
  int value_6 = p.width - 1;
  int value_7 = value_5 ? floorMod(kvHi, p.width) : value_6;
  return p.windowWidth + value_4 - value_7 <= 0 && value_4 - value_7 <= min(min(max((value ? floorMod(qHi, p.width) : value_6) - value_2, 0), value_3) - (value_5 ? floorMod(kvLo, p.width) : 0), -p.windowWidth);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop5(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.width + alignDown(qLo, p.width);
  int kvCut = p.width + alignDown(kvLo, p.width);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 4 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    int kvFirst = piece & 2 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 2 ? kvHi : min(kvHi, kvCut - 1);
    may = qFirst <= qLast && kvFirst <= kvLast && mayDrop5Piece(call, p, qFirst, qLast, kvFirst, kvLast);
  }
  return may;
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
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return holds(r.keep0, tile) && mayKeep0(call, p, r.qLo, r.qHi, kvLo, kvHi);
}
// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return (tile + 1) * TILE_KV <= p.kvLen && !(holds(r.drop0, tile)) && !(holds(r.drop1, tile)) && !(holds(r.drop2, tile)) && !(holds(r.drop3, tile)) && !(holds(r.drop4, tile) && mayDrop4(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop5, tile) && mayDrop5(call, p, r.qLo, r.qHi, kvLo, kvHi));
}

// q and kv are positions; kv < kvLen is the caller's to check.
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) {
  int ofRow = min(max(floorDiv(q, p.width) - (p.windowHeight >> 1), 0), p.height - p.windowHeight);
  int ofColumn = floorDiv(kv, p.width);
  int ofRow_2 = p.windowHeight + ofRow;
  int ofRow_3 = min(max(floorMod(q, p.width) - (p.windowWidth >> 1), 0), p.width - p.windowWidth);
  int ofColumn_2 = floorMod(kv, p.width);
  int ofRow_4 = p.windowWidth + ofRow_3;
  int value = p.height * p.width;
  return q < value && kv < value && ofRow <= ofColumn && ofColumn < ofRow_2 && ofRow_3 <= ofColumn_2 && ofColumn_2 < ofRow_4;
}

// s is scale * (q . k), natural-log units.
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return s; }

DEVICE float sinkLogitOf(Call const& call, Place const& p) { return -INFINITE; }
