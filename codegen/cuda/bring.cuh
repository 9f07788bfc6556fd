// The bringing warp of a Hopper block: tiles of K and V by boxes of the copy engine, as the walk of tiles.cuh names them.

// The queries of a tile have its keys in common.
struct RowKeys {};
DEVICE RowKeys rowKeysOf(Call const&, Place const&, int) { return {}; }
DEVICE bool hasTile(RowKeys&, Units const&) { return true; }

// Rows of a tensor that a tile, or a unit of it, has: row first + i * step for each i from `from` on.
struct Run {
  int first, from;
};
DEVICE Run queriesOf(Place const& place, int index) { return {rowAt(place, 0), index}; }
DEVICE Run keysOf(Place const& place, int unit) { return {place.kvStart + keyAt(place, 0), unit * UNIT_KV}; }

// Of a list those that the tile's entry names.
DEVICE Units unitsOf(Walk const& walk, int tile) {
  Units units = {};
#pragma unroll
  for (int u = 0; u < UNITS; u++) units.id[u] = UNITS == 1 ? tile : (int)(walk.list[1 + tile * UNITS + u] & UNIT_INDEX);
  return units;
}
DEVICE int broughtOf(Place const& place, int unit) { return UNITS == 1 ? unit : min(unit, max(place.kvLen - 1, 0) / UNIT_KV); }

// A box of a run's rows.
DEVICE void copyRun(u32 shared, TensorMap const& map, u32 barrier, int column, Place const& place, Run run, int head, int batch, u64 policy) {
  if (ORDERED) {
    int const skipped = stepsTo(place, run.first);
    copyBox(shared, map, barrier, column, run.from + skipped, run.first - skipped * stepOf(place), head, batch, policy);
  } else {
    copyBox(shared, map, barrier, column, run.first + run.from, head, batch, policy);
  }
}

// A map by remainder has as many rows of each as the remainder with the fewest: a row behind those is not copied by a box.
template <int count>
DEVICE bool isCut(Place const& place, Run run, int rows) {
  if (!ORDERED) return false;
  int const step = stepOf(place), whole = stepsTo(place, rows), skipped = stepsTo(place, run.first);
  return run.first - skipped * step < rows - whole * step && skipped + run.from + count > whole;
}

// Rows copied by hand to where a tile of `rows` rows has them, swizzled as a box would be, with zeros for those at or beyond
// `limit`.
template <int rows, int count, int dims, int chunkBytes>
DEVICE void copyByHand(u16 const* from, long long rowStride, int dim, Place const& place, Run run, int limit, unsigned char* to) {
  constexpr int UNITS = dims / 8, CHUNK = chunkBytes / 2;
  for (int i = laneIndex(); i < count * UNITS; i += 32) {
    int row = i / UNITS, column = i % UNITS * 8;
    int const at = run.first + (run.from + row) * stepOf(place);
    u32 words[4] = {0u, 0u, 0u, 0u};
    if (at < limit) {
      u16 const* p = from + at * rowStride + column;
      if (column + 8 <= dim) {
        uint4 v = *(uint4 const*)p;
        words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
      } else {
#pragma unroll
        for (int e = 0; e < 8; e++)
          if (column + e < dim) words[e / 2] |= (u32)p[e] << (16 * (e & 1));
      }
    }
    int unit = column % CHUNK / 8;
    int swizzled = chunkBytes == 128 ? unit ^ (row & 7) : unit ^ ((row >> 1) & 3);
    unsigned char* target = to + column / CHUNK * (rows * chunkBytes) + row * chunkBytes + swizzled * 16;
    *(uint4*)target = make_uint4(words[0], words[1], words[2], words[3]);
  }
  fenceAsync();
  syncLanes();
}

// The bringing warp.
DEVICE void produce(Call const& call, TensorMap const& qMap, TensorMap const& kMap, TensorMap const& vMap, Book* book) {
  unsigned char* base = sharedBase();
  u32 const qShared = sharedAddress(base);
  int const lane = laneIndex();
  Order const order = orderOf(call);
  Turn<STAGES> k = {0, 1u}, v = {0, 1u};  // a fresh barrier's previous phase counts as over
  Turn<Q_STAGES> t = {0, 1u};
  int message = 0;
  if (lane == 0) {
    prefetchMap(qMap);
    prefetchMap(kMap);
    prefetchMap(vMap);
  }

  for (int item = (int)blockIdx.x; item < order.items;) {
    u32 next = 0;
    if (lane == 0) next = atomicNext(call.counters);
    Work const work = workOf(call, order, item);
    Place const place = classOf(placeOf(call, work.batch, work.head), work.row);
    Rows const rows = rowsOf(place, work.qTile);
    Reach const reach = reachOf(call, place, rows.qLo, rows.qHi);
    Walk walk = walkOf(call, place, work.qTile);
    Visit visit = {NO_TILE, false};
    if (rows.qLo <= rows.qHi) visit = nextTile(call, place, reach, walk);
    if (visit.tile == NO_TILE) {
      writeEmpty(call, work, place);
      item = (int)gridDim.x + shuffle((int)next, 0);
      continue;
    }

    barrierWait(sharedAddress(&book->qEmpty[t.stage]), t.parity);
    if (lane == 0) {
      book->messages[message] = {true, work, place};
    }
    Run const queries = queriesOf(place, rows.first);
    u32 const qFull = sharedAddress(&book->qFull[t.stage]);
    if (isCut<TILE_Q>(place, queries, call.qRows)) {
      u16 const* from = (u16 const*)call.q + work.batch * call.qStride[0] + work.head * call.qStride[1];
      copyByHand<TILE_Q, TILE_Q, HEAD_DIM, CHUNK_BYTES_K>(from, call.qStride[2], call.headDim, place, queries, call.qRows, base + t.stage * Q_BYTES);
      if (lane == 0) barrierArrive(qFull);
    } else if (lane == 0) {
      barrierExpect(qFull, Q_BYTES);
#pragma unroll
      for (int c = 0; c < HEAD_DIM / CHUNK_K; c++)
        copyRun(qShared + t.stage * Q_BYTES + c * TILE_Q * CHUNK_BYTES_K, qMap, qFull, c * CHUNK_K, place, queries, work.head, place.batch, EVICT_FIRST);
    }
    t.advance();
    message = (message + 1) % MESSAGES;

    // V is brought one tile behind K: the scores of a tile are computed before the output of the tile before it.
    bool behind = false;
    Units valuesOf = {};
    auto bringValues = [&]() {
      unsigned char* to = base + V_BEGIN + v.stage * V_BYTES;
      u32 full = sharedAddress(&book->vFull[v.stage]);
      barrierWait(sharedAddress(&book->vEmpty[v.stage]), v.parity);
      // Rows beyond kvLen but inside the tensor must be zeros, since a masked weight of zero times a NaN is a NaN.
      bool byHand = false;
#pragma unroll
      for (int u = 0; u < UNITS; u++) {
        int const unit = broughtOf(place, valuesOf.id[u]);
        bool const ends = keyAt(place, (unit + 1) * UNIT_KV - 1) >= place.kvLen && place.kvStart + place.kvLen < call.kvRows;
        byHand = byHand || ends || isCut<UNIT_KV>(place, keysOf(place, unit), call.kvRows);
      }
      if (byHand) {
        u16 const* from = (u16 const*)call.v + work.batch * call.vStride[0] + place.kvHead * call.vStride[1];
        for (int u = 0; u < UNITS; u++)
          copyByHand<TILE_KV, UNIT_KV, VALUE_DIM, CHUNK_BYTES_V>(from, call.vStride[2], call.valueDim, place, keysOf(place, broughtOf(place, valuesOf.id[u])), place.kvStart + place.kvLen, to + u * UNIT_KV * CHUNK_BYTES_V);
        if (lane == 0) barrierArrive(full);
      } else if (lane == 0) {
        barrierExpect(full, V_BYTES);
#pragma unroll
        for (int c = 0; c < VALUE_DIM / CHUNK_V; c++)
#pragma unroll
          for (int u = 0; u < UNITS; u++)
            copyRun(sharedAddress(to) + (c * TILE_KV + u * UNIT_KV) * CHUNK_BYTES_V, vMap, full, c * CHUNK_V, place, keysOf(place, broughtOf(place, valuesOf.id[u])), place.kvHead, place.batch, EVICT_LAST);
      }
      v.advance();
    };
    while (visit.tile != NO_TILE) {
      Visit const after = nextTile(call, place, reach, walk);
      barrierWait(sharedAddress(&book->kEmpty[k.stage]), k.parity);
      Units const keys = unitsOf(walk, visit.tile);
      u32 const full = sharedAddress(&book->kFull[k.stage]);
      int const to = K_BEGIN + k.stage * K_BYTES;
      if (lane == 0) {
        book->tiles[k.stage] = (u32)visit.tile | (visit.full ? TILE_FULL : 0u) | (after.tile == NO_TILE ? TILE_LAST : 0u);
        if (UNITS > 1)
          for (int u = 0; u < UNITS; u++) book->units[k.stage].id[u] = keys.id[u];
      }
      // A class has no units but its tiles.
      if (isCut<TILE_KV>(place, keysOf(place, keys.id[0]), call.kvRows)) {
        u16 const* from = (u16 const*)call.k + work.batch * call.kStride[0] + place.kvHead * call.kStride[1];
        copyByHand<TILE_KV, TILE_KV, HEAD_DIM, CHUNK_BYTES_K>(from, call.kStride[2], call.headDim, place, keysOf(place, keys.id[0]), place.kvStart + place.kvLen, base + to);
        if (lane == 0) barrierArrive(full);
      } else if (lane == 0) {
        barrierExpect(full, K_BYTES);
#pragma unroll
        for (int part = 0; part < K_PARTS; part++)
#pragma unroll
          for (int c = 0; c < HEAD_DIM / CHUNK_K; c++)
#pragma unroll
            for (int u = 0; u < UNITS; u++)
              copyRun(qShared + to + part * K_PART + (c * TILE_KV + u * UNIT_KV) * CHUNK_BYTES_K, kMap, full, c * CHUNK_K, place, keysOf(place, broughtOf(place, keys.id[u])), place.kvHead, place.batch + part * call.batch, EVICT_LAST);
      }
      k.advance();
      if (behind) bringValues();
      behind = true;
      valuesOf = keys;
      visit = after;
    }
    bringValues();
    item = (int)gridDim.x + shuffle((int)next, 0);
  }

  barrierWait(sharedAddress(&book->qEmpty[t.stage]), t.parity);
  if (lane == 0) {
    book->messages[message].more = false;
    barrierExpect(sharedAddress(&book->qFull[t.stage]), 0);
    // The last block to find no more work leaves the counters as it found them.
    fenceGrid();
    if (atomicWrap(call.counters + 1, gridDim.x - 1) == gridDim.x - 1) call.counters[0] = 0u;
  }
}
