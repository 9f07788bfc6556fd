// list: of the units of keys that a call names for each query unit, those that the mask leaves something of, as entries for the
// walk of tiles.cuh. A warp makes the record of one (batch, head, query tile): a count, then of each entry its UNITS units.
//
// In: call.parts, in words: the number of records of a sharer and three unused ones; with R records in all, R counts, R starts,
// and the units' numbers from there on. With LIST_BITS the records follow the header: bit v & 31 of word v >> 5 is unit v. LIST_SPLIT
// units of UNIT_KV keys are made of each that is named.

constexpr int LIST_THREADS = 128;
constexpr u32 LIST_FULL = 1u << 31;

KERNEL(LIST_THREADS, 1) ENTRY(list)(const __grid_constant__ Call call) {
  int const lane = laneIndex();
  int const qTiles = listTilesOf(call), records = call.batch * call.qHeads * qTiles;
  int const record = (int)blockIdx.x * (LIST_THREADS / 32) + (int)threadIdx.x / 32;
  if (record >= records) return;
  int const owner = record / qTiles, qTile = record - owner * qTiles, batch = owner / call.qHeads, head = owner - batch * call.qHeads;
  Place const place = placeOf(call, batch, head);
  int const first = max(qTile * TILE_Q, rowsBefore(place, place.qRow));
  int const past = min(qTile * TILE_Q + TILE_Q, rowsBefore(place, place.qRow + place.qLen));
  unsigned* const words = call.list + (long long)record * call.listStride;
  int count = 0;
  if (first < past) {
    int const qLo = rowAt(place, first) + place.qShift, qHi = rowAt(place, past - 1) + place.qShift;
    int const* const given = call.parts[0];
    int const units = readOnly(given);
    int const sharers = LIST_SHARE == 2 ? call.qHeads : LIST_SHARE == 1 ? call.kvHeads : 1;
    int const sharer = LIST_SHARE == 2 ? head : LIST_SHARE == 1 ? place.kvHead : 0;
    int const unit = LIST_Q == 0 ? 0 : qLo / LIST_Q - (place.qRow + place.qShift) / LIST_Q;
    int const mine = (batch * sharers + sharer) * units + unit, all = call.batch * sharers * units;
    int const last = (place.kvLen + UNIT_KV - 1) / UNIT_KV;  // no unit begins here or behind
    int const named = (place.kvLen + UNIT_KV * LIST_SPLIT - 1) / (UNIT_KV * LIST_SPLIT);
    int const* const ids = given + 4 + (LIST_BITS ? mine * ((named + 31) / 32) : 2 * all + readOnly(given + 4 + all + mine));
    int const most = unit >= units ? 0 : LIST_SPLIT * (LIST_BITS ? named : readOnly(given + 4 + mine));
    Reach const reach = reachOf(call, place, qLo, qHi);
    for (int base = 0; base < most; base += 32) {
      int const at = base + lane;
      int const which = at / LIST_SPLIT;
      int id = -1;
      if (at < most && LIST_BITS) id = (u32)readOnly(ids + which / 32) >> (which & 31) & 1u ? at : -1;
      if (at < most && !LIST_BITS) id = readOnly(ids + which) * LIST_SPLIT + at % LIST_SPLIT;
      // What is no number of a unit is passed over.
      bool const kept = (u32)id < (u32)last && isReached(call, place, reach, id);
      bool const full = kept && isFull(call, place, reach, id);
      u32 const mask = ballotLanes(kept);
      if (kept) words[1 + count + countBits(mask & ((1u << lane) - 1u))] = (u32)id | (full ? LIST_FULL : 0u);
      count += countBits(mask);
    }
    // The last entry is filled up with a unit behind the last key.
    if (lane < UNITS && count % UNITS + lane < UNITS && count % UNITS != 0) words[1 + count + lane] = (u32)last;
    count = (count + UNITS - 1) / UNITS;
    syncLanes();
    // An entry is full where all its units are.
    for (int entry = lane; UNITS > 1 && entry < count; entry += 32) {
      unsigned* const own = words + 1 + entry * UNITS;
      u32 full = LIST_FULL;
      for (int u = 0; u < UNITS; u++) full &= own[u];
      own[0] = (own[0] & UNIT_INDEX) | full;
    }
  }
  if (lane == 0) words[0] = (u32)(count);
}
