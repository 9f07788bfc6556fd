// The record of a query unit, or of queries whose units are shorter: how many runs, how many keys, runs of up to TILE_KV keys, keys.
// Every key of any list is in the record once: a list leaves out what one before it has.

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

DEVICE void makeRecord(Call const& call, Place const& place, int from, unsigned* words) {
  int const start = place.qRow + place.qShift, end = start + place.qLen;
  // The first of its positions that there is a query at.
  int const qLo = RECORD_Q == 0 ? start : max(start, from), qEnd = min(end, from + RECORD_Q);
  int runs = 0, count = 0;
  if (ROWS_DIFFER) runs = count = qLo < qEnd ? addUnion(call, place, qLo, qEnd, words + RECORD_HEADER) : 0;
  else if (qLo < end) count = addAll<0>(call, place, qLo, words + RECORD_HEADER, 0, runs);
  if (laneIndex() == 0) {
    words[0] = (u32)runs;
    words[1] = (u32)(count - runs);
  }
}
