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
