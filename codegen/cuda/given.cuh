// Lists as a call or an earlier kernel gives them, in words: units of queries of a sharer and three unused ones; with R records in all,
// R counts, R starts, and the units' numbers from there on. Of bits the records follow the header.

DEVICE int sharersOf(int share, Call const& call) { return share == 2 ? call.qHeads : share == 1 ? call.kvHeads : 1; }
DEVICE int sharerOf(Place const& place, int share, Call const& call) {
  return place.batch * sharersOf(share, call) + (share == 2 ? place.head : share == 1 ? place.kvHead : 0);
}

// Which record of a list the query at a position has, of how many; `q` positions of a unit, 0: all of a head.
struct Record {
  int mine, all;
};
DEVICE Record recordAt(Call const& call, Place const& place, int const* words, int share, int q, int position) {
  int const units = readOnly(words), unit = q == 0 ? 0 : position / q - (place.qRow + place.qShift) / q;
  return {sharerOf(place, share, call) * units + unit, call.batch * sharersOf(share, call) * units};
}
DEVICE int countOf(int const* words, Record const& record) { return readOnly(words + 4 + record.mine); }
DEVICE int const* idsOf(int const* words, Record const& record) { return words + 4 + 2 * record.all + readOnly(words + 4 + record.all + record.mine); }
DEVICE int const* bitWordsOf(int const* words, Record const& record, int units) { return words + 4 + (long long)record.mine * ((units + 31) / 32); }
