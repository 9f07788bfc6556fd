// Attention of few query rows against long keys, contiguous or paged. In: a Call whose keys are split into call.splits parts.
// Out of `attend`: `out` and `lse` where there is one part, else partial results in `scratch`, which `combine` merges.
//
// Reading K and V once is all the time there is. The rows of a block are the pairs (query row, head of the kv group), 16 to a
// matrix product; a tile of keys has 16 keys for each warp, and a warp brings its own 16 into a ring of STAGES tiles. With at
// most 16 rows each warp multiplies what it brought and waits for nobody; with more rows, 16 to a group of warps, they share
// the tile. At the end the warps' results are merged through shared memory.
//
// DEBUG builds check page numbers: the first word of `counters` becomes 1 + the index in `pages` of one that is out of range,
// whose keys then count as zeros.

constexpr int WARPS = THREADS / 32;
constexpr int K_ROW = 2 * HEAD_DIM;   // bytes in shared memory
constexpr int V_ROW = 2 * VALUE_DIM;
constexpr int K_BYTES = TILE_KV * K_ROW;
constexpr int STAGE_BYTES = K_BYTES + TILE_KV * V_ROW;
constexpr int O_BLOCKS = VALUE_DIM / 8;
constexpr int MERGE_ROW = VALUE_DIM + 8;  // floats: rows of four lanes' pairs fall on different banks
constexpr int COMBINE_THREADS = 128;        // at least call.splits
constexpr int COMBINE_WARPS = COMBINE_THREADS / 32;
constexpr float LOG2E = 1.4426950408889634f;
// Heads whose masks differ do not share the tiles of a block.
constexpr bool PACKED = !MASK_READS_HEAD;
static_assert(!LISTED || SHARES_LISTS == PACKED, "one list serves the heads of a block");
static_assert(TILE_KV == 16 * WARPS, "16 keys a warp");
static_assert(TILE_Q >= 16 && TILE_Q <= 16 * WARPS && (TILE_Q & (TILE_Q - 1)) == 0, "16 rows a warp at most");
static_assert(STAGES >= 2 && WARPS * 16 * (MERGE_ROW + 2) * 4 <= STAGES * STAGE_BYTES, "results are merged in the ring's place");
static_assert(HEAD_DIM % 32 == 0 && VALUE_DIM % 32 == 0, "rows of whole 64 bytes");

// What a block does: rows [first, end) of those that share a kv head (or a query head), and its part of their keys. Row m is
// query row m / heads of head head0 + m % heads.
struct Item {
  int batch, head0, heads, split;
  int first, end;
  int qLo, qHi;  // positions of the first and last real row; none if qLo > qHi
};
DEVICE Item itemOf(Call const& call) {
  Item t;
  t.heads = PACKED ? call.qHeads / call.kvHeads : 1;
  int owners = PACKED ? call.kvHeads : call.qHeads;
  int rows = call.qRows * t.heads;
  int rowTiles = (rows + TILE_Q - 1) / TILE_Q;
  int x = (int)blockIdx.x;  // blocks that read the same keys are neighbours
  t.first = x % rowTiles * TILE_Q;
  t.end = min(t.first + TILE_Q, rows);
  x /= rowTiles;
  t.split = x % call.splits;
  x /= call.splits;
  t.head0 = x % owners * t.heads;
  t.batch = x / owners;
  return t;
}

struct Row {
  int row, head, position;
  bool real;
};
DEVICE Row rowOf(Place const& place, Item const& item, int m) {
  Row r;
  r.row = m / item.heads;
  r.head = item.head0 + m - r.row * item.heads;
  r.real = m < item.end && r.row >= place.qRow && r.row < place.qRow + place.qLen;
  // Others are computed like a real one, and never written.
  r.position = r.real ? r.row + place.qShift : item.qLo;
  return r;
}

DEVICE u32 pairAt(u16 const* p, int column, int dim) {
  u32 low = column < dim ? p[column] : 0u, high = column + 1 < dim ? p[column + 1] : 0u;
  return low | high << 16;
}

// A matrix of keys or values, seen from one head.
struct Source {
  u16 const* base;
  long long pageStride, rowStride;
  int dim;
  bool vectors;  // whole units of 16 bytes
};
DEVICE Source sourceOf(Call const& call, void const* base, long long const (&stride)[3], int head, int dim) {
  return {(u16 const*)base + head * stride[1], stride[0], stride[2], dim, call.vectors != 0 && dim % 8 == 0};
}

// Where a key's row lies: a page, or of contiguous tensors a batch entry; -1: there is no such key.
struct KeyRow {
  int page, row;
};
DEVICE KeyRow keyRowOf(Call const& call, Place const& place, int key) {
  if (key >= place.kvLen) return {-1, 0};
  int row = place.kvStart + key;
  if (call.pages == nullptr) return {place.batch, row};
  int turn = row / call.pageSize;
  long long entry = (long long)place.batch * call.pageStride + turn;
  int page = readOnly(call.pages + entry);
  if (DEBUG && (page < 0 || page >= call.pageCount)) {
    call.counters[0] = 1u + (u32)entry;
    page = -1;
  }
  return {page, row - turn * call.pageSize};
}

// A warp brings 16 rows to `shared`; lanes l and l + 16 know where row l is. Zeros for keys and columns that do not exist.
template <int DIM>
DEVICE void bringRows(Source const& source, KeyRow const& known, u32 shared) {
  constexpr int UNITS = DIM / 8, ACROSS = UNITS % 8 == 0 ? 8 : 4, ROWS = 32 / ACROSS;
  int const lane = laneIndex();
#pragma unroll
  for (int r = 0; r < 16; r += ROWS) {
    int row = r + lane / ACROSS;
    int page = shuffle(known.page, row), at = shuffle(known.row, row);
    u16 const* from = source.base + page * source.pageStride + at * source.rowStride;
    u32 to = shared + row * 2 * DIM;
    if (source.vectors) {
#pragma unroll
      for (int u = 0; u < UNITS; u += ACROSS) {
        int unit = u + lane % ACROSS;
        copyAsync16(sharedAddress(sharedBase()) + to + 16 * unitAt<DIM>(row, unit), from + 8 * unit,
                    page >= 0 && 8 * unit < source.dim);
      }
    } else {
#pragma unroll 1
      for (int unit = lane % ACROSS; unit < UNITS; unit += ACROSS) {
        u32* words = (u32*)(sharedBase() + to + 16 * unitAt<DIM>(row, unit));
#pragma unroll
        for (int e = 0; e < 4; e++) words[e] = page >= 0 ? pairAt(from, 8 * unit + 2 * e, source.dim) : 0u;
      }
    }
  }
}

// A row of results from the greatest score (in powers of two) and the sum of weights relative to it; `sink` in natural units.
struct Finish {
  float factor, lse;  // factor 0: the row is zeros, whatever was summed
};
DEVICE Finish finishOf(float top, float sum, float sink) {
  float sink2 = SINK ? sink * LOG2E : -INFINITE;
  float most = SINK ? fmaxf(top, sink2) : top;
  if (most == -INFINITE) return {0.0f, -INFINITE};
  if (top == -INFINITE) return {0.0f, sink};
  float decay = SINK ? exp2Fast(top - most) : 1.0f;
  float total = sum * decay + (SINK ? exp2Fast(sink2 - most) : 0.0f);
  return {decay / total, (most + log2f(total)) * 0.6931471805599453f};
}

// Two columns of a result.
DEVICE void storePair(Call const& call, Row const& r, int batch, int column, float factor, float x, float y) {
  if (column >= call.valueDim) return;
  u16* out = (u16*)call.out + batch * call.outStride[0] + r.head * call.outStride[1] + r.row * call.outStride[2] + column;
  u32 pair = factor == 0.0f ? 0u : packHalves(x * factor, y * factor);
  if (call.vectors && column + 1 < call.valueDim) {
    *(u32*)out = pair;
  } else {
    out[0] = (u16)pair;
    if (column + 1 < call.valueDim) out[1] = (u16)(pair >> 16);
  }
}

// Partial results: for each split and each row of `lse` valueDim floats, padded to a multiple of four; after all of them for
// each split and row the greatest score and the sum of weights.
struct alignas(8) Pair {
  float x, y;
};
struct alignas(16) Quad {
  float x, y, z, w;
};
struct Partials {
  float* values;
  Pair* stats;
  long long rows;
  int width;
};
DEVICE Partials partialsOf(Call const& call) {
  Partials p;
  p.rows = (long long)call.batch * call.qHeads * call.qRows;
  p.width = (call.valueDim + 3) / 4 * 4;
  p.values = call.scratch;
  p.stats = (Pair*)(call.scratch + call.splits * p.rows * p.width);
  return p;
}
DEVICE long long resultRow(Call const& call, int batch, int head, int row) {
  return ((long long)batch * call.qHeads + head) * call.qRows + row;
}

KERNEL(THREADS, BLOCKS) ENTRY(attend)(const __grid_constant__ Call call) {
  int const lane = laneIndex(), warp = (int)threadIdx.x / 32;
  Item item = itemOf(call);
  Place const place = placeOf(call, item.batch, item.head0);
  {
    int lo = max(item.first / item.heads, place.qRow);
    int hi = min((item.end - 1) / item.heads, place.qRow + place.qLen - 1);
    item.qLo = lo + place.qShift;
    item.qHi = hi + place.qShift;
  }
  Reach const reach = reachOf(call, place, item.qLo, item.qHi);
  Walk walk = walkOf(call, place, 0);
  int left = 0;  // tiles of this part that are still to be brought
  if (item.qLo <= item.qHi) {
    left = NO_TILE;
    if (call.splits > 1) {
      int count = countTiles(call, place, reach, walk);
      int begin = (int)((long long)count * item.split / call.splits);
      left = (int)((long long)count * (item.split + 1) / call.splits) - begin;
      skipTiles(call, place, reach, walk, begin);
    }
  }

  // 16 rows of the block: `group` of `groups`; the 16-key slices of a tile that this warp multiplies: first, first + step ..
  int groups = 1;
  while (16 * groups < item.end - item.first) groups *= 2;
  int const group = warp % groups, firstSlice = warp / groups, sliceStep = WARPS / groups;
  bool const alone = groups == 1;

  Source const k = sourceOf(call, call.k, call.kStride, place.kvHead, call.headDim);
  Source const v = sourceOf(call, call.v, call.vStride, place.kvHead, call.valueDim);
  auto bring = [&](int stage) -> Visit {
    Visit visit = {NO_TILE, false};
    if (left > 0) visit = nextTile(call, place, reach, walk);
    left--;
    if (visit.tile == NO_TILE) {
      left = 0;
    } else {
      KeyRow known = keyRowOf(call, place, visit.tile * TILE_KV + 16 * warp + (lane & 15));
      u32 shared = stage * STAGE_BYTES + 16 * warp * K_ROW;
      bringRows<HEAD_DIM>(k, known, shared);
      bringRows<VALUE_DIM>(v, known, shared + K_BYTES + 16 * warp * (V_ROW - K_ROW));
    }
    commitCopies();
    return visit;
  };
  // The tiles under way, oldest first.
  Visit queue[STAGES];
  auto bringNext = [&](int stage) {
#pragma unroll
    for (int i = 0; i + 1 < STAGES; i++) queue[i] = queue[i + 1];
    queue[STAGES - 1] = bring(stage);
  };
#pragma unroll 1
  for (int i = 0; i < STAGES; i++) bringNext(i);

  // A thread has rows lane / 4 and lane / 4 + 8 of its 16.
  Row rows[2];
  Place scorePlaces[2];
  u32 q[HEAD_DIM / 16][4];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    rows[h] = rowOf(place, item, item.first + 16 * group + lane / 4 + 8 * h);
    if (SCORE_READS_HEAD) scorePlaces[h] = placeOf(call, item.batch, rows[h].real ? rows[h].head : item.head0);
    u16 const* from = (u16 const*)call.q + item.batch * call.qStride[0] + rows[h].head * call.qStride[1] + rows[h].row * call.qStride[2];
    bool const pairs = call.vectors != 0 && call.headDim % 2 == 0;
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 8; i++) {
      int column = 8 * i + 2 * (lane & 3);
      u32 pair = 0u;
      if (rows[h].real && column < call.headDim) pair = pairs ? *(u32 const*)(from + column) : pairAt(from, column, call.headDim);
      q[i / 2][i % 2 * 2 + h] = pair;
    }
  }

  float o[O_BLOCKS][4];
#pragma unroll
  for (int i = 0; i < O_BLOCKS; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.0f;
  float top[2] = {-INFINITE, -INFINITE}, sum[2] = {0.0f, 0.0f};
  float const unit = call.scale * LOG2E;
  u32 const ring = sharedAddress(sharedBase());
  int const kRow = (lane & 7) + (lane >> 4) * 8, kUnit = lane >> 3 & 1;
  int const vRow = lane & 15, vUnit = lane >> 4;

  for (int stage = 0; queue[0].tile != NO_TILE;) {
    Visit const visit = queue[0];
    waitCopies<STAGES - 1>();
    if (alone) syncLanes();
    else syncThreads();
#pragma unroll 1
    for (int slice = firstSlice; slice < WARPS; slice += sliceStep) {
      u32 const keys = ring + stage * STAGE_BYTES + (16 * slice + kRow) * K_ROW;
      float s[2][4] = {};
#pragma unroll
      for (int i = 0; i < HEAD_DIM / 16; i++) {
        u32 b[4];
        loadMatrices(b, keys + 16 * unitAt<HEAD_DIM>(kRow, 2 * i + kUnit));
        multiplyAdd(s[0], q[i], b[0], b[1]);
        multiplyAdd(s[1], q[i], b[2], b[3]);
      }

      // Element e of a thread: row e & 2, key e >> 2 & 1 blocks of eight on.
      int const key = visit.tile * TILE_KV + 16 * slice + 2 * (lane & 3);
#pragma unroll
      for (int e = 0; e < 8; e++) {
        float& x = s[e >> 2][e & 3];
        int const h = e >> 1 & 1;
        if (SCORED)
          x = scoreOf(call, SCORE_READS_HEAD ? scorePlaces[h] : place, x * call.scale, rows[h].position, key + 8 * (e >> 2) + (e & 1)) * LOG2E;
        else
          x *= unit;
      }
      if (!visit.full) {
        u32 kept = 0u;
        // A long mask is written once, in a loop; only its application to the registers is unrolled.
#pragma unroll (CHEAP_MASK ? 8 : 1)
        for (int e = 0; e < 8; e++) {
          int kv = key + 8 * (e >> 2) + (e & 1);
          bool keep = kv < place.kvLen && (!MASKED || keeps(call, place, e & 2 ? rows[1].position : rows[0].position, kv));
          kept |= (u32)keep << e;
        }
#pragma unroll
        for (int e = 0; e < 8; e++)
          if (!(kept >> e & 1u)) s[e >> 2][e & 3] = -INFINITE;
      }

      float shift[2], decay[2];
      bool grown = false;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float most = quadMax(fmaxf(fmaxf(s[0][2 * h], s[0][2 * h + 1]), fmaxf(s[1][2 * h], s[1][2 * h + 1])));
        grown = grown || most > top[h];
        most = fmaxf(most, top[h]);
        // A row without any kept key yet has no maximum to subtract.
        shift[h] = most == -INFINITE ? 0.0f : most;
        decay[h] = exp2Fast(top[h] - shift[h]);
        top[h] = most;
#pragma unroll
        for (int e = 0; e < 4; e++) {
          float& x = s[e >> 1][2 * h + (e & 1)];
          x = exp2Fast(x - shift[h]);
        }
        sum[h] = sum[h] * decay[h] + (s[0][2 * h] + s[0][2 * h + 1]) + (s[1][2 * h] + s[1][2 * h + 1]);
      }
      if (ballotLanes(grown) != 0u) {
#pragma unroll
        for (int i = 0; i < O_BLOCKS; i++) {
          o[i][0] *= decay[0];
          o[i][1] *= decay[0];
          o[i][2] *= decay[1];
          o[i][3] *= decay[1];
        }
      }

      u32 const p[4] = {packHalves(s[0][0], s[0][1]), packHalves(s[0][2], s[0][3]), packHalves(s[1][0], s[1][1]), packHalves(s[1][2], s[1][3])};
      u32 const values = ring + stage * STAGE_BYTES + K_BYTES + (16 * slice + vRow) * V_ROW;
#pragma unroll
      for (int i = 0; i < O_BLOCKS; i += 2) {
        u32 b[4];
        loadMatricesTransposed(b, values + 16 * unitAt<VALUE_DIM>(vRow, i + vUnit));
        multiplyAdd(o[i], p, b[0], b[1]);
        multiplyAdd(o[i + 1], p, b[2], b[3]);
      }
    }
    if (alone) syncLanes();
    else syncThreads();
    bringNext(stage);
    stage = stage + 1 == STAGES ? 0 : stage + 1;
  }

  // The ring is free now, and takes every warp's results.
  waitCopies<0>();
  syncThreads();
  float* const merged = (float*)sharedBase();
  Pair* const stats = (Pair*)(merged + WARPS * 16 * MERGE_ROW);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int const at = 16 * warp + lane / 4 + 8 * h;
    float const total = quadSum(sum[h]);
    if ((lane & 3) == 0) stats[at] = {top[h], total};
#pragma unroll
    for (int i = 0; i < O_BLOCKS; i++)
      *(Pair*)(merged + at * MERGE_ROW + 8 * i + 2 * (lane & 3)) = {o[i][2 * h], o[i][2 * h + 1]};
  }
  syncThreads();

#pragma unroll 1
  for (int m = item.first + warp; m < item.end; m += WARPS) {
    // sliceStep warps multiplied this row: `at` is its place among the first one's results.
    int const at = m - item.first, next = 16 * groups;
    Row const row = rowOf(place, item, m);
    float most = -INFINITE, total = 0.0f;
    float weights[WARPS];
#pragma unroll
    for (int w = 0; w < WARPS; w++)
      if (w < sliceStep) most = fmaxf(most, stats[at + w * next].x);
    if (!row.real) most = -INFINITE;
    float const shiftMost = most == -INFINITE ? 0.0f : most;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      weights[w] = 0.0f;
      if (w < sliceStep && most != -INFINITE) {
        Pair one = stats[at + w * next];
        weights[w] = exp2Fast(one.x - shiftMost);
        total += weights[w] * one.y;
      }
    }
    long long const result = resultRow(call, item.batch, row.head, row.row);
    Partials const partials = partialsOf(call);
    Finish finish = {1.0f, 0.0f};
    if (call.splits == 1) {
      float sink = SINK && row.real ? sinkLogitOf(call, placeOf(call, item.batch, row.head)) : -INFINITE;
      finish = finishOf(most, total, sink);
      if (lane == 0) call.lse[result] = finish.lse;
    } else if (lane == 0) {
      partials.stats[item.split * partials.rows + result] = {most, total};
    }
#pragma unroll
    for (int column = 2 * lane; column < VALUE_DIM; column += 64) {
      float x = 0.0f, y = 0.0f;
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        if (w < sliceStep) {
          Pair one = *(Pair const*)(merged + (at + w * next) * MERGE_ROW + column);
          x += weights[w] * one.x;
          y += weights[w] * one.y;
        }
      }
      if (call.splits == 1)
        storePair(call, row, item.batch, column, finish.factor, x, y);
      else if (column < call.valueDim && most != -INFINITE)
        *(Pair*)(partials.values + (item.split * partials.rows + result) * partials.width + column) = {x, y};
    }
  }
}

// One block a row, one thread a split for the weights; then its warps share the splits. Not launched where there is one split:
// `attend` wrote the results.
KERNEL(COMBINE_THREADS, 4) ENTRY(combine)(const __grid_constant__ Call call) {
  constexpr int QUADS = (VALUE_DIM + 127) / 128;
  int const lane = laneIndex(), warp = (int)threadIdx.x / 32;
  int x = (int)blockIdx.x;
  Row r;
  r.row = x % call.qRows;
  x /= call.qRows;
  r.head = x % call.qHeads;
  int const batch = x / call.qHeads;
  Place const place = placeOf(call, batch, r.head);
  r.real = r.row >= place.qRow && r.row < place.qRow + place.qLen;
  Partials const partials = partialsOf(call);
  long long const result = resultRow(call, batch, r.head, r.row);

  float* const weights = (float*)sharedBase();
  Quad* const merged = (Quad*)(weights + COMBINE_THREADS);
  float top = -INFINITE, sum = 0.0f;
  for (int s = lane; s < call.splits; s += 32) top = fmaxf(top, partials.stats[s * partials.rows + result].x);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, shuffleXor(top, step));
  float const shift = top == -INFINITE ? 0.0f : top;
  for (int s = lane; s < call.splits; s += 32) {
    Pair one = partials.stats[s * partials.rows + result];
    float weight = exp2Fast(one.x - shift);
    sum += weight * one.y;
    if (warp == 0) weights[s] = weight;
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += shuffleXor(sum, step);
  syncThreads();

  Quad acc[QUADS] = {};
#pragma unroll 8
  for (int s = warp; s < call.splits; s += COMBINE_WARPS) {
    float const weight = weights[s];
    float const* values = partials.values + (s * partials.rows + result) * partials.width;
#pragma unroll
    for (int i = 0; i < QUADS; i++) {
      int const column = 4 * lane + 128 * i;
      // Parts without a kept key wrote no values.
      Quad one = {};
      if (weight != 0.0f && column < call.valueDim) one = *(Quad const*)(values + column);
      acc[i].x += weight * one.x;
      acc[i].y += weight * one.y;
      acc[i].z += weight * one.z;
      acc[i].w += weight * one.w;
    }
  }
#pragma unroll
  for (int i = 0; i < QUADS; i++) merged[(warp * QUADS + i) * 32 + lane] = acc[i];
  syncThreads();
  float const sink = SINK && r.real ? sinkLogitOf(call, place) : -INFINITE;
  Finish const finish = finishOf(r.real ? top : -INFINITE, sum, sink);
  if (threadIdx.x == 0) call.lse[result] = finish.lse;
  for (int column = 2 * (int)threadIdx.x; column < VALUE_DIM; column += 2 * COMBINE_THREADS) {
    float a = 0.0f, b = 0.0f;
#pragma unroll
    for (int w = 0; w < COMBINE_WARPS; w++) {
      Pair one = *(Pair const*)((float const*)(merged + w * QUADS * 32) + column);
      a += one.x;
      b += one.y;
    }
    storePair(call, r, batch, column, finish.factor, a, b);
  }
}
