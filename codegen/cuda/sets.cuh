// Sets of keys, and the records that gather.cuh walks. In: the lists of call.parts, each of spans, of blocks or of keys, as SETS says;
// runs are of the first RUN_SETS of them. Out: for each (batch, head, RECORD_Q positions of queries) a record: how many runs, how many
// keys, runs of up to TILE_KV keys, keys. Every key of any list is in the record once: a list leaves out what one before it has.

constexpr int LIST_THREADS = 128;

// A run: its first key, and how many it has.
DEVICE u32 runOf(int first, int length) { return (u32)first | (u32)(length - 1) << 24; }
DEVICE int runFirst(u32 run) { return (int)(run & 0xffffffu); }
DEVICE int runLength(u32 run) { return (int)(run >> 24) + 1; }
static_assert(TILE_KV <= 256, "the length of a run has eight bits");

DEVICE int recordsOf(Call const& call) { return RECORD_Q == 0 ? 1 : (call.qRows + 2 * RECORD_Q - 2) / RECORD_Q; }

// The part of list n that a record's queries have: how many units, and where their numbers are; of bits, all units and their words.
template <int n>
struct Given {
  static constexpr Set SET = SETS[n];
  int count, kvLen;
  int const* words;

  // Where unit i begins and ends.
  __device__ __forceinline__ int low(int i) const { return SET.form == SPANS ? readOnly(words + 2 * i) : (SET.form == BITS ? i : readOnly(words + i)) * SET.kv; }
  __device__ __forceinline__ int high(int i) const { return min(kvLen, SET.form == SPANS ? readOnly(words + 2 * i + 1) : low(i) + SET.kv); }
  __device__ __forceinline__ bool has(int i) const { return SET.form != BITS || ((u32)readOnly(words + i / 32) >> (i & 31) & 1u) != 0u; }
  // The first unit that ends behind a key.
  __device__ __forceinline__ int unitAt(int key) const {
    if constexpr (SET.form == BITS) return key / SET.kv;
    int from = 0, past = count;
    while (from < past) {
      int const middle = (from + past) / 2;
      if (high(middle) > key) past = middle;
      else from = middle + 1;
    }
    return from;
  }
  // Whether the list has a key, and up to where the answer holds.
  __device__ __forceinline__ bool holds(int key, int& until) const {
    int const unit = unitAt(key);
    if (unit >= count) return false;
    int const first = low(unit);
    bool const inside = first <= key && has(unit);
    until = min(until, first <= key ? high(unit) : first);
    return inside;
  }
};

template <int n>
DEVICE Given<n> givenOf(Call const& call, Place const& place, int qLo) {
  constexpr Set SET = SETS[n];
  int const* const words = call.parts[n];
  Record const record = recordAt(call, place, words, SET.share, SET.q, qLo);
  if constexpr (SET.form == BITS) {
    int const named = (place.kvLen + SET.kv - 1) / SET.kv;
    return {named, place.kvLen, bitWordsOf(words, record, named)};
  }
  return {countOf(words, record), place.kvLen, idsOf(words, record)};
}

// Which units of its list a query has, as they come in ascending order.
struct OwnUnits {
  int const* words;
  int count;
};
DEVICE OwnUnits ownUnitsOf(Call const& call, Place const& place, int row) {
  if (row < place.qRow || row >= place.qRow + place.qLen) return {nullptr, 0};
  Given<0> const own = givenOf<0>(call, place, row + place.qShift);
  return {own.words, own.count};
}
DEVICE bool nextIs(OwnUnits& own, int unit) {
  while (own.count > 0 && readOnly(own.words) < unit) own.words++, own.count--;
  return own.count > 0 && readOnly(own.words) == unit;
}

// Whether a list before the n-th has a key, and up to where the answer holds.
template <int n>
struct ListsBefore {
  ListsBefore<n - 1> before;
  Given<n - 1> own;
  static __device__ __forceinline__ ListsBefore of(Call const& call, Place const& place, int qLo) {
    return {ListsBefore<n - 1>::of(call, place, qLo), givenOf<n - 1>(call, place, qLo)};
  }
  __device__ __forceinline__ bool holds(int key, int& until) const {
    int other = until;
    bool const inside = own.holds(key, until), theirs = before.holds(key, other);
    // Inside one of them it holds as far as that one; outside of all, as far as all.
    until = inside ? until : theirs ? other : min(until, other);
    return inside || theirs;
  }
};
template <>
struct ListsBefore<0> {
  static __device__ __forceinline__ ListsBefore of(Call const&, Place const&, int) { return {}; }
  __device__ __forceinline__ bool holds(int, int&) const { return false; }
};

// Runs of what is left of the keys from `low` to before `high`.
template <class Before, class Take>
DEVICE void eachRun(Before const& before, int low, int high, Take take) {
  for (int at = low; at < high;) {
    int until = high;
    if (!before.holds(at, until))
      for (int first = at; first < until; first += TILE_KV) take(first, min(TILE_KV, until - first));
    at = until;
  }
}

// The sum of the lanes before, and of all.
DEVICE int sumBefore(int x, int& all) {
  int const lane = laneIndex();
  int sum = x;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    int const other = shuffle(sum, max(lane - step, 0));
    if (lane >= step) sum += other;
  }
  all = shuffle(sum, 31);
  return sum - x;
}

template <int n>
DEVICE int addRuns(Call const& call, Place const& place, int qLo, unsigned* to, int count) {
  Given<n> const own = givenOf<n>(call, place, qLo);
  ListsBefore<n> const before = ListsBefore<n>::of(call, place, qLo);
  for (int base = 0; base < own.count; base += 32) {
    int const unit = base + laneIndex();
    bool const named = unit < own.count && own.has(unit);
    int const low = named ? max(own.low(unit), 0) : 0, high = named ? own.high(unit) : 0;
    int runs = 0, all;
    eachRun(before, low, high, [&](int, int) { runs++; });
    int at = count + sumBefore(runs, all);
    eachRun(before, low, high, [&](int first, int length) { to[at++] = runOf(first, length); });
    count += all;
  }
  return count;
}

template <int n>
DEVICE int addKeys(Call const& call, Place const& place, int qLo, unsigned* to, int count) {
  Given<n> const own = givenOf<n>(call, place, qLo);
  ListsBefore<n> const before = ListsBefore<n>::of(call, place, qLo);
  for (int base = 0; base < own.count; base += 32) {
    int const unit = base + laneIndex();
    bool const named = unit < own.count && own.has(unit);
    int const key = named ? own.low(unit) : -1;
    int until = key + 1;
    bool const kept = (u32)key < (u32)place.kvLen && !before.holds(key, until);
    u32 const mask = ballotLanes(kept);
    if (kept) to[count + countBits(mask & ((1u << laneIndex()) - 1u))] = (u32)key;
    count += countBits(mask);
  }
  return count;
}

// Of a list whose units of queries are shorter than a record: the units that any of its queries has, as bits of the warp's own words.
DEVICE int addUnion(Call const& call, Place const& place, int qLo, int qEnd, unsigned* to) {
  constexpr Set SET = SETS[0];
  u32* const bits = (u32*)sharedBase() + threadIdx.x / 32 * UNION_WORDS;
  int const lane = laneIndex(), units = (place.kvLen + SET.kv - 1) / SET.kv;
  for (int w = lane; w < UNION_WORDS; w += 32) bits[w] = 0u;
  syncLanes();
  for (int q = qLo + lane; q < qEnd; q += 32) {
    Given<0> const own = givenOf<0>(call, place, q);
    for (int i = 0; i < own.count; i++) {
      int const unit = readOnly(own.words + i);
      if ((u32)unit < (u32)units) atomicOr(bits + unit / 32, 1u << (unit & 31));
    }
  }
  syncLanes();
  int count = 0;
  for (int base = 0; base < units; base += 32) {
    int const unit = base + lane, low = unit * SET.kv;
    bool const named = bits[base / 32] >> lane & 1u;
    int const high = named ? min(place.kvLen, low + SET.kv) : low;
    int all;
    int at = count + sumBefore((high - low + TILE_KV - 1) / TILE_KV, all);
    for (int first = low; first < high; first += TILE_KV) to[at++] = runOf(first, min(TILE_KV, high - first));
    count += all;
  }
  return count;
}

template <int n>
DEVICE int addAll(Call const& call, Place const& place, int qLo, unsigned* to, int count, int& runs) {
  if constexpr (n < SET_COUNT) {
    if constexpr (n < RUN_SETS) count = addRuns<n>(call, place, qLo, to, count);
    else count = addKeys<n>(call, place, qLo, to, count);
    if (n + 1 == RUN_SETS) runs = count;
    return addAll<n + 1>(call, place, qLo, to, count, runs);
  }
  return count;
}

// A warp makes a record.
KERNEL(LIST_THREADS, 1) ENTRY(list)(const __grid_constant__ Call call) {
  int const lane = laneIndex();
  int const records = recordsOf(call);
  long long const record = (long long)blockIdx.x * (LIST_THREADS / 32) + (int)threadIdx.x / 32;
  if (record >= (long long)call.batch * call.qHeads * records) return;
  int const owner = (int)(record / records), own = (int)(record - (long long)owner * records), batch = owner / call.qHeads;
  Place const place = placeOf(call, batch, owner - batch * call.qHeads);
  int const start = place.qRow + place.qShift;
  // The first of its positions that there is a query at.
  int const qLo = RECORD_Q == 0 ? start : max(start, (start / RECORD_Q + own) * RECORD_Q);
  unsigned* const words = call.list + record * call.listStride;
  int runs = 0, count = 0;
  int const qEnd = min(start + place.qLen, (start / max(RECORD_Q, 1) + own + 1) * RECORD_Q);
  if (ROWS_DIFFER) runs = count = qLo < qEnd ? addUnion(call, place, qLo, qEnd, words + RECORD_HEADER) : 0;
  else if (qLo < start + place.qLen) count = addAll<0>(call, place, qLo, words + RECORD_HEADER, 0, runs);
  if (lane == 0) {
    words[0] = (u32)runs;
    words[1] = (u32)(count - runs);
  }
}
