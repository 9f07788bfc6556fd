// Attention for Hopper: one warp brings tiles of K and V by TMA, CONSUMERS warpgroups of 64 query rows each multiply them by
// wgmma. A block stays and takes query tiles from a counter, longest first; the bringing warp runs ahead of the multiplying
// ones, across query tiles too. In: tensor maps of Q, K, V. Out: `out` and `lse`.
//
// The products of a warpgroup run behind its program: while it does the softmax of one tile, the output of the tile before is
// multiplied. The warpgroups of a block drift apart by themselves, so that one's products run under another's exponentials, and
// under its stores at the end of a query tile; taking turns by named barriers was measured and is 3 to 6 % slower.

constexpr int CHUNK_BYTES_K = HEAD_DIM % 64 == 0 ? 128 : 64;   // a swizzled row of shared memory
constexpr int CHUNK_BYTES_V = VALUE_DIM % 64 == 0 ? 128 : 64;
constexpr int CHUNK_K = CHUNK_BYTES_K / 2;                     // its columns
constexpr int CHUNK_V = CHUNK_BYTES_V / 2;
constexpr int Q_BYTES = TILE_Q * HEAD_DIM * 2;
constexpr int K_BYTES = TILE_KV * HEAD_DIM * 2;
constexpr int V_BYTES = TILE_KV * VALUE_DIM * 2;
constexpr int K_BEGIN = Q_STAGES * Q_BYTES;                    // places in shared memory: Q, K, V, barriers and messages
constexpr int V_BEGIN = K_BEGIN + STAGES * K_BYTES;
constexpr int BOOK = V_BEGIN + STAGES * V_BYTES;
constexpr int SHARED_BYTES = BOOK + 1024;
constexpr int CONSUMER_WARPS = CONSUMERS * 4;
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
  int units[4][UNITS];
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

// Rows of a tensor that a tile, or a unit of it, has: row first + i * step for each i from `from` on.
struct Run {
  int first, from;
};
DEVICE Run queriesOf(Place const& place, int index) { return {rowAt(place, 0), index}; }
DEVICE Run keysOf(Place const& place, int unit) { return {place.kvStart + keyAt(place, 0), unit * UNIT_KV}; }

// The units that a tile has: one, itself, or of a list those that its entry names. A unit behind the last key stands for none:
// another one is brought in its place, and the mask drops it.
struct Units {
  int id[UNITS];
};
DEVICE Units unitsOf(Walk const& walk, int tile) {
  Units units;
#pragma unroll
  for (int u = 0; u < UNITS; u++) units.id[u] = UNITS == 1 ? tile : (int)(walk.list[1 + tile * UNITS + u] & UNIT_INDEX);
  return units;
}
DEVICE int broughtOf(Place const& place, int unit) { return UNITS == 1 ? unit : min(unit, max(place.kvLen - 1, 0) / UNIT_KV); }

// A box of a run's rows.
DEVICE void copyRun(u32 shared, TensorMap const& map, u32 barrier, int column, Place const& place, Run run, int head, u64 policy) {
  if (ORDERED) {
    int const skipped = stepsTo(place, run.first);
    copyBox(shared, map, barrier, column, run.from + skipped, run.first - skipped * stepOf(place), head, place.batch, policy);
  } else {
    copyBox(shared, map, barrier, column, run.first + run.from, head, place.batch, policy);
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

// The row's part of the scratch, of an earlier pass.
DEVICE float* partialRow(Call const& call, Work const& work, int r) {
  return call.scratch + (((long long)work.batch * call.qHeads + work.head) * call.qRows + r) * VALUE_DIM;
}

// A query tile that no key meets: zeros, and the LSE of nothing or of the sink alone; or what an earlier pass has of its rows.
DEVICE void writeEmpty(Call const& call, Work const& work, Place const& place) {
  u16* const out = (u16*)call.out + work.batch * call.outStride[0] + work.head * call.outStride[1];
  float* const lses = call.lse + ((long long)work.batch * call.qHeads + work.head) * call.qRows;
  float const sink = SINK ? sinkLogitOf(call, place) : -INFINITE;
  int const first = work.qTile * TILE_Q;
  for (int i = max(first, rowsBefore(place, 0)); !PARTIAL && i < first + TILE_Q && rowAt(place, i) < call.qRows; i++) {
    int const r = rowAt(place, i);
    bool const held = MERGES && lses[r] != -INFINITE;
    for (int column = laneIndex(); column < call.valueDim; column += 32)
      out[r * call.outStride[2] + column] = held ? (u16)packHalves(partialRow(call, work, r)[column], 0.0f) : (u16)0;
  }
  for (int i = max(first, rowsBefore(place, 0)) + laneIndex(), r = rowAt(place, i); !MERGES && i < first + TILE_Q && r < call.qRows; i += 32, r = rowAt(place, i))
    lses[r] = r >= place.qRow & r < place.qRow + place.qLen ? sink : -INFINITE;
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
        copyRun(qShared + t.stage * Q_BYTES + c * TILE_Q * CHUNK_BYTES_K, qMap, qFull, c * CHUNK_K, place, queries, work.head, EVICT_FIRST);
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
            copyRun(sharedAddress(to) + (c * TILE_KV + u * UNIT_KV) * CHUNK_BYTES_V, vMap, full, c * CHUNK_V, place, keysOf(place, broughtOf(place, valuesOf.id[u])), place.kvHead, EVICT_LAST);
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
          for (int u = 0; u < UNITS; u++) book->units[k.stage][u] = keys.id[u];
      }
      // A class has no units but its tiles.
      if (isCut<TILE_KV>(place, keysOf(place, keys.id[0]), call.kvRows)) {
        u16 const* from = (u16 const*)call.k + work.batch * call.kStride[0] + place.kvHead * call.kStride[1];
        copyByHand<TILE_KV, TILE_KV, HEAD_DIM, CHUNK_BYTES_K>(from, call.kStride[2], call.headDim, place, keysOf(place, keys.id[0]), place.kvStart + place.kvLen, base + to);
        if (lane == 0) barrierArrive(full);
      } else if (lane == 0) {
        barrierExpect(full, K_BYTES);
#pragma unroll
        for (int c = 0; c < HEAD_DIM / CHUNK_K; c++)
#pragma unroll
          for (int u = 0; u < UNITS; u++)
            copyRun(qShared + to + (c * TILE_KV + u * UNIT_KV) * CHUNK_BYTES_K, kMap, full, c * CHUNK_K, place, keysOf(place, broughtOf(place, keys.id[u])), place.kvHead, EVICT_LAST);
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

// A thread's two rows of a warpgroup's 64, and what is known of their softmax: greatest score so far, in the units of the
// accumulators, and the sum of this thread's weights.
struct Softmax {
  float max0, max1, sum0, sum1;
};

DEVICE float quadMax(float x) {
  x = fmaxf(x, shuffleXor(x, 1));
  return fmaxf(x, shuffleXor(x, 2));
}
DEVICE float quadSum(float x) {
  x += shuffleXor(x, 1);
  return x + shuffleXor(x, 2);
}

// Accumulator i of a thread: of its first row (i & 2 is 0) or second, at this column of the tile.
DEVICE int columnOf(int i) { return (i >> 2) * 8 + (laneIndex() & 3) * 2 + (i & 1); }

// The position of accumulator i's key, or of the key in that column where `units` are whole tiles.
DEVICE int positionOf(Place const& place, Units const& units, int i) {
  int const column = columnOf(i), u = UNITS == 1 ? 0 : (i >> 2) * 8 / UNIT_KV;
  return keyAt(place, units.id[u] * UNIT_KV + column - u * UNIT_KV);
}

DEVICE void maskScores(Call const& call, Place const& place, float (&s)[S_COUNT], Units const& units, int q0, int q1) {
  if (UNROLL_MASK) {
#pragma unroll
    for (int i = 0; i < S_COUNT; i++) {
      int kv = positionOf(place, units, i);
      bool kept = kv < place.kvLen & keeps(call, place, i & 2 ? q1 : q0, kv);
      s[i] = kept ? s[i] : -INFINITE;
    }
  } else {
    // A loop over columns; only its application to the registers is unrolled.
#pragma unroll
    for (int word = 0; word < (S_COUNT + 31) / 32; word++) {
      u32 bits = 0u;
#pragma unroll 4
      for (int column = 0; column < min(16, S_COUNT / 2 - word * 16); column++) {
        int const i = (column >> 1) * 4 + (column & 1), kv = positionOf(place, units, word * 32 + i);
        u32 const both = (u32)keeps(call, place, q0, kv) | (u32)keeps(call, place, q1, kv) << 2;
        bits |= (kv < place.kvLen ? both : 0u) << i;
      }
#pragma unroll
      for (int i = 0; i < 32; i++)
        if (word * 32 + i < S_COUNT && !(bits >> i & 1u)) s[word * 32 + i] = -INFINITE;
    }
  }
}

// Scores become weights; returns what the sums and outputs so far must be multiplied by.
DEVICE float2 weigh(Softmax& state, float (&s)[S_COUNT], float unit) {
  float max0 = state.max0, max1 = state.max1;
#pragma unroll
  for (int i = 0; i < S_COUNT; i += 4) {
    max0 = fmaxf(max0, fmaxf(s[i], s[i + 1]));
    max1 = fmaxf(max1, fmaxf(s[i + 2], s[i + 3]));
  }
  max0 = quadMax(max0);
  max1 = quadMax(max1);
  // A row without any kept key yet has no maximum to subtract.
  float const top0 = max0 == -INFINITE ? 0.0f : max0, top1 = max1 == -INFINITE ? 0.0f : max1;
  float const shift0 = top0 * unit, shift1 = top1 * unit;
  // Exactly 1 where the maximum stays: products rounded on one side only would let hundreds of tiles add up.
  float2 const decay = make_float2(exp2Fast((state.max0 - top0) * unit), exp2Fast((state.max1 - top1) * unit));
  state.max0 = max0;
  state.max1 = max1;
  float sum0 = 0.0f, sum1 = 0.0f;
#pragma unroll
  for (int i = 0; i < S_COUNT; i += 4) {
    s[i] = exp2Fast(s[i] * unit - shift0);
    s[i + 1] = exp2Fast(s[i + 1] * unit - shift0);
    s[i + 2] = exp2Fast(s[i + 2] * unit - shift1);
    s[i + 3] = exp2Fast(s[i + 3] * unit - shift1);
    sum0 += s[i] + s[i + 1];
    sum1 += s[i + 2] + s[i + 3];
  }
  state.sum0 = state.sum0 * decay.x + sum0;
  state.sum1 = state.sum1 * decay.y + sum1;
  return decay;
}

// Four threads hold two columns each of four blocks of eight columns; afterwards each holds one block's eight.
DEVICE void gatherColumns(u32 (&w)[4]) {
  int lane = laneIndex();
  bool odd = lane & 1, high = lane & 2;
  u32 a = shuffleXor(odd ? w[0] : w[1], 1), b = shuffleXor(odd ? w[2] : w[3], 1);
  if (odd) w[0] = a, w[2] = b;
  else w[1] = a, w[3] = b;
  a = shuffleXor(high ? w[0] : w[2], 2), b = shuffleXor(high ? w[1] : w[3], 2);
  if (high) w[0] = a, w[1] = b;
  else w[2] = a, w[3] = b;
}

DEVICE void storeRow(Call const& call, u16* row, int column, u32 const (&w)[4]) {
  if (column + 8 <= call.valueDim) {
    *(uint4*)(row + column) = make_uint4(w[0], w[1], w[2], w[3]);
  } else {
#pragma unroll
    for (int e = 0; e < 8; e++)
      if (column + e < call.valueDim) row[column + e] = (u16)(w[e / 2] >> (16 * (e & 1)));
  }
}

// What an earlier pass has of a warpgroup's rows is asked for while their scores are made.
DEVICE void fetchPartial(Call const& call, Message const& message, int group) {
  constexpr int LINES = VALUE_DIM * 4 / 128;
  Work const work = message.work;
  Place const place = message.place;
  for (int i = (int)(threadIdx.x & 127u); i < 64 * LINES; i += 128) {
    int const r = rowAt(place, work.qTile * TILE_Q + group * 64 + i / LINES);
    if (r < call.qRows) prefetchLine((unsigned char const*)partialRow(call, work, r) + i % LINES * 128);
  }
  // One lane releases the message for all.
  syncLanes();
}

// Writes a query tile's output and LSE; empty rows and rows that are padding are zeros. What a merging pass finds there is the
// other part of the same rows.
DEVICE void finish(Call const& call, Message const& message, int row, Softmax const& state, float unit, float (&o)[O_COUNT]) {
  constexpr float LN2 = 0.6931471805599453f;
  Work const work = message.work;
  Place const place = message.place;
  float const sink = SINK ? sinkLogitOf(call, place) / LN2 : -INFINITE;
  u16* const out = (u16*)call.out + work.batch * call.outStride[0] + work.head * call.outStride[1];
  float* const lses = call.lse + ((long long)work.batch * call.qHeads + work.head) * call.qRows;
  int const lane = laneIndex();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int const r = rowAt(place, work.qTile * TILE_Q + row + 8 * half);
    bool const real = r >= place.qRow & r < place.qRow + place.qLen;
    float const top = (half ? state.max1 : state.max0) * unit;
    float sum = quadSum(half ? state.sum1 : state.sum0);
    bool const empty = !real | top == -INFINITE;
    float const most = SINK ? fmaxf(top, sink) : top;
    float rescale = 1.0f;
    if (SINK && !empty) {
      rescale = exp2Fast(top - most);
      sum = sum * rescale + exp2Fast(sink - most);
    }
    float weight = empty ? 0.0f : rescale / sum;
    float lse = empty ? (SINK && real ? sink : -INFINITE) : most + log2f(sum);
    u16* const target = out + r * call.outStride[2];
    bool const writes = (u32)r < (u32)call.qRows;
    float* const partial = partialRow(call, work, r) + (lane & 3) * 2;
    float earlier = 0.0f;  // the weight of what an earlier pass made
    float2 held[VALUE_DIM / 8];
    if (MERGES) {
      // All are under way before the first is waited for.
      float const heldLse = writes ? lses[r] / LN2 : -INFINITE;
#pragma unroll
      for (int i = 0; i < VALUE_DIM / 8; i++)
        held[i] = writes ? *(float2 const*)(partial + i * 8) : make_float2(0.0f, 0.0f);
      float const higher = fmaxf(heldLse, lse);
      if (higher != -INFINITE) {
        float const both = higher + log2f(exp2Fast(heldLse - higher) + exp2Fast(lse - higher));
        earlier = exp2Fast(heldLse - both);
        weight *= exp2Fast(lse - both);
        lse = both;
      }
    }
#pragma unroll
    for (int block = 0; block < VALUE_DIM / 32; block++) {
      u32 w[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int i = block * 16 + j * 4 + half * 2;
        // A weight of zero does not clear a NaN.
        float2 x = make_float2(empty ? 0.0f : o[i] * weight, empty ? 0.0f : o[i + 1] * weight);
        if (PARTIAL && writes) *(float2*)(partial + block * 32 + j * 8) = x;
        // What no earlier pass wrote may be anything.
        if (MERGES && earlier > 0.0f) {
          x.x += held[block * 4 + j].x * earlier;
          x.y += held[block * 4 + j].y * earlier;
        }
        w[j] = packHalves(x.x, x.y);
      }
      if (PARTIAL) continue;
      gatherColumns(w);
      if (writes) storeRow(call, target, block * 32 + (lane & 3) * 8, w);
    }
    // Four lanes have read it: all of them before the exchanges above.
    if ((lane & 3) == 0 && writes) lses[r] = lse * LN2;
  }
}

// A multiplying warpgroup.
DEVICE void consume(Call const& call, Book* book, int group) {
  u32 const base = sharedAddress(sharedBase());
  int const lane = laneIndex();
  int const row = group * 64 + (int)(threadIdx.x >> 5 & 3u) * 16 + (lane >> 2);  // and row + 8
  // exp(x) is 2 to the power of unit * x; a negative scale turns the scores round first.
  constexpr float LOG2E = 1.4426950408889634f;
  float const unit = SCORED ? LOG2E : fmaxf(fabsf(call.scale), 1e-30f) * LOG2E;
  bool const turned = !SCORED && call.scale < 0.0f;
  u64 const qMatrix = descriptorOf<CHUNK_BYTES_K>(base + group * 64 * CHUNK_BYTES_K, 0, 8 * CHUNK_BYTES_K);
  u64 const kMatrix = descriptorOf<CHUNK_BYTES_K>(base + K_BEGIN, 0, 8 * CHUNK_BYTES_K);
  u64 const vMatrix = descriptorOf<CHUNK_BYTES_V>(base + V_BEGIN, TILE_KV * CHUNK_BYTES_V, 8 * CHUNK_BYTES_V);
  Turn<STAGES> k = {0, 0u}, v = {0, 0u};
  Turn<Q_STAGES> t = {0, 0u};
  Softmax const fresh = {-INFINITE, -INFINITE, 0.0f, 0.0f};
  Softmax state = fresh;
  int message = 0;
  u32 tile = 0u;
  Units units = {};
  float s[S_COUNT], o[O_COUNT];
  u32 p[TILE_KV / 4];

  auto release = [&](u64& barrier) {
    if (lane == 0) barrierArrive(sharedAddress(&barrier));
  };
  auto clear = [&]() {
#pragma unroll
    for (int i = 0; i < O_COUNT; i++) o[i] = 0.0f;
  };
  auto takeWork = [&](int message) {
    barrierWait(sharedAddress(&book->qFull[t.stage]), t.parity);
    return shuffle((int)book->messages[message].more, 0) != 0;
  };
  auto awaitKeys = [&]() { barrierWait(sharedAddress(&book->kFull[k.stage]), k.parity); };
  // Asked while products run, so that nothing waits for the answer. The lane that reads is the one that releases.
  auto readTile = [&]() {
    if (lane == 0) tile = book->tiles[k.stage];
    tile = (u32)shuffle((int)tile, 0);
    units.id[0] = (int)(tile & TILE_INDEX);
    if (UNITS > 1)
#pragma unroll
      for (int u = 0; u < UNITS; u++) units.id[u] = shuffle(lane == 0 ? book->units[k.stage][u] : 0, 0);
  };
  auto startScores = [&]() {
    constexpr int STEPS = CHUNK_K / 16;
    productFence();
    u64 const a = qMatrix + (u32)(t.stage * (Q_BYTES >> 4)), b = kMatrix + (u32)(k.stage * (K_BYTES >> 4));
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 16; i++)
      productScores(s, a + ((i / STEPS * (TILE_Q * CHUNK_BYTES_K) + i % STEPS * 32) >> 4),
                    b + ((i / STEPS * (TILE_KV * CHUNK_BYTES_K) + i % STEPS * 32) >> 4), i > 0);
    productCommit();
  };
  auto endScores = [&]() {
    release(book->kEmpty[k.stage]);
    k.advance();
    if (tile & TILE_LAST) {
      release(book->qEmpty[t.stage]);
      t.advance();
    }
  };
  auto startOutputs = [&]() {
    barrierWait(sharedAddress(&book->vFull[v.stage]), v.parity);
    productFence();
    u64 const b = vMatrix + (u32)(v.stage * (V_BYTES >> 4));
#pragma unroll
    for (int i = 0; i < TILE_KV / 16; i++) productOutputs(o, p + 4 * i, b + (i * 16 * CHUNK_BYTES_V >> 4), 1);
    productCommit();
  };
  auto endOutputs = [&]() {
    pin(o);
    release(book->vEmpty[v.stage]);
    v.advance();
  };
  auto shapeScores = [&]() {
    Message const& told = book->messages[message];
    if (SCORED) {
      Place const place = told.place;
      int const r = told.work.qTile * TILE_Q + row, q0 = rowAt(place, r) + place.qShift, q1 = rowAt(place, r + 8) + place.qShift;
#pragma unroll
      for (int i = 0; i < S_COUNT; i++)
        s[i] = scoreOf(call, place, s[i] * call.scale, i & 2 ? q1 : q0, positionOf(place, units, i));
    } else if (turned) {
#pragma unroll
      for (int i = 0; i < S_COUNT; i++) s[i] = -s[i];
    }
    if (!(tile & TILE_FULL)) {
      Place const place = told.place;
      int const r = told.work.qTile * TILE_Q + row, q0 = rowAt(place, r) + place.qShift, q1 = rowAt(place, r + 8) + place.qShift;
      maskScores(call, place, s, units, q0, q1);
    }
  };
  auto roundWeights = [&]() {
#pragma unroll
    for (int i = 0; i < TILE_KV / 4; i++) p[i] = packHalves(s[2 * i], s[2 * i + 1]);
  };

  for (;;) {
    if (!takeWork(message)) return;
    if (MERGES) fetchPartial(call, book->messages[message], group);
    clear();
    state = fresh;
    awaitKeys();
    startScores();
    readTile();
    productWait<0>();
    pin(s);
    endScores();
    shapeScores();
    weigh(state, s, unit);
    roundWeights();
    while (!(tile & TILE_LAST)) {
      awaitKeys();
      startScores();
      startOutputs();
      readTile();
      productWait<1>();
      pin(s);
      endScores();
      shapeScores();
      float2 const decay = weigh(state, s, unit);
      productWait<0>();
      endOutputs();
      roundWeights();
#pragma unroll
      for (int i = 0; i < O_COUNT; i++) o[i] *= i & 2 ? decay.y : decay.x;
    }
    startOutputs();
    productWait<0>();
    endOutputs();
    finish(call, book->messages[message], row, state, unit, o);
    message = (message + 1) % MESSAGES;
  }
}

KERNEL(THREADS, BLOCKS)
ENTRY(attend)(const __grid_constant__ Call call, const __grid_constant__ TensorMap qMap, const __grid_constant__ TensorMap kMap,
       const __grid_constant__ TensorMap vMap) {
  Book* book = (Book*)(sharedBase() + BOOK);
  if (threadIdx.x == 0) {
    for (int i = 0; i < Q_STAGES; i++) {
      barrierInit(sharedAddress(&book->qFull[i]), 1);
      barrierInit(sharedAddress(&book->qEmpty[i]), CONSUMER_WARPS);
    }
    for (int i = 0; i < STAGES; i++) {
      barrierInit(sharedAddress(&book->kFull[i]), 1);
      barrierInit(sharedAddress(&book->vFull[i]), 1);
      barrierInit(sharedAddress(&book->kEmpty[i]), CONSUMER_WARPS);
      barrierInit(sharedAddress(&book->vEmpty[i]), CONSUMER_WARPS);
    }
    barrierInitFence();
  }
  syncThreads();
  int const group = (int)(threadIdx.x >> 7);
  if (group == 0) {
    shrinkRegisters<PRODUCER_REGISTERS>();
    if (threadIdx.x < 32) produce(call, qMap, kMap, vMap, book);
  } else {
    growRegisters<CONSUMER_REGISTERS>();
    consume(call, book, group - 1);
  }
}
