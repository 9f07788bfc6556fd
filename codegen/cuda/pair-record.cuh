// The record of two query units of RECORD_Q / 2 positions, whose keys have owners: the first unit, the second, or both. Out: how many
// runs, how many keys of both, of the first and of the second; runs; keys. What both have in whole tiles or more is one run: less
// would only cut the tiles of either. The others of one unit take turns with those of the other, so that both have work.

constexpr int FIRST = 1, SECOND = 2, BOTH = FIRST | SECOND;

// A query unit: where its queries begin; it may have none in this call.
struct QueryUnit {
  int qLo;
  bool there;
};

// What a unit has by list n and by none before it.
template <int n>
struct Own {
  Given<n> list;
  ListsBefore<n> before;
  static __device__ __forceinline__ Own of(Call const& call, Place const& place, QueryUnit unit) {
    Own own = {givenOf<n>(call, place, unit.qLo), ListsBefore<n>::of(call, place, unit.qLo)};
    if (!unit.there) own.list.count = 0;
    return own;
  }
  // Whether it has a key, and up to where the answer holds.
  __device__ __forceinline__ bool holds(int key, int& until) const {
    return list.count > 0 && !before.holds(key, until) && list.holds(key, until);
  }
  // The same where the list's unit is not far from `near`, which it then is.
  __device__ __forceinline__ bool holds(int key, int& until, int& near) const {
    if (list.count == 0 || before.holds(key, until)) return false;
    near = list.unitNear(key, near);
    return list.has(near, key, until);
  }
  // Whether it has a key that its list has.
  __device__ __forceinline__ bool keeps(int key) const {
    int until = key + 1;
    return list.count > 0 && !before.holds(key, until);
  }
};

// How many runs, or keys, there are of the first unit alone, of the second alone, and of both.
struct Owned {
  int first, second, both;
};

// NVRTC has no lambdas of any argument, so what takes several kinds of them is a function.
template <class Take>
DEVICE void eachTile(int low, int high, Take take) {
  for (int first = low; first < high; first += TILE_KV) take(first, min(TILE_KV, high - first));
}

// The keys from `low` to before `high` that `mine` has: those that `theirs` has too in whole tiles or more, and runs of the rest.
// Neighbouring units have their keys by much the same numbers.
template <int n, class TakeRun, class TakeShared>
DEVICE void eachPiece(Own<n> const& mine, Own<n> const& theirs, int near, int low, int high, TakeRun take, TakeShared share) {
  int open = low;
  for (int at = low; at < high;) {
    int until = high;
    bool const gone = mine.before.holds(at, until), shared = !gone && theirs.holds(at, until, near) && until - at >= TILE_KV;
    if (gone || shared) {
      eachTile(open, at, take);
      open = until;
    }
    if (shared) eachTile(at, until, share);
    at = until;
  }
  eachTile(open, high, take);
}

// What a query unit has by list n: pieces(unit of the list, low, high) of each lane's.
template <int n, class Pieces>
DEVICE void eachSpan(Own<n> const& own, Pieces pieces) {
  for (int base = 0; base < own.list.count; base += 32) {
    int const unit = base + laneIndex();
    bool const named = unit < own.list.count && own.list.has(unit);
    pieces(unit, named ? max(own.list.low(unit), 0) : 0, named ? own.list.high(unit) : 0);
  }
}

// Where the runs of one unit alone stand: in turn with the other's as long as there are both.
DEVICE int turnOf(Owned const& all, int owner, int i) {
  int const turns = min(all.first, all.second);
  return i < turns ? 2 * i + (owner == SECOND ? 1 : 0) : turns + i;
}

template <int n>
DEVICE void countRuns(Call const& call, Place const& place, QueryUnit a, QueryUnit b, Owned& count) {
  if constexpr (n < RUN_SETS) {
    Own<n> const first = Own<n>::of(call, place, a), second = Own<n>::of(call, place, b);
    eachSpan(first, [&](int unit, int low, int high) {
      eachPiece(first, second, unit, low, high, [&](int, int) { count.first++; }, [&](int, int) { count.both++; });
    });
    eachSpan(second, [&](int unit, int low, int high) {
      eachPiece(second, first, unit, low, high, [&](int, int) { count.second++; }, [](int, int) {});
    });
    countRuns<n + 1>(call, place, a, b, count);
  }
}

// `mine` of the runs of this owner stand already, and `both` of those of both, which the first unit writes.
template <int n, int owner>
DEVICE void writeOwn(Own<n> const& own, Own<n> const& other, Owned const& all, int& mine, int& both, unsigned* to) {
  eachSpan(own, [&](int unit, int low, int high) {
    int runs = 0, shared = 0, sum;
    eachPiece(own, other, unit, low, high, [&](int, int) { runs++; }, [&](int, int) { shared++; });
    int at = mine + sumBefore(runs, sum);
    mine += sum;
    int next = 0;
    if (owner == FIRST) {
      next = all.first + all.second + both + sumBefore(shared, sum);
      both += sum;
    }
    eachPiece(
        own, other, unit, low, high, [&](int key, int length) { to[turnOf(all, owner, at++)] = runOf(key, length, owner); },
        [&](int key, int length) {
          if (owner == FIRST) to[next++] = runOf(key, length, BOTH);
        });
  });
}

// `done`: of the lists before.
template <int n>
DEVICE void writeRuns(Call const& call, Place const& place, QueryUnit a, QueryUnit b, Owned const& all, Owned done, unsigned* to) {
  if constexpr (n < RUN_SETS) {
    Own<n> const first = Own<n>::of(call, place, a), second = Own<n>::of(call, place, b);
    writeOwn<n, FIRST>(first, second, all, done.first, done.both, to);
    writeOwn<n, SECOND>(second, first, all, done.second, done.both, to);
    writeRuns<n + 1>(call, place, a, b, all, done, to);
  }
}

// The keys of a list with their owners, as told.
template <int n, class Take, class OwnersOf>
DEVICE void eachNamed(Given<n> const& list, int kvLen, Take take, OwnersOf ownersOf) {
  for (int base = 0; base < list.count; base += 32) {
    int const unit = base + laneIndex();
    bool const named = unit < list.count && list.has(unit);
    int const key = named ? list.low(unit) : -1;
    take(key, (u32)key < (u32)kvLen ? ownersOf(key) : 0);
  }
}

// The keys of lists of keys from the n-th on with their owners, 0: of none; all lanes take theirs together.
template <int n, class Take>
DEVICE void eachKey(Call const& call, Place const& place, QueryUnit a, QueryUnit b, Take take) {
  if constexpr (n < SET_COUNT) {
    constexpr bool COMMON = SETS[n].q % RECORD_Q == 0;  // the units have the same list
    Own<n> const first = Own<n>::of(call, place, a), second = Own<n>::of(call, place, b);
    auto has = [](Own<n> const& own, int key) {
      int until = key + 1;
      return own.holds(key, until);
    };
    if (COMMON) {
      Given<n> list = first.list;
      list.count = max(first.list.count, second.list.count);  // a unit without queries has none
      eachNamed(list, place.kvLen, take, [&](int key) { return (first.keeps(key) ? FIRST : 0) | (second.keeps(key) ? SECOND : 0); });
    } else {
      eachNamed(first.list, place.kvLen, take, [&](int key) { return first.keeps(key) ? FIRST | (has(second, key) ? SECOND : 0) : 0; });
      eachNamed(second.list, place.kvLen, take, [&](int key) { return second.keeps(key) && !has(first, key) ? SECOND : 0; });
    }
    eachKey<n + 1>(call, place, a, b, take);
  }
}

DEVICE void makeRecord(Call const& call, Place const& place, int from, unsigned* words) {
  int const half = RECORD_Q / 2, start = place.qRow + place.qShift, end = start + place.qLen;
  auto unitOf = [&](int lo) { return QueryUnit{max(start, lo), max(start, lo) < min(end, lo + half)}; };
  QueryUnit a = unitOf(from), b = unitOf(from + half);
  // A unit that has no queries reads a list that is there.
  if (!a.there) a.qLo = b.qLo;
  if (!b.there) b.qLo = a.qLo;
  Owned mine = {0, 0, 0}, runs, keys = {0, 0, 0};
  unsigned* const to = words + RECORD_HEADER;
  if (a.there || b.there) {
    countRuns<0>(call, place, a, b, mine);
    sumBefore(mine.first, runs.first);
    sumBefore(mine.second, runs.second);
    sumBefore(mine.both, runs.both);
    writeRuns<0>(call, place, a, b, runs, {0, 0, 0}, to);
    auto add = [](Owned& count, int owners) {
      count.first += countBits(ballotLanes(owners == FIRST));
      count.second += countBits(ballotLanes(owners == SECOND));
      count.both += countBits(ballotLanes(owners == BOTH));
    };
    eachKey<RUN_SETS>(call, place, a, b, [&](int, int owners) { add(keys, owners); });
    unsigned* const column = to + runs.first + runs.second + runs.both;
    Owned at = {keys.both, keys.both + keys.first, 0};
    eachKey<RUN_SETS>(call, place, a, b, [&](int key, int owners) {
      u32 const before = (1u << laneIndex()) - 1u;
      u32 const first = ballotLanes(owners == FIRST), second = ballotLanes(owners == SECOND), both = ballotLanes(owners == BOTH);
      if (owners == FIRST) column[at.first + countBits(first & before)] = (u32)key;
      if (owners == SECOND) column[at.second + countBits(second & before)] = (u32)key;
      if (owners == BOTH) column[at.both + countBits(both & before)] = (u32)key;
      add(at, owners);
    });
  } else {
    runs = {0, 0, 0};
  }
  if (laneIndex() == 0) {
    words[0] = (u32)(runs.first + runs.second + runs.both);
    words[1] = (u32)keys.both;
    words[2] = (u32)keys.first;
    words[3] = (u32)keys.second;
  }
}
