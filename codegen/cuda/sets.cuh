// Sets of keys. In: the lists of call.parts, each of spans, of blocks or of keys, as SETS says; runs are of the first RUN_SETS of
// them. Out: what the queries of a unit have of each list, and whether the lists before it have a key: a key is of the first that
// has it. The words that records are made of, too.

// A run: its first key, how many it has, and of a pair of query units which have it.
constexpr int RUN_LENGTHS = PAIRED ? 64 : 256;
DEVICE u32 runOf(int first, int length, int owners = 0) { return (u32)first | (u32)(length - 1) << 24 | (u32)owners << 30; }
DEVICE int runFirst(u32 run) { return (int)(run & 0xffffffu); }
DEVICE int runLength(u32 run) { return (int)(run >> 24) % RUN_LENGTHS + 1; }
DEVICE int runOwners(u32 run) { return PAIRED ? (int)(run >> 30) : 0; }
static_assert(TILE_KV <= RUN_LENGTHS, "the length of a run has eight bits, or six beside its owners");

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
  // The first unit that ends behind a key, of those from `from` to before `past` and the one behind them.
  __device__ __forceinline__ int unitAt(int key, int from, int past) const {
    if constexpr (SET.form == BITS) return key / SET.kv;
    while (from < past) {
      int const middle = (from + past) / 2;
      if (high(middle) > key) past = middle;
      else from = middle + 1;
    }
    return from;
  }
  // The same where it is not far from some unit: in steps that double, there are few to look at.
  __device__ __forceinline__ int unitNear(int key, int near) const {
    if constexpr (SET.form == BITS) return key / SET.kv;
    int from = 0, past = count;
    near = min(near, count - 1);
    if (high(near) > key) {
      past = near;
      for (int step = 1; from < past; step *= 2) {
        int const at = max(past - step, 0);
        if (high(at) <= key) {
          from = at + 1;
          break;
        }
        past = at;
      }
    } else {
      from = near + 1;
      for (int step = 1; from < past; step *= 2) {
        int const at = min(from + step, past) - 1;
        if (high(at) > key) {
          past = at;
          break;
        }
        from = at + 1;
      }
    }
    return unitAt(key, from, past);
  }
  // Whether the list has a key, and up to where the answer holds; `unit` is the first that ends behind it.
  __device__ __forceinline__ bool has(int unit, int key, int& until) const {
    if (unit >= count) return false;
    int const first = low(unit);
    bool const inside = first <= key && has(unit);
    until = min(until, first <= key ? high(unit) : first);
    return inside;
  }
  __device__ __forceinline__ bool holds(int key, int& until) const { return has(unitAt(key, 0, count), key, until); }
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
