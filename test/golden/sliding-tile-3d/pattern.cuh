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
  int tilesT, windowT, windowH, windowW;
  Divisor tilesH, tilesW, tileTokens;
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
  p.tilesT = readOnly(call.values + 0);
  p.tilesH = divisorOf(readOnly(call.values + 1));
  p.tilesW = divisorOf(readOnly(call.values + 2));
  p.tileTokens = divisorOf(readOnly(call.values + 3));
  p.windowT = readOnly(call.values + 4 + head);
  p.windowH = readOnly(call.values + 4 + call.qHeads + head);
  p.windowW = readOnly(call.values + 4 + 2 * call.qHeads + head);
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
  Tiles keep0, keep1, keep2;  // of kept terms
  Tiles drop0, drop1, drop2, drop3, drop4, drop5;  // of dropped terms
  int qLo, qHi;
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
  r.qLo = qLo;
  r.qHi = qHi;
  int value = p.windowT >> 1;
  int value_2 = p.tilesT - p.windowT;
  int value_3 = min(max(floorDiv(floorDiv(floorDiv(qLo, p.tileTokens), p.tilesW), p.tilesH) - value, 0), value_2) * p.tilesH;
  int value_4 = min(max(floorDiv(floorDiv(floorDiv(qHi, p.tileTokens), p.tilesW), p.tilesH) - value, 0), value_2) * p.tilesH;
  int value_5 = min(value_3, value_4) * p.tilesW;
  int value_6 = max(value_3, value_4) * p.tilesW;
  int value_7 = p.tilesT * p.tilesH * p.tilesW * p.tileTokens - 1;
  int value_8 = min(max(floorDiv(floorDiv(floorDiv(min(qHi, value_7), p.tileTokens), p.tilesW), p.tilesH) - value, 0), value_2) * p.tilesH;
  int value_9 = min(value_3, value_8) * p.tilesW;
  int value_10 = max(value_3, value_8) * p.tilesW;
  r.keep0 = tilesOf(p, some && (max(qLo, p.tilesT * p.tilesH * p.tilesW * p.tileTokens) <= qHi), 0, p.kvLen - 1);
  r.keep1 = tilesOf(p, some, p.tilesT * p.tilesH * p.tilesW * p.tileTokens, p.kvLen - 1);
  r.keep2 = tilesOf(p, some, max(0, min(min(value_5, value_6) * p.tileTokens, max(value_5, value_6) * p.tileTokens)), min(p.kvLen - 1, p.windowT * p.tilesH * p.tilesW * p.tileTokens + max(min(value_5, value_6) * p.tileTokens, max(value_5, value_6) * p.tileTokens) - 1));
  r.drop0 = tilesOf(p, some && (qLo <= min(qHi, p.tilesT * p.tilesH * p.tilesW * p.tileTokens - 1)), 0, min(min(p.kvLen - 1, value_7), max(min(value_9, value_10) * p.tileTokens, max(value_9, value_10) * p.tileTokens) - 1));
  r.drop1 = tilesOf(p, some && (qLo <= min(qHi, value_7)), max(0, p.windowT * p.tilesH * p.tilesW * p.tileTokens + min(min(value_9, value_10) * p.tileTokens, max(value_9, value_10) * p.tileTokens)), min(p.kvLen - 1, value_7));
  r.drop2 = tilesOf(p, some && (qLo <= min(qHi, value_7)), 0, min(p.kvLen - 1, value_7));
  r.drop3 = tilesOf(p, some && (qLo <= min(qHi, value_7)), 0, min(p.kvLen - 1, value_7));
  r.drop4 = tilesOf(p, some && (qLo <= min(qHi, value_7)), 0, min(p.kvLen - 1, value_7));
  r.drop5 = tilesOf(p, some && (qLo <= min(qHi, value_7)), 0, min(p.kvLen - 1, value_7));
  return r;
}
DEVICE bool mayKeep2Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(qLo, p.tileTokens);
  int value_2 = floorDiv(value, p.tilesW);
  int value_3 = floorDiv(value_2, p.tilesH);
  int value_4 = floorDiv(qHi, p.tileTokens);
  int value_5 = floorDiv(value_4, p.tilesW);
  int value_6 = floorDiv(value_5, p.tilesH);
  bool value_7 = value_3 == value_6;
  int value_8 = p.windowH >> 1;
  int value_9 = p.tilesH - p.windowH;
  int value_10 = min(max((value_7 ? floorMod(value_2, p.tilesH) : 0) - value_8, 0), value_9);
  int value_11 = p.windowT >> 1;
  int value_12 = p.tilesT - p.windowT;
  int value_13 = min(max(value_3 - value_11, 0), value_12) * p.tilesH;
  int value_14 = min(max(value_6 - value_11, 0), value_12) * p.tilesH;
  int value_15 = min(value_13, value_14) * p.tilesW;
  int value_16 = max(value_13, value_14) * p.tilesW;
  int value_17 = min(value_15, value_16) * p.tileTokens;
  int value_18 = max(value_15, value_16) * p.tileTokens;
  int value_19 = max(kvLo, min(value_17, value_18));
  int value_20 = floorDiv(value_19, p.tileTokens);
  int value_21 = floorDiv(value_20, p.tilesW);
  int value_22 = min(kvHi, p.windowT * p.tilesH * p.tilesW * p.tileTokens + max(value_17, value_18) - 1);
  int value_23 = floorDiv(value_22, p.tileTokens);
  int value_24 = floorDiv(value_23, p.tilesW);
  bool value_25 = floorDiv(value_21, p.tilesH) == floorDiv(value_24, p.tilesH);
  int value_26 = p.tilesH - 1;
  int value_27 = value_25 ? floorMod(value_24, p.tilesH) : value_26;
  int value_28 = max(value_10 - value_27, 1 - p.windowH);
  int value_29 = value_25 ? floorMod(value_21, p.tilesH) : 0;
  int value_30 = min(max((value_7 ? floorMod(value_5, p.tilesH) : value_26) - value_8, 0), value_9);
  int value_31 = max(value_29 - value_30, 0);
  bool value_32 = value_2 == value_5;
  int value_33 = p.windowW >> 1;
  int value_34 = p.tilesW - p.windowW;
  int value_35 = min(max((value_32 ? floorMod(value, p.tilesW) : 0) - value_33, 0), value_34);
  bool value_36 = value_21 == value_24;
  int value_37 = p.tilesW - 1;
  int value_38 = value_36 ? floorMod(value_23, p.tilesW) : value_37;
  int value_39 = max(value_35 - value_38, 1 - p.windowW);
  int value_40 = value_36 ? floorMod(value_20, p.tilesW) : 0;
  int value_41 = min(max((value_32 ? floorMod(value_4, p.tilesW) : value_37) - value_33, 0), value_34);
  int value_42 = max(value_40 - value_41, 0);
  return value_28 <= 0 && value_31 + 1 - p.windowH <= 0 && value_39 <= 0 && value_42 + 1 - p.windowW <= 0 && value_19 <= value_22 && value_28 <= min(value_30 - value_29, 0) && value_31 <= min(value_27 - value_10, p.windowH - 1) && value_39 <= min(value_41 - value_40, 0) && value_42 <= min(value_38 - value_35, p.windowW - 1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayKeep2(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.tileTokens + alignDown(qLo, p.tileTokens);
  int kvCut = p.tileTokens + alignDown(kvLo, p.tileTokens);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 4 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    int kvFirst = piece & 2 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 2 ? kvHi : min(kvHi, kvCut - 1);
    may = qFirst <= qLast && kvFirst <= kvLast && mayKeep2Piece(call, p, qFirst, qLast, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop2Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(floorDiv(kvLo, p.tileTokens), p.tilesW);
  int value_2 = p.tilesT * p.tilesH * p.tilesW * p.tileTokens - 1;
  int value_3 = min(kvHi, value_2);
  int value_4 = floorDiv(floorDiv(value_3, p.tileTokens), p.tilesW);
  bool value_5 = floorDiv(value, p.tilesH) == floorDiv(value_4, p.tilesH);
  int value_6 = value_5 ? floorMod(value, p.tilesH) : 0;
  int value_7 = floorDiv(floorDiv(qLo, p.tileTokens), p.tilesW);
  int value_8 = min(qHi, value_2);
  int value_9 = floorDiv(floorDiv(value_8, p.tileTokens), p.tilesW);
  bool value_10 = floorDiv(value_7, p.tilesH) == floorDiv(value_9, p.tilesH);
  int value_11 = p.tilesH - 1;
  int value_12 = p.windowH >> 1;
  int value_13 = p.tilesH - p.windowH;
  int value_14 = min(max((value_10 ? floorMod(value_9, p.tilesH) : value_11) - value_12, 0), value_13);
  return value_6 + 1 - value_14 <= 0 && qLo <= value_8 && kvLo <= value_3 && value_6 - value_14 <= min((value_5 ? floorMod(value_4, p.tilesH) : value_11) - min(max((value_10 ? floorMod(value_7, p.tilesH) : 0) - value_12, 0), value_13), -1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop2(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.tileTokens + alignDown(qLo, p.tileTokens);
  int kvCut = p.tileTokens + alignDown(kvLo, p.tileTokens);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 4 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    int kvFirst = piece & 2 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 2 ? kvHi : min(kvHi, kvCut - 1);
    may = qFirst <= qLast && kvFirst <= kvLast && mayDrop2Piece(call, p, qFirst, qLast, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop3Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(floorDiv(qLo, p.tileTokens), p.tilesW);
  int value_2 = p.tilesT * p.tilesH * p.tilesW * p.tileTokens - 1;
  int value_3 = min(qHi, value_2);
  int value_4 = floorDiv(floorDiv(value_3, p.tileTokens), p.tilesW);
  bool value_5 = floorDiv(value, p.tilesH) == floorDiv(value_4, p.tilesH);
  int value_6 = p.windowH >> 1;
  int value_7 = p.tilesH - p.windowH;
  int value_8 = min(max((value_5 ? floorMod(value, p.tilesH) : 0) - value_6, 0), value_7);
  int value_9 = floorDiv(floorDiv(kvLo, p.tileTokens), p.tilesW);
  int value_10 = min(kvHi, value_2);
  int value_11 = floorDiv(floorDiv(value_10, p.tileTokens), p.tilesW);
  bool value_12 = floorDiv(value_9, p.tilesH) == floorDiv(value_11, p.tilesH);
  int value_13 = p.tilesH - 1;
  int value_14 = value_12 ? floorMod(value_11, p.tilesH) : value_13;
  return p.windowH + value_8 - value_14 <= 0 && qLo <= value_3 && kvLo <= value_10 && value_8 - value_14 <= min(min(max((value_5 ? floorMod(value_4, p.tilesH) : value_13) - value_6, 0), value_7) - (value_12 ? floorMod(value_9, p.tilesH) : 0), -p.windowH);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop3(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.tileTokens + alignDown(qLo, p.tileTokens);
  int kvCut = p.tileTokens + alignDown(kvLo, p.tileTokens);
  bool may = false;
#pragma unroll 1
  for (int piece = 0; piece < 4 && !may; piece++) {
    int qFirst = piece & 1 ? max(qLo, qCut) : qLo;
    int qLast = piece & 1 ? qHi : min(qHi, qCut - 1);
    int kvFirst = piece & 2 ? max(kvLo, kvCut) : kvLo;
    int kvLast = piece & 2 ? kvHi : min(kvHi, kvCut - 1);
    may = qFirst <= qLast && kvFirst <= kvLast && mayDrop3Piece(call, p, qFirst, qLast, kvFirst, kvLast);
  }
  return may;
}
DEVICE bool mayDrop4Piece(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int value = floorDiv(kvLo, p.tileTokens);
  int value_2 = p.tilesT * p.tilesH * p.tilesW * p.tileTokens - 1;
  int value_3 = min(kvHi, value_2);
  int value_4 = floorDiv(value_3, p.tileTokens);
  bool value_5 = floorDiv(value, p.tilesW) == floorDiv(value_4, p.tilesW);
  int value_6 = value_5 ? floorMod(value, p.tilesW) : 0;
  int value_7 = floorDiv(qLo, p.tileTokens);
  int value_8 = min(qHi, value_2);
  int value_9 = floorDiv(value_8, p.tileTokens);
  bool value_10 = floorDiv(value_7, p.tilesW) == floorDiv(value_9, p.tilesW);
  int value_11 = p.tilesW - 1;
  int value_12 = p.windowW >> 1;
  int value_13 = p.tilesW - p.windowW;
  int value_14 = min(max((value_10 ? floorMod(value_9, p.tilesW) : value_11) - value_12, 0), value_13);
  return value_6 + 1 - value_14 <= 0 && qLo <= value_8 && kvLo <= value_3 && value_6 - value_14 <= min((value_5 ? floorMod(value_4, p.tilesW) : value_11) - min(max((value_10 ? floorMod(value_7, p.tilesW) : 0) - value_12, 0), value_13), -1);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop4(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.tileTokens + alignDown(qLo, p.tileTokens);
  int kvCut = p.tileTokens + alignDown(kvLo, p.tileTokens);
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
  int value = floorDiv(qLo, p.tileTokens);
  int value_2 = p.tilesT * p.tilesH * p.tilesW * p.tileTokens - 1;
  int value_3 = min(qHi, value_2);
  int value_4 = floorDiv(value_3, p.tileTokens);
  bool value_5 = floorDiv(value, p.tilesW) == floorDiv(value_4, p.tilesW);
  int value_6 = p.windowW >> 1;
  int value_7 = p.tilesW - p.windowW;
  int value_8 = min(max((value_5 ? floorMod(value, p.tilesW) : 0) - value_6, 0), value_7);
  int value_9 = floorDiv(kvLo, p.tileTokens);
  int value_10 = min(kvHi, value_2);
  int value_11 = floorDiv(value_10, p.tileTokens);
  bool value_12 = floorDiv(value_9, p.tilesW) == floorDiv(value_11, p.tilesW);
  int value_13 = p.tilesW - 1;
  int value_14 = value_12 ? floorMod(value_11, p.tilesW) : value_13;
  return p.windowW + value_8 - value_14 <= 0 && qLo <= value_3 && kvLo <= value_10 && value_8 - value_14 <= min(min(max((value_5 ? floorMod(value_4, p.tilesW) : value_13) - value_6, 0), value_7) - (value_12 ? floorMod(value_9, p.tilesW) : 0), -p.windowW);
}
// Asked of each side of the position where a period begins: a remainder is only known well inside one period.
DEVICE bool mayDrop5(Call const& call, Place const& p, int qLo, int qHi, int kvLo, int kvHi) {
  int qCut = p.tileTokens + alignDown(qLo, p.tileTokens);
  int kvCut = p.tileTokens + alignDown(kvLo, p.tileTokens);
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
  return min(nextOf(r.keep0, from), min(nextOf(r.keep1, from), nextOf(r.keep2, from)));
}
// `begin` is a candidate: the greatest tile such that all from begin to it are candidates, of any term.
DEVICE int candidatesEnd(Reach const& r, int begin) {
  int end = begin;
  for (int again = 0; again < 3; again++) {
    if (r.keep0.first <= end + 1) end = max(end, r.keep0.last);
    if (r.keep1.first <= end + 1) end = max(end, r.keep1.last);
    if (r.keep2.first <= end + 1) end = max(end, r.keep2.last);
  }
  return end;
}
// A kept term reaches the tile: its interval holds it and its test, if any, allows it.
DEVICE bool isReached(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return holds(r.keep0, tile) || holds(r.keep1, tile) || (holds(r.keep2, tile) && mayKeep2(call, p, r.qLo, r.qHi, kvLo, kvHi));
}
// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, p.kvLen) - 1;
  return (tile + 1) * TILE_KV <= p.kvLen && !(holds(r.drop0, tile)) && !(holds(r.drop1, tile)) && !(holds(r.drop2, tile) && mayDrop2(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop3, tile) && mayDrop3(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop4, tile) && mayDrop4(call, p, r.qLo, r.qHi, kvLo, kvHi)) && !(holds(r.drop5, tile) && mayDrop5(call, p, r.qLo, r.qHi, kvLo, kvHi));
}

// q and kv are positions; kv < kvLen is the caller's to check.
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) {
  int ofRow = min(max(floorDiv(floorDiv(floorDiv(q, p.tileTokens), p.tilesW), p.tilesH) - (p.windowT >> 1), 0), p.tilesT - p.windowT);
  int ofColumn = floorDiv(floorDiv(floorDiv(kv, p.tileTokens), p.tilesW), p.tilesH);
  int ofRow_2 = p.windowT + ofRow;
  int ofRow_3 = min(max(floorMod(floorDiv(floorDiv(q, p.tileTokens), p.tilesW), p.tilesH) - (p.windowH >> 1), 0), p.tilesH - p.windowH);
  int ofColumn_2 = floorMod(floorDiv(floorDiv(kv, p.tileTokens), p.tilesW), p.tilesH);
  int ofRow_4 = p.windowH + ofRow_3;
  int ofRow_5 = min(max(floorMod(floorDiv(q, p.tileTokens), p.tilesW) - (p.windowW >> 1), 0), p.tilesW - p.windowW);
  int ofColumn_3 = floorMod(floorDiv(kv, p.tileTokens), p.tilesW);
  int ofRow_6 = p.windowW + ofRow_5;
  int value = p.tilesT * p.tilesH * p.tilesW * p.tileTokens;
  return value <= q || value <= kv || (ofRow <= ofColumn && ofColumn < ofRow_2 && ofRow_3 <= ofColumn_2 && ofColumn_2 < ofRow_4 && ofRow_5 <= ofColumn_3 && ofColumn_3 < ofRow_6);
}

// s is scale * (q . k), natural-log units.
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return s; }

DEVICE float sinkLogitOf(Call const& call, Place const& p) { return -INFINITE; }
