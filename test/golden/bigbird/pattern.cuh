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
DEVICE int hashStep(int h, int x) {
  u32 v = (u32)(h ^ x) * 0x7feb352du;
  v ^= v >> 15;
  v *= 0x2c1b3c6du;
  v ^= v >> 12;
  return (int)(((v * 0x297a2d39u) ^ (v >> 16)) & 0x7fffffffu);
}

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
  int seed;
  Divisor block;
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
  p.block = divisorOf(readOnly(call.values + 0));
  p.seed = readOnly(call.values + 1);
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
  Tiles keep0, keep1, keep2, keep3, keep4, keep5, keep6, keep7;  // of kept terms
  Tiles drop0, drop1;  // of dropped terms
  int qLo, qHi;
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
  r.qLo = qLo;
  r.qHi = qHi;
  r.keep0 = tilesOf(p, some, max(0, alignDown(qLo, p.block) - p.block), min(p.kvLen - 1, p.block * 2 + alignDown(qHi, p.block) - 1));
  r.keep1 = tilesOf(p, some && (qLo <= min(qHi, p.block - 1)), 0, p.kvLen - 1);
  r.keep2 = tilesOf(p, some, 0, min(p.kvLen - 1, p.block - 1));
  r.keep3 = tilesOf(p, some, 0, p.kvLen - 1);
  r.keep4 = tilesOf(p, some, 0, p.kvLen - 1);
  r.keep5 = tilesOf(p, some, 0, p.kvLen - 1);
  r.keep6 = tilesOf(p, some, 0, p.kvLen - 1);
  r.keep7 = tilesOf(p, some, 0, p.kvLen - 1);
  r.drop0 = tilesOf(p, some && (max(qLo, p.block) <= qHi), p.block, min(p.kvLen - 1, alignDown(qHi, p.block) - p.block - 1));
  r.drop1 = tilesOf(p, some && (max(qLo, p.block) <= qHi), max(max(0, p.block * 2 + alignDown(max(qLo, p.block), p.block)), p.block), p.kvLen - 1);
  return r;
}
DEVICE bool mayKeep3(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  return max(1, floorDiv(p.kvLen + p.block - 1, p.block)) - floorDiv(qHi, p.block) - 1 <= 0;
}
DEVICE bool mayKeep4(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  return max(1, floorDiv(p.kvLen + p.block - 1, p.block)) - floorDiv(kvHi, p.block) - 1 <= 0;
}
DEVICE bool mayKeep5Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(qLo, p.block);
  bool value_2 = value == floorDiv(qHi, p.block);
  int value_3 = hashStep(hashStep(hashStep(165902235, p.seed), p.head), value);
  int value_4 = value_2 ? value_3 : 0;
  bool value_5 = value_4 == (value_2 ? value_3 : 2147483647);
  int value_6 = hashStep(value_4, 0);
  int value_7 = value_5 ? value_6 : 0;
  int value_8 = max(1, floorDiv(p.kvLen + p.block - 1, p.block));
  int value_9 = value_5 ? value_6 : 2147483647;
  bool value_10 = floorDiv(value_7, value_8) == floorDiv(value_9, value_8);
  return (value_10 ? floorMod(value_7, value_8) : 0) <= floorDiv(kvHi, p.block) && floorDiv(kvLo, p.block) <= (value_10 ? floorMod(value_9, value_8) : value_8 - 1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayKeep5(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.block + alignDown(qLo, p.block);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    may = qFirst <= qLast && mayKeep5Piece(call, p, qFirst, qLast, kvLo, kvHi);
  }
  return may;
}
DEVICE bool mayKeep6Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(qLo, p.block);
  bool value_2 = value == floorDiv(qHi, p.block);
  int value_3 = hashStep(hashStep(hashStep(165902235, p.seed), p.head), value);
  int value_4 = value_2 ? value_3 : 0;
  bool value_5 = value_4 == (value_2 ? value_3 : 2147483647);
  int value_6 = hashStep(value_4, 1);
  int value_7 = value_5 ? value_6 : 0;
  int value_8 = max(1, floorDiv(p.kvLen + p.block - 1, p.block));
  int value_9 = value_5 ? value_6 : 2147483647;
  bool value_10 = floorDiv(value_7, value_8) == floorDiv(value_9, value_8);
  return (value_10 ? floorMod(value_7, value_8) : 0) <= floorDiv(kvHi, p.block) && floorDiv(kvLo, p.block) <= (value_10 ? floorMod(value_9, value_8) : value_8 - 1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayKeep6(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.block + alignDown(qLo, p.block);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    may = qFirst <= qLast && mayKeep6Piece(call, p, qFirst, qLast, kvLo, kvHi);
  }
  return may;
}
DEVICE bool mayKeep7Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(qLo, p.block);
  bool value_2 = value == floorDiv(qHi, p.block);
  int value_3 = hashStep(hashStep(hashStep(165902235, p.seed), p.head), value);
  int value_4 = value_2 ? value_3 : 0;
  bool value_5 = value_4 == (value_2 ? value_3 : 2147483647);
  int value_6 = hashStep(value_4, 2);
  int value_7 = value_5 ? value_6 : 0;
  int value_8 = max(1, floorDiv(p.kvLen + p.block - 1, p.block));
  int value_9 = value_5 ? value_6 : 2147483647;
  bool value_10 = floorDiv(value_7, value_8) == floorDiv(value_9, value_8);
  return (value_10 ? floorMod(value_7, value_8) : 0) <= floorDiv(kvHi, p.block) && floorDiv(kvLo, p.block) <= (value_10 ? floorMod(value_9, value_8) : value_8 - 1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayKeep7(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.block + alignDown(qLo, p.block);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    may = qFirst <= qLast && mayKeep7Piece(call, p, qFirst, qLast, kvLo, kvHi);
  }
  return may;
}
DEVICE bool mayDrop0Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = max(kvLo, p.block);
  int value_2 = max(max(qLo, p.block), p.block * 2 + alignDown(value, p.block));
  int value_3 = floorDiv(value_2, p.block);
  int value_4 = max(1, floorDiv(p.kvLen + p.block - 1, p.block));
  int value_5 = floorDiv(value, p.block);
  bool value_6 = value_3 == floorDiv(qHi, p.block);
  int value_7 = hashStep(hashStep(hashStep(165902235, p.seed), p.head), value_3);
  int value_8 = value_6 ? value_7 : 0;
  bool value_9 = value_8 == (value_6 ? value_7 : 2147483647);
  int value_10 = hashStep(value_8, 0);
  int value_11 = value_9 ? value_10 : 0;
  int value_12 = value_9 ? value_10 : 2147483647;
  bool value_13 = floorDiv(value_11, value_4) == floorDiv(value_12, value_4);
  int value_14 = value_13 ? floorMod(value_11, value_4) : 0;
  int value_15 = value_4 - 1;
  int value_16 = min(kvHi, alignDown(qHi, p.block) - p.block - 1);
  bool value_17 = value_5 == floorDiv(value_16, p.block);
  int value_18 = hashStep(value_8, 1);
  int value_19 = value_9 ? value_18 : 0;
  int value_20 = value_9 ? value_18 : 2147483647;
  bool value_21 = floorDiv(value_19, value_4) == floorDiv(value_20, value_4);
  int value_22 = value_21 ? floorMod(value_19, value_4) : 0;
  int value_23 = hashStep(value_8, 2);
  int value_24 = value_9 ? value_23 : 0;
  int value_25 = value_9 ? value_23 : 2147483647;
  bool value_26 = floorDiv(value_24, value_4) == floorDiv(value_25, value_4);
  int value_27 = value_26 ? floorMod(value_24, value_4) : 0;
  return value_3 + 2 - value_4 <= 0 && value_5 + 2 - value_4 <= 0 && !(value_14 == (value_13 ? floorMod(value_12, value_4) : value_15) && value_17 && value_14 == value_5) && !(value_22 == (value_21 ? floorMod(value_20, value_4) : value_15) && value_17 && value_22 == value_5) && !(value_27 == (value_26 ? floorMod(value_25, value_4) : value_15) && value_17 && value_27 == value_5) && value_2 <= qHi && value <= value_16;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop0(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.block + alignDown(qLo, p.block);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    may = qFirst <= qLast && mayDrop0Piece(call, p, qFirst, qLast, kvLo, kvHi);
  }
  return may;
}
DEVICE bool mayDrop1Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = max(qLo, p.block);
  int value_2 = floorDiv(value, p.block);
  int value_3 = max(1, floorDiv(p.kvLen + p.block - 1, p.block));
  int value_4 = max(max(kvLo, p.block * 2 + alignDown(value, p.block)), p.block);
  int value_5 = floorDiv(value_4, p.block);
  int value_6 = min(qHi, alignDown(kvHi, p.block) - p.block - 1);
  bool value_7 = value_2 == floorDiv(value_6, p.block);
  int value_8 = hashStep(hashStep(hashStep(165902235, p.seed), p.head), value_2);
  int value_9 = value_7 ? value_8 : 0;
  bool value_10 = value_9 == (value_7 ? value_8 : 2147483647);
  int value_11 = hashStep(value_9, 0);
  int value_12 = value_10 ? value_11 : 0;
  int value_13 = value_10 ? value_11 : 2147483647;
  bool value_14 = floorDiv(value_12, value_3) == floorDiv(value_13, value_3);
  int value_15 = value_14 ? floorMod(value_12, value_3) : 0;
  int value_16 = value_3 - 1;
  bool value_17 = value_5 == floorDiv(kvHi, p.block);
  int value_18 = hashStep(value_9, 1);
  int value_19 = value_10 ? value_18 : 0;
  int value_20 = value_10 ? value_18 : 2147483647;
  bool value_21 = floorDiv(value_19, value_3) == floorDiv(value_20, value_3);
  int value_22 = value_21 ? floorMod(value_19, value_3) : 0;
  int value_23 = hashStep(value_9, 2);
  int value_24 = value_10 ? value_23 : 0;
  int value_25 = value_10 ? value_23 : 2147483647;
  bool value_26 = floorDiv(value_24, value_3) == floorDiv(value_25, value_3);
  int value_27 = value_26 ? floorMod(value_24, value_3) : 0;
  return value_2 + 2 - value_3 <= 0 && value_5 + 2 - value_3 <= 0 && !(value_15 == (value_14 ? floorMod(value_13, value_3) : value_16) && value_17 && value_15 == value_5) && !(value_22 == (value_21 ? floorMod(value_20, value_3) : value_16) && value_17 && value_22 == value_5) && !(value_27 == (value_26 ? floorMod(value_25, value_3) : value_16) && value_17 && value_27 == value_5) && value <= value_6 && value_4 <= kvHi;
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop1(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.block + alignDown(qLo, p.block);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 2 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    may = qFirst <= qLast && mayDrop1Piece(call, p, qFirst, qLast, kvLo, kvHi);
  }
  return may;
}
// The least tile >= from that a kept term's interval holds, or NO_TILE.
DEVICE int nextCandidate(Reach const& r, int from) {
  return min(nextOf(r.keep0, from), min(nextOf(r.keep1, from), min(nextOf(r.keep2, from), min(nextOf(r.keep3, from), min(nextOf(r.keep4, from), min(nextOf(r.keep5, from), min(nextOf(r.keep6, from), nextOf(r.keep7, from))))))));
}
// `begin` is a candidate: the greatest tile such that all from begin to it are candidates, of any term.
DEVICE int candidatesEnd(Reach const& r, int begin) {
  int end = begin;
  for (int again = 0; again < 8; again++) {
    if (r.keep0.first <= end + 1) end = max(end, r.keep0.last);
    if (r.keep1.first <= end + 1) end = max(end, r.keep1.last);
    if (r.keep2.first <= end + 1) end = max(end, r.keep2.last);
    if (r.keep3.first <= end + 1) end = max(end, r.keep3.last);
    if (r.keep4.first <= end + 1) end = max(end, r.keep4.last);
    if (r.keep5.first <= end + 1) end = max(end, r.keep5.last);
    if (r.keep6.first <= end + 1) end = max(end, r.keep6.last);
    if (r.keep7.first <= end + 1) end = max(end, r.keep7.last);
  }
  return end;
}
// A kept term reaches the tile: its interval holds it and its test, if any, allows it.
DEVICE bool isReached(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return holds(r.keep0, tile) || holds(r.keep1, tile) || holds(r.keep2, tile) || (holds(r.keep3, tile) && mayKeep3(call, p, r.qLo, r.qHi, kvLo, kvHi)) || (holds(r.keep4, tile) && mayKeep4(call, p, r.qLo, r.qHi, kvLo, kvHi)) || (holds(r.keep5, tile) && mayKeep5(call, p, r.qLo, r.qHi, kvLo, kvHi)) || (holds(r.keep6, tile) && mayKeep6(call, p, r.qLo, r.qHi, kvLo, kvHi)) || (holds(r.keep7, tile) && mayKeep7(call, p, r.qLo, r.qHi, kvLo, kvHi));
}
// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return (tile + 1) * TILE_KV <= p.kvLen && !(holds(r.drop0, tile) && mayDrop0(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop1, tile) && mayDrop1(call, p, r.qLo, r.qHi, kvLo, kvHi));
}

// q and kv are positions; kv < kvLen is the caller's to check.
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) {
  int ofRow = floorDiv(q, p.block) - 1;
  int ofColumn = floorDiv(kv, p.block);
  int ofRow_2 = floorDiv(q, p.block) + 1;
  bool ofRow_3 = floorDiv(q, p.block) <= 0;
  bool ofColumn_2 = ofColumn <= 0;
  bool ofRow_4 = max(1, floorDiv(p.kvLen + p.block - 1, p.block)) - 1 <= floorDiv(q, p.block);
  bool ofColumn_3 = max(1, floorDiv(p.kvLen + p.block - 1, p.block)) - 1 <= ofColumn;
  int ofRow_5 = floorMod(hashStep(hashStep(hashStep(hashStep(165902235, p.seed), p.head), floorDiv(q, p.block)), 0), max(1, floorDiv(p.kvLen + p.block - 1, p.block)));
  int ofRow_6 = floorMod(hashStep(hashStep(hashStep(hashStep(165902235, p.seed), p.head), floorDiv(q, p.block)), 1), max(1, floorDiv(p.kvLen + p.block - 1, p.block)));
  int ofRow_7 = floorMod(hashStep(hashStep(hashStep(hashStep(165902235, p.seed), p.head), floorDiv(q, p.block)), 2), max(1, floorDiv(p.kvLen + p.block - 1, p.block)));
  return (ofRow <= ofColumn && ofColumn <= ofRow_2) || ofRow_3 || ofColumn_2 || ofRow_4 || ofColumn_3 || ofRow_5 == ofColumn || ofRow_6 == ofColumn || ofRow_7 == ofColumn;
}

// s is scale * (q . k), natural-log units.
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return s; }

DEVICE float sinkLogitOf(Call const& call, Place const& p) { return -INFINITE; }
