// attend for mma.sync and cp.async: a block takes one (batch, head, query tile), walks the kv tiles that the pattern
// reaches and keeps an online softmax in base 2. A warp owns whole query rows, so that no score leaves its registers: the
// accumulator of S = Q Kt is, packed to halves, the left operand of P V.

constexpr int WARPS = THREADS / 32;
constexpr int ROW_TILES = TILE_Q / (16 * WARPS);  // query rows of a warp, in sixteens
constexpr int WARP_ROWS = 16 * ROW_TILES;
constexpr int KEY_TILES = TILE_KV / 8;            // columns of S, in eights
constexpr int VALUE_TILES = VALUE_DIM / 8;        // columns of the output, in eights
static_assert(TILE_Q % (16 * WARPS) == 0 && TILE_KV % 16 == 0, "whole matrices");
static_assert(HEAD_DIM % 32 == 0 && VALUE_DIM % 32 == 0 && THREADS % 64 == 0, "whole copies");

constexpr float LOG2E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;

// Shared memory: Q, STAGES tiles of K, STAGES tiles of V, what is known of the tile, row sums. The output takes Q's place
// and more.
constexpr int Q_BYTES = TILE_Q * HEAD_DIM * 2;
constexpr int K_BYTES = TILE_KV * HEAD_DIM * 2;
constexpr int V_BYTES = TILE_KV * VALUE_DIM * 2;
constexpr int K_AT = Q_BYTES;
constexpr int V_AT = K_AT + STAGES * K_BYTES;
constexpr int KNOWN_AT = V_AT + STAGES * V_BYTES;
constexpr int SUMS_AT = KNOWN_AT + KNOWN_BYTES;
static_assert(TILE_Q * VALUE_DIM * 2 <= KNOWN_AT, "the output tile is staged below what is known");

// Tiles that are known at once: those in buffers, and the one before, whose mask some warp may still be at.
constexpr int RING = STAGES + 1;

struct Work {
  int batch, head, qTile;
};

// What all threads know and the main loop seldom reads: kept in shared memory, because the loop takes every register.
struct Known {
  Work work;
  Place place;
  Reach reach;
  u16 const* keys;  // key 0 of this batch and head
  u16 const* values;
  int keyVectors, valueVectors;  // rows are copied by sixteen bytes
  int someReal;                  // of the tile's query rows
  Walk walk;
  Visit visits[RING];  // tile n of the walk lies at n % RING
};
static_assert(sizeof(Known) <= KNOWN_BYTES, "reserved by the shape");

// Matrices in shared memory are rows of chunks of sixteen bytes. The chunk's place within its span (128 bytes, or 64 where
// the row is no multiple of 128) is xored with the row, so that eight rows of one column lie in different banks.
template <int DIM>
struct Rows {
  static constexpr bool WIDE = DIM % 64 == 0;
  static constexpr int PITCH = DIM * 2;
  static constexpr int CHUNKS = DIM / 8;
  static constexpr int SPAN = WIDE ? 8 : 4;
  // A copy by all threads: one row's span takes SPAN of them.
  static constexpr int PASS = THREADS / SPAN;
};

template <int DIM>
DEVICE int chunkOffset(int row, int chunk) {
  int key = Rows<DIM>::WIDE ? row & 7 : (row >> 1) & 3;
  return row * Rows<DIM>::PITCH + ((chunk ^ key) << 4);
}

// From the address of chunk 0 or 1 of a row to the one 2 * step chunks on.
template <int DIM>
DEVICE u32 stepChunks(u32 address, int step) {
  constexpr int HALF = Rows<DIM>::SPAN / 2;
  return (address ^ (u32)(step % HALF * 32)) + (u32)(step / HALF * Rows<DIM>::SPAN * 16);
}

// Copies ROWS rows of `dim` halves to `offset` in shared memory, zeros in columns from `dim` on and in rows from `rows` on.
template <int DIM, int ROWS>
DEVICE void copyRows(int offset, u16 const* from, long long stride, int dim, int rows, bool vectors) {
  using R = Rows<DIM>;
  int thread = threadIndex();
  if (vectors) {
    int row = thread / R::SPAN, chunk = thread % R::SPAN;
    // The key of the swizzle is the same in all passes: they are whole multiples of eight rows apart.
    u32 to = sharedAddress(sharedBase()) + (u32)(offset + chunkOffset<DIM>(row, chunk));
    u16 const* p = from + row * stride + chunk * 8;
#pragma unroll
    for (int pass = 0; pass < (ROWS + R::PASS - 1) / R::PASS; pass++) {
      if (ROWS % R::PASS == 0 || row + pass * R::PASS < ROWS) {
#pragma unroll
        for (int span = 0; span < R::CHUNKS / R::SPAN; span++) {
          bool valid = row + pass * R::PASS < rows && (span * R::SPAN + chunk) * 8 < dim;
          copyAsync16(to + (u32)(pass * R::PASS * R::PITCH + span * R::SPAN * 16), p + span * R::SPAN * 8, valid);
        }
      }
      p += R::PASS * stride;
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < ROWS * R::CHUNKS; i += THREADS) {
    int row = i / R::CHUNKS, chunk = i % R::CHUNKS;
    u16 const* p = from + row * stride + chunk * 8;
    int count = row < rows ? dim - chunk * 8 : 0;
    u64* to = (u64*)(sharedBase() + offset + chunkOffset<DIM>(row, chunk));
#pragma unroll
    for (int half = 0; half < 2; half++) {
      u64 four = 0;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if (half * 4 + e < count) four |= (u64)p[half * 4 + e] << (16 * e);
      }
      to[half] = four;
    }
  }
}

// The items in order of launch: last query tiles first, since the longest walks must not come last. Heads of one kv head
// are neighbours, and kv heads are taken in groups whose K and V stay in the L2 cache together.
DEVICE Work workOf(Call const& call, int item) {
  constexpr long long CACHE_BYTES = 32 << 20;
  int qTiles = (call.qRows + TILE_Q - 1) / TILE_Q;
  int shared = call.qHeads / call.kvHeads;
  int owners = call.batch * call.kvHeads;
  long long bytes = 2ll * max(call.kvRows, 1) * (call.headDim + call.valueDim);
  int size = (int)min(max(CACHE_BYTES / bytes, 1ll), (long long)owners);
  int group = item / (size * shared * qTiles);
  int rest = item - group * size * shared * qTiles;
  int heads = min(size, owners - group * size) * shared;
  int owner = group * size + rest % heads / shared;
  return {owner / call.kvHeads, owner % call.kvHeads * shared + rest % heads % shared, qTiles - 1 - rest / heads};
}

// The first warp takes the walk's next tile for all; they see it after the next barrier.
DEVICE void findNext(Call const& call, Known& known, int at) {
  if (threadIndex() >= 32) return;
  Walk walk = known.walk;
  Visit visit = {NO_TILE, false};
  if (known.someReal) visit = nextTile(call, known.place, known.reach, walk);
  syncLanes();
  if (laneIndex() == 0) {
    known.walk = walk;
    known.visits[at] = visit;
  }
}

// What a thread keeps from tile to tile, of rows lane / 4 and lane / 4 + 8 of each row tile.
struct Sums {
  float out[ROW_TILES][VALUE_TILES][4];
  float top[ROW_TILES][2];  // the largest score, in the units of S
};

// Of the same rows, the sum of the weights in this thread's columns.
struct RowSums {
  float of[ROW_TILES][2];
};
DEVICE RowSums& rowSums() { return ((RowSums*)(sharedBase() + SUMS_AT))[threadIndex()]; }

// A thread's scores: columns 2 (lane % 4) and the next of each key tile.
using Scores = float[ROW_TILES][KEY_TILES][4];

constexpr int PAIRS = ROW_TILES * KEY_TILES * 4;
constexpr int WORDS = (PAIRS + 31) / 32;
static_assert(PAIRS % 32 == 0 || PAIRS < 32, "bits of a thread's pairs fill words");
struct KeptPairs {
  u32 words[WORDS];
};

// A thread's first row of the tensor, and its first column of a tile.
DEVICE int firstRowOf(Known const& known) {
  int thread = threadIndex();
  return known.work.qTile * TILE_Q + thread / 32 * WARP_ROWS + thread % 32 / 4;
}
DEVICE int firstColumn() { return threadIndex() % 4 * 2; }

// The position of a thread's row; of a row that is not real, that of the nearest one that is.
DEVICE int positionOf(Place const& place, int firstRow, int rowTile, int half) {
  int row = firstRow + 16 * rowTile + 8 * half;
  return min(max(row, place.qRow), place.qRow + place.qLen - 1) + place.qShift;
}

// One bit a pair, by a rolled loop: `keeps` may be long. Bits enter at the top and sink, so that no index varies.
DEVICE void findKept(Call const& call, Known const& known, int tile, KeptPairs& kept) {
  Place const& place = known.place;
  int firstRow = firstRowOf(known), firstKey = tile * TILE_KV + firstColumn();
#pragma unroll
  for (int w = 0; w < WORDS; w++) kept.words[w] = 0u;
#pragma unroll 2
  for (int pair = 0; pair < PAIRS; pair++) {
    int kv = firstKey + pair / 4 % KEY_TILES * 8 + pair % 2;
    int q = positionOf(place, firstRow, pair / (4 * KEY_TILES), pair / 2 % 2);
    u32 bit = kv < place.kvLen && keeps(call, place, q, kv) ? 1u << 31 : 0u;
#pragma unroll
    for (int w = 0; w + 1 < WORDS; w++) kept.words[w] = kept.words[w] >> 1 | kept.words[w + 1] << 31;
    kept.words[WORDS - 1] = kept.words[WORDS - 1] >> 1 | bit;
  }
  if (PAIRS < 32) kept.words[0] >>= (32 - PAIRS) & 31;
}

// S = Q Kt. The next fragment is on its way while one is multiplied.
DEVICE void multiplyKeys(Scores& s, u32 queries, u32 keys) {
  constexpr int STEPS = HEAD_DIM / 16, COLUMNS = KEY_TILES / 2;
  u32 a[2][ROW_TILES][4], b[2][4];
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[m][n][e] = 0.0f;
    }
    loadMatrices(a[0][m], queries + (u32)(m * 16 * Rows<HEAD_DIM>::PITCH));
  }
  loadMatrices(b[0], keys);
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) {
      int now = step * COLUMNS + n, next = now + 1;
      if (next < STEPS * COLUMNS)
        loadMatrices(b[next % 2],
                     stepChunks<HEAD_DIM>(keys, next / COLUMNS) + (u32)(next % COLUMNS * 16 * Rows<HEAD_DIM>::PITCH));
      if (n == 0 && step + 1 < STEPS) {
#pragma unroll
        for (int m = 0; m < ROW_TILES; m++)
          loadMatrices(a[(step + 1) % 2][m],
                       stepChunks<HEAD_DIM>(queries, step + 1) + (u32)(m * 16 * Rows<HEAD_DIM>::PITCH));
      }
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
        multiplyAdd(s[m][2 * n], a[step % 2][m], b[now % 2][0], b[now % 2][1]);
        multiplyAdd(s[m][2 * n + 1], a[step % 2][m], b[now % 2][2], b[now % 2][3]);
      }
    }
  }
}

// Scores changed in natural units and put into base 2.
DEVICE void changeScores(Call const& call, Known const& known, int tile, Scores& s) {
  Place place = known.place;
  int firstRow = firstRowOf(known), firstKey = tile * TILE_KV + firstColumn();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int q = positionOf(place, firstRow, m, half);
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float& x = s[m][n][2 * half + e];
          x = scoreOf(call, place, x * call.scale, q, firstKey + 8 * n + e) * LOG2E;
        }
      }
    }
  }
}

DEVICE void maskScores(Call const& call, Known const& known, int tile, KeptPairs const& kept, Scores& s) {
  // In registers, so that a condition's second half is not worth a branch.
  Place place = known.place;
  int firstRow = firstRowOf(known), firstKey = tile * TILE_KV + firstColumn();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int q = positionOf(place, firstRow, m, half);
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          int kv = firstKey + 8 * n + e;
          int pair = (m * KEY_TILES + n) * 4 + 2 * half + e;
          bool keep = kv < place.kvLen;
          if (MASKED && CHEAP_MASK) keep = keep & keeps(call, place, q, kv);
          if (MASKED && !CHEAP_MASK) keep = (kept.words[pair / 32] >> (pair % 32)) & 1u;
          if (!keep) s[m][n][2 * half + e] = -INFINITE;
        }
      }
    }
  }
}

// From the units of S to base 2. Zero would make NaN of minus infinity, and a negative factor would turn the largest score
// into the smallest.
DEVICE float factorOf(Call const& call) { return SCORED ? 1.0f : fmaxf(fabsf(call.scale * LOG2E), 1e-30f); }

// What a thread subtracts from the scores of its rows, in base 2.
struct Bases {
  float of[ROW_TILES][2];
};

// Finds the new largest scores and brings the sums to them.
DEVICE Bases raiseTops(Scores const& s, Sums& sums, float factor) {
  Bases base;
  RowSums& rows = rowSums();
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = sums.top[m][half];
#pragma unroll
      for (int n = 0; n < KEY_TILES; n++) top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      top = fmaxf(top, shuffleXor(top, 1));
      top = fmaxf(top, shuffleXor(top, 2));
      // A row that has kept nothing must not subtract minus infinity from itself.
      base.of[m][half] = top == -INFINITE ? 0.0f : top * factor;
      // A product that is rounded on one side of the difference only is no exact zero, and hundreds of tiles would add up.
      float shrink = top == sums.top[m][half] ? 1.0f : exp2Fast(sums.top[m][half] * factor - base.of[m][half]);
      sums.top[m][half] = top;
      rows.of[m][half] *= shrink;
#pragma unroll
      for (int n = 0; n < VALUE_TILES; n++) {
        sums.out[m][n][2 * half] *= shrink;
        sums.out[m][n][2 * half + 1] *= shrink;
      }
    }
  }
  return base;
}

// out += P V, where P = 2^(S factor - base) is made sixteen keys at a time. The row sums are stored with every step, before
// its matrices are loaded: left in registers, their additions sink to the end and keep all of P alive until then.
DEVICE void addValues(Scores const& s, Bases const& base, Sums& sums, float factor, u32 values) {
  constexpr int STEPS = TILE_KV / 16, COLUMNS = VALUE_TILES / 2;
  RowSums& rows = rowSums();
  RowSums sum = rows;
  u32 b[2][4];
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    u32 a[ROW_TILES][4];
#pragma unroll
    for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float const(&tile)[4] = s[m][2 * step + i / 2];
        float low = exp2Fast(tile[i % 2 * 2] * factor - base.of[m][i % 2]);
        float high = exp2Fast(tile[i % 2 * 2 + 1] * factor - base.of[m][i % 2]);
        sum.of[m][i % 2] += low + high;
        a[m][i] = packHalves(low, high);
      }
    }
    rows = sum;
    if (step == 0) loadMatricesTransposed(b[0], values);
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) {
      int now = step * COLUMNS + n, next = now + 1;
      if (next < STEPS * COLUMNS)
        loadMatricesTransposed(b[next % 2], stepChunks<VALUE_DIM>(values, next % COLUMNS) +
                                                (u32)(next / COLUMNS * 16 * Rows<VALUE_DIM>::PITCH));
#pragma unroll
      for (int m = 0; m < ROW_TILES; m++) {
        multiplyAdd(sums.out[m][2 * n], a[m], b[now % 2][0], b[now % 2][1]);
        multiplyAdd(sums.out[m][2 * n + 1], a[m], b[now % 2][2], b[now % 2][3]);
      }
    }
  }
}

// Divides by the row sums, writes LSE, and leaves the halves of this warp's rows in shared memory.
DEVICE void finishRows(Call const& call, Known const& known, Sums& sums) {
  float factor = factorOf(call);
  Place const& place = known.place;
  Work const& work = known.work;
  RowSums& rows = rowSums();
  int lane = laneIndex(), warp = (int)threadIdx.x / 32;
  long long lseRow = ((long long)work.batch * call.qHeads + work.head) * call.qRows;
  float sinkLogit = SINK ? sinkLogitOf(call, place) : -INFINITE;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = rows.of[m][half];
      sum += shuffleXor(sum, 1);
      sum += shuffleXor(sum, 2);
      float top = sums.top[m][half] * factor;
      float base = fmaxf(top, sinkLogit * LOG2E);
      int inTile = warp * WARP_ROWS + 16 * m + 8 * half + lane / 4;
      int row = work.qTile * TILE_Q + inTile;
      bool real = place.qRow <= row && row < place.qRow + place.qLen;
      float lse = -INFINITE, share = 0.0f;
      if (real && base != -INFINITE) {
        float shrink = exp2Fast(top - base);
        sum *= shrink;
        if (SINK) sum += exp2Fast(sinkLogit * LOG2E - base);
        share = shrink / sum;
        // The sink's own units where it is the larger: a row that keeps nothing gives it back exactly.
        lse = (SINK && base > top ? sinkLogit : base * LN2) + logf(sum);
      }
      if (lane % 4 == 0 && row < call.qRows) call.lse[lseRow + row] = lse;
#pragma unroll
      for (int n = 0; n < VALUE_TILES; n++) {
        float low = sums.out[m][n][2 * half] * share, high = sums.out[m][n][2 * half + 1] * share;
        // Not a product: the sums of a row that is not real may be anything.
        u32 both = share == 0.0f ? 0u : packHalves(low, high);
        *(u32*)(sharedBase() + chunkOffset<VALUE_DIM>(inTile, n) + lane % 4 * 4) = both;
      }
    }
  }
}

// Writes this warp's rows from shared memory.
DEVICE void storeRows(Call const& call, Work const& work) {
  using R = Rows<VALUE_DIM>;
  int lane = laneIndex(), first = (int)threadIdx.x / 32 * WARP_ROWS;
  int dim = call.valueDim;
  long long stride = call.outStride[2];
  u16* out = (u16*)call.out + work.batch * call.outStride[0] + work.head * call.outStride[1] +
             (long long)(work.qTile * TILE_Q + first) * stride;
  int rows = min(call.qRows - work.qTile * TILE_Q - first, WARP_ROWS);
  if (call.vectors && dim % 8 == 0) {
    struct alignas(16) Chunk { u64 halves[2]; };
#pragma unroll 4
    for (int i = lane; i < WARP_ROWS * R::CHUNKS; i += 32) {
      int row = i / R::CHUNKS, chunk = i % R::CHUNKS;
      if (row < rows && chunk * 8 < dim)
        *(Chunk*)(out + row * stride + chunk * 8) = *(Chunk const*)(sharedBase() + chunkOffset<VALUE_DIM>(first + row, chunk));
    }
    return;
  }
#pragma unroll 1
  for (int row = 0; row < rows; row++) {
#pragma unroll 1
    for (int column = lane; column < dim; column += 32)
      out[row * stride + column] =
          *(u16 const*)(sharedBase() + chunkOffset<VALUE_DIM>(first + row, column / 8) + column % 8 * 2);
  }
}

KERNEL(THREADS, BLOCKS) ENTRY(attend)(Call call) {
  Known& known = *(Known*)(sharedBase() + KNOWN_AT);
  {
    // Q depends on no length: it is under way while those are read.
    Work work = workOf(call, (int)blockIdx.x);
    int tileRow = work.qTile * TILE_Q;
    bool keyVectors = call.vectors && call.headDim % 8 == 0;
    copyRows<HEAD_DIM, TILE_Q>(
        0, (u16 const*)call.q + work.batch * call.qStride[0] + work.head * call.qStride[1] + tileRow * call.qStride[2],
        call.qStride[2], call.headDim, call.qRows - tileRow, keyVectors);
    if (threadIdx.x == 0u) {
      Place p = placeOf(call, work.batch, work.head);
      int lo = max(tileRow, p.qRow), hi = min(tileRow + TILE_Q, p.qRow + p.qLen) - 1;
      known.reach = reachOf(call, p, lo + p.qShift, hi + p.qShift);
      known.place = p;
      known.work = work;
      known.someReal = lo <= hi;
      known.walk = walkOf(call, p, work.qTile);
      known.keyVectors = keyVectors;
      known.valueVectors = call.vectors && call.valueDim % 8 == 0;
      known.keys = (u16 const*)call.k + work.batch * call.kStride[0] + p.kvHead * call.kStride[1] + p.kvStart * call.kStride[2];
      known.values = (u16 const*)call.v + work.batch * call.vStride[0] + p.kvHead * call.vStride[1] + p.kvStart * call.vStride[2];
    }
    syncThreads();
  }
#pragma unroll 1
  for (int i = 0; i < (STAGES > 1 ? STAGES - 1 : 1); i++) findNext(call, known, i);
  syncThreads();
  auto copyKeys = [&](int tile, int slot) {
    int first = tile * TILE_KV;
    copyRows<HEAD_DIM, TILE_KV>(K_AT + slot * K_BYTES, known.keys + first * call.kStride[2], call.kStride[2],
                                call.headDim, known.place.kvLen - first, known.keyVectors);
  };
  auto copyValues = [&](int tile, int slot) {
    int first = tile * TILE_KV;
    copyRows<VALUE_DIM, TILE_KV>(V_AT + slot * V_BYTES, known.values + first * call.vStride[2], call.vStride[2],
                                 call.valueDim, known.place.kvLen - first, known.valueVectors);
  };

  // Where the scale is negative, Q is negated instead.
  if (!SCORED && call.scale < 0.0f) {
    commitCopies();
    waitCopies<0>();
    syncThreads();
    for (int i = threadIndex(); i < Q_BYTES / 4; i += THREADS) ((u32*)sharedBase())[i] ^= 0x80008000u;
  }

  Sums sums;
#pragma unroll
  for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      sums.top[m][half] = -INFINITE;
      rowSums().of[m][half] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < VALUE_TILES; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) sums.out[m][n][e] = 0.0f;
    }
  }
  Scores s;
  KeptPairs kept;

  auto scores = [&](int at, int slot) {
    int lane = laneIndex(), firstRow = threadIndex() / 32 * WARP_ROWS;
    u32 base = sharedAddress(sharedBase());
    u32 queries = base + (u32)chunkOffset<HEAD_DIM>(firstRow + lane % 16, lane / 16);
    u32 keys = base + (u32)(K_AT + slot * K_BYTES + chunkOffset<HEAD_DIM>(lane / 16 * 8 + lane % 8, lane / 8 % 2));
    multiplyKeys(s, queries, keys);
    if (SCORED) changeScores(call, known, known.visits[at].tile, s);
    if (!known.visits[at].full) maskScores(call, known, known.visits[at].tile, kept, s);
  };
  auto values = [&](int slot) {
    int lane = laneIndex();
    u32 base = sharedAddress(sharedBase());
    float factor = factorOf(call);
    Bases bases = raiseTops(s, sums, factor);
    addValues(s, bases, sums, factor, base + (u32)(V_AT + slot * V_BYTES + chunkOffset<VALUE_DIM>(lane % 16, lane / 16)));
  };

  auto prepare = [&](int at) {
    if (MASKED && !CHEAP_MASK && !known.visits[at].full) findKept(call, known, known.visits[at].tile, kept);
  };

  int at = 0;
  if (STAGES == 1) {
    // K and V have one buffer each: V comes while K is multiplied, the next K while V is.
    if (known.visits[0].tile != NO_TILE) copyKeys(known.visits[0].tile, 0);
    commitCopies();
    while (known.visits[at].tile != NO_TILE) {
      findNext(call, known, at ^ 1);
      prepare(at);
      waitCopies<0>();
      syncThreads();
      copyValues(known.visits[at].tile, 0);
      commitCopies();
      scores(at, 0);
      waitCopies<0>();
      syncThreads();
      at ^= 1;
      if (known.visits[at].tile != NO_TILE) copyKeys(known.visits[at].tile, 0);
      commitCopies();
      values(0);
    }
  } else {
    // A whole tile, K and V, comes while another is worked on; one barrier a tile.
    auto copyTile = [&](int tile, int slot) {
      if (tile != NO_TILE) {
        copyKeys(tile, slot);
        copyValues(tile, slot);
      }
      commitCopies();
    };
#pragma unroll 1
    for (int i = 0; i + 1 < STAGES; i++) copyTile(known.visits[i].tile, i);
    int slot = 0;
    while (known.visits[at].tile != NO_TILE) {
      int last = at < 2 ? at + RING - 2 : at - 2;  // STAGES - 1 further on
      findNext(call, known, last);
      prepare(at);
      waitCopies<(STAGES > 1 ? STAGES - 2 : 0)>();
      syncThreads();
      copyTile(known.visits[last].tile, slot == 0 ? STAGES - 1 : slot - 1);
      scores(at, slot);
      values(slot);
      at = at + 1 == RING ? 0 : at + 1;
      slot = slot + 1 == STAGES ? 0 : slot + 1;
    }
  }

  // The output tile overlays what other warps may still read and what Q's copies may still write.
  waitCopies<0>();
  syncThreads();
  finishRows(call, known, sums);
  syncLanes();
  storeRows(call, known.work);
}
