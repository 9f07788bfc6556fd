// The bringing warps of a Hopper block over sets of keys: runs of up to TILE_KV keys that begin anywhere, and keys by their numbers.
// A run comes as a box of the copy engine, K by one warp and V by another, neither of which waits for the other; keys that lie apart, or
// whose order is not that of memory, come in pieces of sixteen bytes, by all four warps. In: the records that the kernel `list` of
// sets.cuh made. What the mask leaves nothing of is passed over.

constexpr int BRINGING_THREADS = 32 * BRINGING_WARPS;
constexpr int BRINGING_BARRIER = 1;
enum { K_WARP, V_WARP };  // of boxes
constexpr int OWN_KEYS = TILE_KV / BRINGING_WARPS;  // of a tile, that a warp brings in pieces
constexpr int LANE_KEYS = TILE_KV / 32;             // of a tile, that a lane asks the mask about
static_assert(32 % OWN_KEYS == 0 && TILE_KV % 32 == 0, "a lane knows one of its warp's own");

// What a query has of the units that come in ascending order, where the queries of a tile differ.
typedef OwnUnits RowKeys;
DEVICE RowKeys rowKeysOf(Call const& call, Place const& place, int row) { return ownUnitsOf(call, place, row); }
DEVICE bool hasTile(RowKeys& own, Units const& units) { return nextIs(own, units.id[0] / SETS[0].kv); }

// Keys that one tile is made of.
struct Keys {
  bool there, full;  // full: no pair of those that are there is dropped
  int first, count;
  int const* rows;   // null: they are from `first` on
  int known;         // of the warp's own keys the one at this lane, -1: there is none
};

struct SetWalk {
  unsigned const* runs;
  int const* columns;
  int const* order;  // null: a place is a key
  int runCount, columnCount;
  int run, column;   // next
  u32 kept, full;    // of a window of 32 runs
  u32 window;        // the lane's run, of those
  // The keys of the next tile that is not a box: they are read a tile ahead of their use. Key i is in lane i % 32.
  int const* rows;
  int count;
  int keys[LANE_KEYS];
};

DEVICE void lookAhead(SetWalk& walk) {
  int const lane = laneIndex();
  walk.rows = nullptr;
  walk.count = 0;
  if (KEY_ORDER && walk.run < walk.runCount) {
    if ((walk.run & 31) == 0) walk.window = walk.run + lane < walk.runCount ? walk.runs[walk.run + lane] : 0u;
    u32 const run = (u32)shuffle((int)walk.window, walk.run & 31);
    walk.rows = walk.order + runFirst(run);
    walk.count = runLength(run);
    walk.run++;
  } else if (COLUMNS && walk.column < walk.columnCount) {
    walk.rows = walk.columns + walk.column;
    walk.count = min(TILE_KV, walk.columnCount - walk.column);
    walk.column += TILE_KV;
  }
#pragma unroll
  for (int i = 0; i < LANE_KEYS; i++) walk.keys[i] = 32 * i + lane < walk.count ? readOnly(walk.rows + 32 * i + lane) : -1;
}

DEVICE SetWalk setWalkOf(Call const& call, Place const& place, int qLo) {
  int const records = recordsOf(call);
  int const record = RECORD_Q == 0 ? 0 : qLo / RECORD_Q - (place.qRow + place.qShift) / RECORD_Q;
  unsigned const* const words = call.list + (((long long)place.batch * call.qHeads + place.head) * records + record) * call.listStride;
  SetWalk walk = {};
  walk.runCount = (int)words[0];
  walk.columnCount = (int)words[1];
  walk.runs = words + RECORD_HEADER;
  walk.columns = (int const*)walk.runs + walk.runCount;
  if (KEY_ORDER) walk.order = call.order + (long long)sharerOf(place, ORDER_SHARE, call) * call.kvRows;
  lookAhead(walk);
  return walk;
}

// What the mask leaves of the keys that were read ahead, each asked about as the tile that it lies in.
DEVICE Keys gathered(Call const& call, Place const& place, Reach const& reach, SetWalk const& walk, int warp) {
  bool reached = false, full = true;
  int known = -1;
#pragma unroll
  for (int i = 0; i < LANE_KEYS; i++) {
    int const key = walk.keys[i], tile = key / TILE_KV;
    reached = reached || (key >= 0 && isReached(call, place, reach, tile));
    full = full && (key < 0 || isFull(call, place, reach, tile));
    if (warp * OWN_KEYS / 32 == i) known = key;
  }
  known = shuffle(known, warp * OWN_KEYS % 32 + laneIndex() % OWN_KEYS);
  return {ballotLanes(reached) != 0u, ballotLanes(full) == ~0u, 0, walk.count, walk.rows, known};
}

DEVICE Keys nextKeys(Call const& call, Place const& place, Reach const& reach, SetWalk& walk, int warp) {
  while (!KEY_ORDER && (walk.kept != 0u || walk.run < walk.runCount)) {
    if (walk.kept == 0u) {
      int const at = walk.run + laneIndex();
      bool const inside = at < walk.runCount;
      u32 const run = inside ? walk.runs[at] : 0u;
      int const first = runFirst(run), length = runLength(run), low = first / TILE_KV, high = (first + length - 1) / TILE_KV;
      bool const reached = inside && (isReached(call, place, reach, low) || (high != low && isReached(call, place, reach, high)));
      bool const full = reached && isFull(call, place, reach, low) && (high == low || isFull(call, place, reach, high));
      walk.window = run;
      walk.run += 32;
      walk.kept = ballotLanes(reached);
      walk.full = ballotLanes(full);
      continue;
    }
    int const bit = lowestBit(walk.kept);
    walk.kept &= walk.kept - 1u;
    u32 const run = (u32)shuffle((int)walk.window, bit);
    // The tail of a run may be no box, and comes in pieces then.
    int const own = warp * OWN_KEYS + laneIndex() % OWN_KEYS;
    return {true, (walk.full >> bit & 1u) != 0u, runFirst(run), runLength(run), nullptr, own < runLength(run) ? runFirst(run) + own : -1};
  }
  while (walk.rows != nullptr) {
    Keys const keys = gathered(call, place, reach, walk, warp);
    lookAhead(walk);
    if (keys.there) return keys;
  }
  return {};
}

// A run is a box if what the box has behind the last key, too, are zeros.
DEVICE bool isBox(Call const& call, Place const& place, Keys const& keys) {
  return keys.rows == nullptr && (keys.first + TILE_KV <= place.kvLen || place.kvStart + place.kvLen == call.kvRows);
}

// Keys to where a tile has them, swizzled as a box would be: zeros where there is none. A thread's copies complete behind it.
template <int dims, int chunkBytes>
DEVICE void gatherRows(u16 const* from, long long rowStride, int dim, Place const& place, Keys const& keys, u32 to, int warp) {
  constexpr int PIECES = dims / 8, CHUNK = chunkBytes / 2;
  static_assert(OWN_KEYS * PIECES % 32 == 0, "whole warps of pieces");
#pragma unroll
  for (int base = 0; base < OWN_KEYS * PIECES; base += 32) {
    int const i = base + laneIndex(), own = i / PIECES, column = i % PIECES * 8, row = warp * OWN_KEYS + own;
    int const key = shuffle(keys.known, own);
    bool const valid = (u32)key < (u32)place.kvLen & column < dim;
    int const piece = column % CHUNK / 8;
    int const swizzled = chunkBytes == 128 ? piece ^ (row & 7) : piece ^ ((row >> 1) & 3);
    copyAsync16(to + column / CHUNK * (TILE_KV * chunkBytes) + row * chunkBytes + swizzled * 16, from + (valid ? (place.kvStart + key) * rowStride + column : 0), valid);
  }
}

// The boxes of a tile of K or V, by one warp, which arrives for all.
template <int dims, int chunkBytes>
DEVICE void bringBoxes(TensorMap const& map, Place const& place, Keys const& keys, u32 to, u32 full) {
  int const lane = laneIndex();
  if (lane == 0) {
    barrierExpect(full, TILE_KV * dims * 2);
#pragma unroll
    for (int c = 0; c < dims * 2 / chunkBytes; c++)
      copyBox(to + c * TILE_KV * chunkBytes, map, full, c * chunkBytes / 2, place.kvStart + keys.first, place.kvHead, place.batch, EVICT_LAST);
  } else if (lane < BRINGING_WARPS) {
    barrierArrive(full);
  }
}

// A warp's pieces of such a tile.
template <int dims, int chunkBytes>
DEVICE void bringPieces(void const* tensor, long long const (&stride)[3], int dim, Place const& place, Keys const& keys, u32 to, u32 full, int warp) {
  u16 const* const from = (u16 const*)tensor + place.batch * stride[0] + place.kvHead * stride[1];
  gatherRows<dims, chunkBytes>(from, stride[2], dim, place, keys, to, warp);
  barrierArriveCopies(full);
  syncLanes();
  if (laneIndex() == 0) barrierArrive(full);
}

// All four warps come here; the first has the copy engine and the messages.
DEVICE void produce(Call const& call, TensorMap const& qMap, TensorMap const& kMap, TensorMap const& vMap, Book* book) {
  u32 const base = sharedAddress(sharedBase());
  int const lane = laneIndex();
  int const warp = shuffle((int)threadIdx.x >> 5, 0);
  bool const leads = warp == K_WARP;
  Order const order = orderOf(call);
  Turn<STAGES> k = {0, 1u}, v = {0, 1u};  // a fresh barrier's previous phase counts as over
  Turn<Q_STAGES> t = {0, 1u};
  int message = 0, turn = 0;
  // Warps that do not have a box pass over its stages without waiting for them, and all meet before they wait for one together.
  bool together = true;
  if (leads && lane == 0) {
    prefetchMap(qMap);
    prefetchMap(kMap);
    prefetchMap(vMap);
  }

  for (int item = (int)blockIdx.x; item < order.items;) {
    if (leads && lane == 0) book->next[turn] = (int)gridDim.x + (int)atomicNext(call.counters);
    // The next is read where all have done with this one, and written again only a query tile later.
    auto advance = [&]() {
      namedSync(BRINGING_BARRIER, BRINGING_THREADS);
      together = true;
      item = book->next[turn];
      turn ^= 1;
    };
    Work const work = workOf(call, order, item);
    Place const place = placeOf(call, work.batch, work.head);
    Rows const rows = rowsOf(place, work.qTile);
    Reach const reach = reachOf(call, place, rows.qLo, rows.qHi);
    Keys keys = {};
    SetWalk walk = {};
    if (rows.qLo <= rows.qHi) {
      walk = setWalkOf(call, place, rows.qLo);
      keys = nextKeys(call, place, reach, walk, warp);
    }
    if (!keys.there) {
      if (leads) writeEmpty(call, work, place);
      advance();
      continue;
    }

    if (leads) {
      barrierWait(sharedAddress(&book->qEmpty[t.stage]), t.parity);
      if (lane == 0) {
        book->messages[message] = {true, work, place};
        u32 const full = sharedAddress(&book->qFull[t.stage]);
        barrierExpect(full, Q_BYTES);
#pragma unroll
        for (int c = 0; c < HEAD_DIM / CHUNK_K; c++)
          copyBox(base + t.stage * Q_BYTES + c * TILE_Q * CHUNK_BYTES_K, qMap, full, c * CHUNK_K, rowAt(place, rows.first), work.head, place.batch, EVICT_FIRST);
      }
    }
    t.advance();
    message = (message + 1) % MESSAGES;

    // Pieces of V are brought one tile behind K's: the scores of a tile are computed before the output of the tile before it.
    Keys valuesOf = {};
    bool behind = false;
    auto bringValues = [&](bool boxes) {
      u32 const to = base + V_BEGIN + v.stage * V_BYTES, full = sharedAddress(&book->vFull[v.stage]);
      if (!boxes || warp == V_WARP) {
        barrierWait(sharedAddress(&book->vEmpty[v.stage]), v.parity);
        if (boxes) bringBoxes<VALUE_DIM, CHUNK_BYTES_V>(vMap, place, valuesOf, to, full);
        else bringPieces<VALUE_DIM, CHUNK_BYTES_V>(call.v, call.vStride, call.valueDim, place, valuesOf, to, full, warp);
      }
      v.advance();
      behind = false;
    };
    while (keys.there) {
      Keys const after = nextKeys(call, place, reach, walk, warp);
      bool const boxes = isBox(call, place, keys);
      u32 const to = base + K_BEGIN + k.stage * K_BYTES, full = sharedAddress(&book->kFull[k.stage]);
      if (!boxes && !together) namedSync(BRINGING_BARRIER, BRINGING_THREADS);
      together = !boxes;
      if (!boxes || leads) {
        barrierWait(sharedAddress(&book->kEmpty[k.stage]), k.parity);
        if (leads && lane == 0) {
          book->tiles[k.stage] = (u32)keys.first | (keys.full ? TILE_FULL : 0u) | (after.there ? 0u : TILE_LAST);
          book->units[k.stage].count = keys.count;
          book->units[k.stage].rows = keys.rows;
        }
        // The other lanes' arrivals speak for what the first has written.
        syncLanes();
        if (boxes) bringBoxes<HEAD_DIM, CHUNK_BYTES_K>(kMap, place, keys, to, full);
        else bringPieces<HEAD_DIM, CHUNK_BYTES_K>(call.k, call.kStride, call.headDim, place, keys, to, full, warp);
      }
      k.advance();
      if (behind) bringValues(false);
      valuesOf = keys;
      behind = !boxes;
      if (boxes) bringValues(true);
      keys = after;
    }
    if (behind) bringValues(false);
    advance();
  }

  if (!leads) return;
  barrierWait(sharedAddress(&book->qEmpty[t.stage]), t.parity);
  if (lane == 0) {
    book->messages[message].more = false;
    barrierExpect(sharedAddress(&book->qFull[t.stage]), 0);
    // The last block to find no more work leaves the counters as it found them.
    fenceGrid();
    if (atomicWrap(call.counters + 1, gridDim.x - 1) == gridDim.x - 1) call.counters[0] = 0u;
  }
}
