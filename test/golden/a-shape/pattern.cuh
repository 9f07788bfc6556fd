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
  // The params and derived uniforms that the pattern reads.
  int window, sinkTokens;
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
  p.window = readOnly(call.values + 0);
  p.sinkTokens = readOnly(call.values + 1);
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
  Tiles drop0, drop1;  // of dropped terms
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  bool some = qLo <= qHi;
  r.keep0 = tilesOf(p, some, max(0, qLo + 1 - p.window), min(p.kvLen - 1, qHi));
  r.keep1 = tilesOf(p, some, 0, min(min(p.kvLen - 1, qHi), p.sinkTokens - 1));
  r.drop0 = tilesOf(p, some, max(0, qLo + 1), p.kvLen - 1);
  r.drop1 = tilesOf(p, some, p.sinkTokens, min(p.kvLen - 1, qHi - p.window));
  return r;
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
  return holds(r.keep0, tile) || holds(r.keep1, tile);
}
// The tile lies inside kvLen and no dropped term reaches it.
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  return (tile + 1) * TILE_KV <= p.kvLen && !(holds(r.drop0, tile)) && !(holds(r.drop1, tile));
}

// q and kv are positions; kv < kvLen is the caller's to check.
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) { return (kv <= q) & ((q - kv < p.window) | (kv < p.sinkTokens)); }

// s is scale * (q . k), natural-log units.
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return s; }

DEVICE float sinkLogitOf(Call const& call, Place const& p) { return -INFINITE; }
