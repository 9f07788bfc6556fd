// Attention of each query over the keys of a list of its own. In: a Call whose first list has, for every LIST_Q queries, numbers of units
// of LIST_KV keys. Out: `out` and `lse`, or a state.
//
// Nothing is shared between queries but what the cache holds, so an item is one query with the heads that have its list in common, 16
// rows of a matrix product. A warp has an item to itself: it brings 16 keys at a time into a ring of its own, multiplies them, and waits
// for nobody. Where there are fewer items than warps, a block's warps share one and merge what they have at the end.

constexpr int WARPS = THREADS / 32;
constexpr int SLICE = 16;  // keys of a product
constexpr int K_ROW = 2 * HEAD_DIM;
constexpr int V_ROW = 2 * VALUE_DIM;
constexpr int K_BYTES = SLICE * K_ROW;
constexpr int STAGE_BYTES = K_BYTES + SLICE * V_ROW;
constexpr int O_BLOCKS = VALUE_DIM / 8;
constexpr int MERGE_ROW = VALUE_DIM + 8;  // floats: rows of four lanes' pairs fall on different banks
constexpr float LOG2E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;
constexpr int STATE_VALUES = 4;
static_assert(WARPS * 16 * (MERGE_ROW + 2) * 4 <= WARPS * STAGES * STAGE_BYTES, "results are merged in the ring's place");
static_assert(LIST_SHARE == 2 || !MASK_READS_HEAD, "a list's heads have their mask in common");

// A query row and up to 16 of its heads.
struct Item {
  int batch, row, head0, heads;
};
DEVICE int headsOf(Call const& call) { return LIST_SHARE == 2 ? 1 : call.qHeads / call.kvHeads; }
DEVICE int groupsOf(Call const& call) { return call.qHeads / headsOf(call) * ((headsOf(call) + 15) / 16); }
// Queries of one head are neighbours: their lists often meet.
DEVICE Item itemOf(Call const& call, long long x) {
  int const heads = headsOf(call), pieces = (heads + 15) / 16, groups = groupsOf(call);
  Item t;
  t.row = (int)(x % call.qRows);
  x /= call.qRows;
  int const group = (int)(x % groups), piece = group % pieces;
  t.batch = (int)(x / groups);
  t.head0 = group / pieces * heads + 16 * piece;
  t.heads = min(16, heads - 16 * piece);
  return t;
}

// 16 rows to shared memory; lanes l and l + 16 know the key of row l, or -1: zeros.
template <int DIM>
DEVICE void bringRows(u16 const* base, long long rowStride, int dim, int known, u32 shared) {
  constexpr int UNITS = DIM / 8, ACROSS = UNITS % 8 == 0 ? 8 : 4, ROWS = 32 / ACROSS;
  int const lane = laneIndex();
#pragma unroll
  for (int r = 0; r < SLICE; r += ROWS) {
    int const row = r + lane / ACROSS, key = shuffle(known, row);
    u16 const* const from = base + max(key, 0) * rowStride;
#pragma unroll
    for (int u = 0; u < UNITS; u += ACROSS) {
      int const unit = u + lane % ACROSS;
      copyAsync16(shared + row * 2 * DIM + 16 * unitAt<DIM>(row, unit), from + 8 * unit, key >= 0 && 8 * unit < dim);
    }
  }
}

// Two columns of a row of results, from sums of weights relative to `top`, in powers of two.
struct Result {
  long long row;  // of lse
  u16* out;
  float* state;
  float factor;
};
DEVICE Result resultOf(Call const& call, Place const& place, Item const& item, int head, float top, float sum, bool writes) {
  Result r;
  r.row = ((long long)item.batch * call.qHeads + head) * call.qRows + item.row;
  r.out = (u16*)call.out + item.batch * call.outStride[0] + head * call.outStride[1] + item.row * call.outStride[2];
  r.state = call.state + r.row * (STATE_VALUES + (call.valueDim + 3) / 4 * 4);
  bool const empty = top == -INFINITE;
  if (STATE) {
    r.factor = 1.0f;
    if (writes) r.state[0] = empty ? -INFINITE : top, r.state[1] = empty ? 0.0f : sum;
    return r;
  }
  float const sink = SINK ? sinkLogitOf(call, placeOf(call, item.batch, head)) * LOG2E : -INFINITE;
  float const most = fmaxf(top, sink);
  float const total = (empty ? 0.0f : sum * exp2Fast(top - most)) + (SINK ? exp2Fast(sink - most) : 0.0f);
  r.factor = empty ? 0.0f : exp2Fast(top - most) / total;
  if (writes) call.lse[r.row] = most == -INFINITE ? -INFINITE : (most + log2f(total)) * LN2;
  return r;
}
DEVICE void storePair(Call const& call, Result const& r, int column, float x, float y) {
  if (column >= call.valueDim) return;
  if (STATE) *(float2*)(r.state + STATE_VALUES + column) = make_float2(x, y);
  else *(u32*)(r.out + column) = r.factor == 0.0f ? 0u : packHalves(x * r.factor, y * r.factor);
}

KERNEL(THREADS, BLOCKS) ENTRY(attend)(const __grid_constant__ Call call) {
  int const lane = laneIndex(), warp = (int)threadIdx.x / 32;
  long long const items = (long long)call.batch * groupsOf(call) * call.qRows;
  int const share = items <= SPREAD_ITEMS ? WARPS : 1;  // warps of an item
  long long const own = (long long)blockIdx.x * (WARPS / share) + warp / share;
  bool const works = own < items;
  Item const item = itemOf(call, works ? own : 0);
  Place const place = placeOf(call, item.batch, item.head0);
  bool const real = works && item.row >= place.qRow && item.row < place.qRow + place.qLen;
  int const position = item.row + place.qShift;

  // The list: slices of keys of its units, one after the other.
  int count = 0;
  int const* ids = call.parts[0];
  if (real) {
    Record const record = recordAt(call, place, ids, LIST_SHARE, LIST_Q, position);
    count = countOf(ids, record) * LIST_KV;
    ids = idsOf(ids, record);
  }
  int const slices = (count + SLICE - 1) / SLICE, first = share == 1 ? 0 : warp;

  u16 const* const k = (u16 const*)call.k + item.batch * call.kStride[0] + place.kvHead * call.kStride[1] + place.kvStart * call.kStride[2];
  u16 const* const v = (u16 const*)call.v + item.batch * call.vStride[0] + place.kvHead * call.vStride[1] + place.kvStart * call.vStride[2];
  u32 const ring = sharedAddress(sharedBase()) + warp * STAGES * STAGE_BYTES;
  // Lanes l and l + 16 know the l-th key of a slice, or that there is none that the mask keeps.
  auto bring = [&](int slice, int stage) -> int {
    int const at = slice * SLICE + (lane & 15);
    int key = -1;
    if (slice < slices && at < count) {
      key = readOnly(ids + at / LIST_KV) * LIST_KV + at % LIST_KV;
      if ((u32)key >= (u32)place.kvLen || (MASKED && !keeps(call, place, position, key))) key = -1;
    }
    if (slice < slices) {
      bringRows<HEAD_DIM>(k, call.kStride[2], call.headDim, key, ring + stage * STAGE_BYTES);
      bringRows<VALUE_DIM>(v, call.vStride[2], call.valueDim, key, ring + stage * STAGE_BYTES + K_BYTES);
    }
    commitCopies();
    return key;
  };
  int queue[STAGES];  // the keys of the slices under way, oldest first
#pragma unroll
  for (int i = 0; i < STAGES; i++) queue[i] = bring(first + i * share, i);

  // A thread has rows, which are heads, lane / 4 and lane / 4 + 8.
  u32 q[HEAD_DIM / 16][4];
  Place scorePlaces[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int const m = lane / 4 + 8 * h;
    bool const there = real && m < item.heads;
    if (SCORE_READS_HEAD) scorePlaces[h] = placeOf(call, item.batch, item.head0 + (there ? m : 0));
    u16 const* const from = (u16 const*)call.q + item.batch * call.qStride[0] + (item.head0 + m) * call.qStride[1] + item.row * call.qStride[2];
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 8; i++) {
      int const column = 8 * i + 2 * (lane & 3);
      q[i / 2][i % 2 * 2 + h] = there && column < call.headDim ? *(u32 const*)(from + column) : 0u;
    }
  }

  float o[O_BLOCKS][4];
#pragma unroll
  for (int i = 0; i < O_BLOCKS; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.0f;
  float top[2] = {-INFINITE, -INFINITE}, sum[2] = {0.0f, 0.0f};
  float const unit = call.scale * LOG2E;
  int const kRow = (lane & 7) + (lane >> 4) * 8, kUnit = lane >> 3 & 1;
  int const vRow = lane & 15, vUnit = lane >> 4;

  for (int slice = first, stage = 0; slice < slices; slice += share) {
    int const known = queue[0];
    waitCopies<STAGES - 1>();
    syncLanes();
    u32 const keys = ring + stage * STAGE_BYTES + kRow * K_ROW;
    float s[2][4] = {};
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 16; i++) {
      u32 b[4];
      loadMatrices(b, keys + 16 * unitAt<HEAD_DIM>(kRow, 2 * i + kUnit));
      multiplyAdd(s[0], q[i], b[0], b[1]);
      multiplyAdd(s[1], q[i], b[2], b[3]);
    }
    // Element e of a thread: row e & 2, key e >> 2 & 1 blocks of eight on.
#pragma unroll
    for (int e = 0; e < 8; e++) {
      int const key = shuffle(known, 2 * (lane & 3) + 8 * (e >> 2) + (e & 1));
      float& x = s[e >> 2][e & 3];
      if (SCORED) x = scoreOf(call, SCORE_READS_HEAD ? scorePlaces[e >> 1 & 1] : place, x * call.scale, position, max(key, 0)) * LOG2E;
      else x *= unit;
      if (key < 0) x = -INFINITE;
    }
    float decay[2];
    bool grown = false;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float most = quadMax(fmaxf(fmaxf(s[0][2 * h], s[0][2 * h + 1]), fmaxf(s[1][2 * h], s[1][2 * h + 1])));
      grown = grown || most > top[h];
      most = fmaxf(most, top[h]);
      // A row without any kept key yet has no maximum to subtract.
      float const shift = most == -INFINITE ? 0.0f : most;
      decay[h] = exp2Fast(top[h] - shift);
      top[h] = most;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float& x = s[e >> 1][2 * h + (e & 1)];
        x = exp2Fast(x - shift);
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
    u32 const values = ring + stage * STAGE_BYTES + K_BYTES + vRow * V_ROW;
#pragma unroll
    for (int i = 0; i < O_BLOCKS; i += 2) {
      u32 b[4];
      loadMatricesTransposed(b, values + 16 * unitAt<VALUE_DIM>(vRow, i + vUnit));
      multiplyAdd(o[i], p, b[0], b[1]);
      multiplyAdd(o[i + 1], p, b[2], b[3]);
    }
    syncLanes();
#pragma unroll
    for (int i = 0; i + 1 < STAGES; i++) queue[i] = queue[i + 1];
    queue[STAGES - 1] = bring(slice + STAGES * share, stage);
    stage = stage + 1 == STAGES ? 0 : stage + 1;
  }
  waitCopies<0>();

  if (share == 1) {
    if (!works) return;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int const m = lane / 4 + 8 * h;
      float const total = quadSum(sum[h]);
      if (m >= item.heads) continue;
      Result const result = resultOf(call, place, item, item.head0 + m, top[h], total, (lane & 3) == 0);
#pragma unroll
      for (int i = 0; i < O_BLOCKS; i++) storePair(call, result, 8 * i + 2 * (lane & 3), o[i][2 * h], o[i][2 * h + 1]);
    }
    return;
  }

  // The rings are free now, and take every warp's results.
  syncThreads();
  float* const merged = (float*)sharedBase();
  float2* const stats = (float2*)(merged + WARPS * 16 * MERGE_ROW);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int const at = 16 * warp + lane / 4 + 8 * h;
    float const total = quadSum(sum[h]);
    if ((lane & 3) == 0) stats[at] = make_float2(top[h], total);
#pragma unroll
    for (int i = 0; i < O_BLOCKS; i++)
      *(float2*)(merged + at * MERGE_ROW + 8 * i + 2 * (lane & 3)) = make_float2(o[i][2 * h], o[i][2 * h + 1]);
  }
  syncThreads();
#pragma unroll 1
  for (int m = warp; m < item.heads && works; m += WARPS) {
    float most = -INFINITE, total = 0.0f, weights[WARPS];
#pragma unroll
    for (int w = 0; w < WARPS; w++) most = fmaxf(most, stats[16 * w + m].x);
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      float2 const one = stats[16 * w + m];
      weights[w] = one.x == -INFINITE ? 0.0f : exp2Fast(one.x - most);
      total += weights[w] * one.y;
    }
    Result const result = resultOf(call, place, item, item.head0 + m, most, total, lane == 0);
    for (int column = 2 * lane; column < VALUE_DIM; column += 64) {
      float x = 0.0f, y = 0.0f;
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        float2 const one = *(float2 const*)(merged + (16 * w + m) * MERGE_ROW + column);
        x += weights[w] * one.x;
        y += weights[w] * one.y;
      }
      storePair(call, result, column, x, y);
    }
  }
}
