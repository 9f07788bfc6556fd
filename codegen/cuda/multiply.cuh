// The multiplying warpgroups of a Hopper block, and its entry: scores, softmax and outputs of the tiles that are brought.

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

// Whether accumulator i has a key, and its position, or that of the key in that column where `units` are whole tiles.
DEVICE bool isThere(Units const& units, int i) { return !GATHERS || columnOf(i) < units.count; }
DEVICE int positionOf(Place const& place, Units const& units, int i) {
  if (GATHERS) {
    int const column = min(columnOf(i), units.count - 1);
    return units.rows ? readOnly(units.rows + column) : units.id[0] + column;
  }
  int const column = columnOf(i), u = UNITS == 1 ? 0 : (i >> 2) * 8 / UNIT_KV;
  return keyAt(place, units.id[u] * UNIT_KV + column - u * UNIT_KV);
}

DEVICE void maskScores(Call const& call, Place const& place, float (&s)[S_COUNT], Units const& units, int q0, int q1) {
  if (UNROLL_MASK) {
#pragma unroll
    for (int i = 0; i < S_COUNT; i++) {
      int kv = positionOf(place, units, i);
      bool kept = isThere(units, i) & kv < place.kvLen & keeps(call, place, i & 2 ? q1 : q0, kv);
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
    float* const partial = STATE ? call.state + stateRow(call, work, r) + STATE_VALUES + (lane & 3) * 2 : partialRow(call, work, r) + (lane & 3) * 2;
    // A state has the rows as they are.
    if (STATE) {
      weight = empty ? 0.0f : 1.0f;
      if ((lane & 3) == 0 && writes) *(float2*)(partial - STATE_VALUES) = make_float2(empty ? -INFINITE : top, empty ? 0.0f : sum);
    }
    float earlier = 0.0f;  // the weight of what was made before
    float2 held[VALUE_DIM / 8];
    if (JOINS) {
      // All are under way before the first is waited for.
      Earlier const from = writes ? earlierOf(call, work, r, MERGES ? lses[r] / LN2 : 0.0f) : Earlier{-INFINITE, 0.0f, nullptr};
      float const* const values = from.values + (lane & 3) * 2;
#pragma unroll
      for (int i = 0; i < VALUE_DIM / 8; i++)
        held[i] = writes & i * 8 < call.valueDim ? *(float2 const*)(values + i * 8) : make_float2(0.0f, 0.0f);
      float const higher = fmaxf(from.lse, lse);
      if (higher != -INFINITE) {
        float const both = higher + log2f(exp2Fast(from.lse - higher) + exp2Fast(lse - higher));
        earlier = exp2Fast(from.lse - both) * from.scale;
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
        if (STATE && writes && block * 32 + j * 8 < call.valueDim) *(float2*)(partial + block * 32 + j * 8) = x;
        // What no earlier pass wrote may be anything.
        if (JOINS && earlier > 0.0f) {
          x.x += held[block * 4 + j].x * earlier;
          x.y += held[block * 4 + j].y * earlier;
        }
        w[j] = packHalves(x.x, x.y);
      }
      if (PARTIAL || STATE) continue;
      gatherColumns(w);
      if (writes) storeRow(call, target, block * 32 + (lane & 3) * 8, w);
    }
    // Four lanes have read it: all of them before the exchanges above.
    if ((lane & 3) == 0 && writes && !STATE) lses[r] = lse * LN2;
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
  RowKeys keys0 = {}, keys1 = {};

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
  // What was stored by ordinary copies, and not by the copy engine, is there for products only after a fence.
  auto awaitKeys = [&]() {
    barrierWait(sharedAddress(&book->kFull[k.stage]), k.parity);
    if (GATHERS) fenceAsync();
  };
  // Asked while products run, so that nothing waits for the answer. The lane that reads is the one that releases.
  auto readTile = [&]() {
    if (lane == 0) tile = book->tiles[k.stage];
    tile = (u32)shuffle((int)tile, 0);
    units.id[0] = (int)(tile & TILE_INDEX);
    if (UNITS > 1)
#pragma unroll
      for (int u = 0; u < UNITS; u++) units.id[u] = shuffle(lane == 0 ? book->units[k.stage].id[u] : 0, 0);
    if (GATHERS) {
      Units const told = lane == 0 ? book->units[k.stage] : Units{};
      u64 const rows = (u64)told.rows;
      units.count = shuffle(told.count, 0);
      units.rows = (int const*)((u64)(u32)shuffle((int)(rows >> 32), 0) << 32 | (u32)shuffle((int)rows, 0));
    }
  };
  auto startScores = [&]() {
    constexpr int STEPS = CHUNK_K / 16;
    productFence();
    u64 const a = qMatrix + (u32)(t.stage * (Q_BYTES >> 4)), b = kMatrix + (u32)(k.stage * (K_BYTES >> 4));
#pragma unroll
    for (int part = 0; part < K_PARTS; part++)
#pragma unroll
      for (int i = 0; i < HEAD_DIM / 16; i++)
        productScores(s, a + ((i / STEPS * (TILE_Q * CHUNK_BYTES_K) + i % STEPS * 32) >> 4),
                      b + ((part * K_PART + i / STEPS * (TILE_KV * CHUNK_BYTES_K) + i % STEPS * 32) >> 4), part + i > 0);
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
    if (GATHERS) fenceAsync();
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
    if (ROWS_DIFFER) {
      bool const has0 = hasTile(keys0, units), has1 = hasTile(keys1, units);
#pragma unroll
      for (int i = 0; i < S_COUNT; i++) s[i] = (i & 2 ? has1 : has0) ? s[i] : -INFINITE;
    }
    if (GATHERS && tile & TILE_FULL && units.count < TILE_KV) {
#pragma unroll
      for (int i = 0; i < S_COUNT; i++) s[i] = isThere(units, i) ? s[i] : -INFINITE;
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
    if (ROWS_DIFFER) {
      Place const place = book->messages[message].place;
      int const r = book->messages[message].work.qTile * TILE_Q + row;
      keys0 = rowKeysOf(call, place, rowAt(place, r));
      keys1 = rowKeysOf(call, place, rowAt(place, r + 8));
    }
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
      barrierInit(sharedAddress(&book->kFull[i]), BRINGING_WARPS);
      barrierInit(sharedAddress(&book->vFull[i]), BRINGING_WARPS);
      barrierInit(sharedAddress(&book->kEmpty[i]), CONSUMER_WARPS);
      barrierInit(sharedAddress(&book->vEmpty[i]), CONSUMER_WARPS);
    }
    barrierInitFence();
  }
  syncThreads();
  int const group = (int)(threadIdx.x >> 7);
  if (group == 0) {
    shrinkRegisters<PRODUCER_REGISTERS>();
    if (threadIdx.x < 32 * BRINGING_WARPS) produce(call, qMap, kMap, vMap, book);
  } else {
    growRegisters<CONSUMER_REGISTERS>();
    consume(call, book, group - 1);
  }
}
