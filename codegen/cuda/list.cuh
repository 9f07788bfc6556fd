// list: the tiles that keep a pair, in ascending order, for the walk of tiles.cuh. With LOOKS every pair of a candidate tile is
// looked at; without, the tests of the pattern decide. A block makes the record of one (batch, head or all heads, query tile): a count, then a word a tile.

constexpr int LIST_THREADS = 256;
constexpr int LIST_WARPS = LIST_THREADS / 32;
constexpr u32 LIST_FULL = 1u << 31;  // no pair of a real row is dropped, and the tile lies inside kvLen
constexpr u32 SEEN_KEPT = 1u, SEEN_DROPPED = 2u;

// Which of the two a tile holds; the warp stops once it has seen both. Rows [rowLo, rowHi) are real. A lane keeps to a column
// for some rows, so that what depends on the key alone is read once for them.
DEVICE u32 lookAtTile(Call const& call, Place const& place, int rowLo, int rowHi, int tile) {
  constexpr int ROWS = 16;
  int kvLo = tile * TILE_KV, kvHi = min(kvLo + TILE_KV, place.kvLen);
  bool kept = false, dropped = false;
  for (int first = rowLo; first < rowHi; first += ROWS) {
    int past = min(first + ROWS, rowHi);
    for (int kv = kvLo + laneIndex(); kv < kvHi; kv += 32) {
      for (int row = first; row < past; row++) {
        bool keep = keeps(call, place, row + place.qShift, kv);
        kept = kept | keep;
        dropped = dropped | !keep;
      }
    }
    if (ballotLanes(kept) != 0u && ballotLanes(dropped) != 0u) return SEEN_KEPT | SEEN_DROPPED;
  }
  return (ballotLanes(kept) != 0u ? SEEN_KEPT : 0u) | (ballotLanes(dropped) != 0u ? SEEN_DROPPED : 0u);
}

KERNEL(LIST_THREADS, 1) ENTRY(list)(Call call) {
  int lane = laneIndex(), warp = (int)threadIdx.x / 32;
  int qTiles = (call.qRows + TILE_Q - 1) / TILE_Q;
  int owner = (int)blockIdx.x / qTiles, qTile = (int)blockIdx.x % qTiles;
  int batch = SHARES_LISTS ? owner : owner / call.qHeads;
  Place place = placeOf(call, batch, SHARES_LISTS ? 0 : owner % call.qHeads);
  int rowLo = max(qTile * TILE_Q, place.qRow), rowHi = min((qTile + 1) * TILE_Q, place.qRow + place.qLen);
  Reach reach = reachOf(call, place, rowLo + place.qShift, rowHi - 1 + place.qShift);
  unsigned* record = call.list + ((long long)owner * qTiles + qTile) * call.listStride;
  u32* seen = (u32*)sharedBase();  // of 32 tiles
  int count = 0;
  for (int base = rowLo < rowHi ? nextCandidate(reach, 0) : NO_TILE; base != NO_TILE;
       base = nextCandidate(reach, base + 32)) {
    int tile = base + lane;
    bool candidate = isReached(call, place, reach, tile);
    u32 candidates = ballotLanes(candidate);
    u32 known = ballotLanes(candidate && isFull(call, place, reach, tile));
    int rank = 0;
    for (u32 left = LOOKS ? candidates : 0u; left != 0u; left &= left - 1u, rank++) {
      if (rank % LIST_WARPS != warp) continue;
      int bit = lowestBit(left);
      u32 found = (known >> bit) & 1u ? SEEN_KEPT : lookAtTile(call, place, rowLo, rowHi, base + bit);
      if (lane == 0) seen[bit] = found;
    }
    if (LOOKS) syncThreads();
    u32 found = SEEN_KEPT | ((known >> lane) & 1u ? 0u : SEEN_DROPPED);
    if (LOOKS) found = seen[lane];
    if (!candidate) found = 0u;
    u32 kept = ballotLanes((found & SEEN_KEPT) != 0u);
    if (warp == 0 && (kept >> lane) & 1u) {
      bool full = found == SEEN_KEPT && (tile + 1) * TILE_KV <= place.kvLen;
      record[1 + count + countBits(kept & ((1u << lane) - 1u))] = (u32)tile | (full ? LIST_FULL : 0u);
    }
    count += countBits(kept);
    // The next window's words must not overtake these reads.
    if (LOOKS) syncThreads();
  }
  if (threadIdx.x == 0u) record[0] = (u32)count;
}
