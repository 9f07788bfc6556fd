// Sums over sharers by Hopper's warpgroup products: for each query a product whose 64 rows are its sharers, and whose columns are a strip
// that all queries have in common. In: panels as panels.cuh has them, and functions of (query, sharer, column) of the tile. Out: of each
// query and column the total of what a function makes of the products, or the news that nobody asked for it.
//
// One warpgroup brings: the panels of all queries, which stay, and strips of columns, one behind the other. The queries that ask for a
// strip are dealt to the other warpgroups in turn: while one of them adds up, the products of the others run.

constexpr int SHARER_THREADS = 128 * (1 + SHARER_GROUPS);
constexpr int SHARER_PITCH = 128;  // bytes of a chunk of channels
constexpr int SHARER_CHUNK = SHARER_PITCH / 2;
constexpr int SHARER_CHUNKS = SHARER_CHANNELS / SHARER_CHUNK;
constexpr int QUERY_CHUNK = SHARER_ROWS * SHARER_PITCH, STRIP_CHUNK = STRIP * SHARER_PITCH;
constexpr int QUERY_PANEL = SHARER_CHUNKS * QUERY_CHUNK, STRIP_PANEL = SHARER_CHUNKS * STRIP_CHUNK;
constexpr int SHARER_BARRIER = 1;  // and those that follow: of each adding warpgroup one
static_assert(SHARER_QUERIES <= 32, "a bit for each query");

struct SharerBook {
  float parts[SHARER_GROUPS][2][4][STRIP];  // of the warps of a group; two rounds, so that one meeting a round is enough
  float factors[STRIP_STAGES][STRIP];       // of the columns
  u64 full[STRIP_STAGES], empty[STRIP_STAGES], query[SHARER_QUERIES];
  u32 asked[STRIPS];                        // of each strip, by which queries
};
static_assert(sizeof(SharerBook) <= SHARER_BOOK, "room behind the panels");

template <class X, class Y, class ColumnFactor>
DEVICE void bringStrips(unsigned char* memory, SharerBook& book, int channels, X const& x, Y const& y, ColumnFactor const& columnFactor) {
  unsigned char* const strips = memory + SHARER_QUERIES * QUERY_PANEL;
  int stage = 0;
  u32 parity = 1u;  // a fresh barrier's previous phase counts as over
  u32 wanted = 0u;
  for (int strip = 0; strip < STRIPS; strip++) wanted |= book.asked[strip];
  for (int strip = 0; strip < STRIPS; strip++) {
    if (book.asked[strip] == 0u) continue;
    barrierWait(sharedAddress(&book.empty[stage]), parity);
    for (int begin = 0; begin < channels; begin += SHARER_CHUNK)
      stagePanel<STRIP, 128, true, 1, 8>(strips + stage * STRIP_PANEL + begin / SHARER_CHUNK * STRIP_CHUNK,
                                         [&](int row, int first, int channel) { return y(strip * STRIP + row, first, channel); }, begin);
    book.factors[stage][threadIndex()] = columnFactor(strip * STRIP + threadIndex());
    arriveBrought(sharedAddress(&book.full[stage]));
    // Behind the first strip, in the order in which they are met.
    for (; wanted != 0u; wanted &= wanted - 1u) {
      int const query = lowestBit(wanted);
      for (int begin = 0; begin < channels; begin += SHARER_CHUNK)
        stagePanel<SHARER_ROWS, 128, true, 1, 8>(memory + query * QUERY_PANEL + begin / SHARER_CHUNK * QUERY_CHUNK,
                                                 [&](int row, int first, int channel) { return x(query, row, first, channel); }, begin);
      arriveBrought(sharedAddress(&book.query[query]));
    }
    stage = stage + 1 == STRIP_STAGES ? 0 : stage + 1;
    parity ^= stage == 0 ? 1u : 0u;
  }
  // A thread stays for as long as what it has asked for is under way.
  commitCopies();
  waitCopies<0>();
}

// d = the product over CHUNKS chunks of channels.
template <int CHUNKS>
DEVICE void multiplyStrip(float (&d)[STRIP / 2], u32 query, u32 strip) {
  u64 const a = descriptorOf<SHARER_PITCH>(query, 0, 8 * SHARER_PITCH);
  u64 const b = descriptorOf<SHARER_PITCH>(strip, 0, 8 * SHARER_PITCH);
  // What other threads copied or stored.
  fenceAsync();
  pin(d);
  productFence();
#pragma unroll
  for (int chunk = 0; chunk < CHUNKS; chunk++)
#pragma unroll
    for (int k = 0; k < SHARER_PITCH; k += 32)
      productStrip(d, a + (u32)((chunk * QUERY_CHUNK + k) >> 4), b + (u32)((chunk * STRIP_CHUNK + k) >> 4), chunk + k);
  productCommit();
  productWait<0>();
  pin(d);
}

template <bool TOTALS, class Made, class Put, class Hide>
DEVICE void sumStrips(unsigned char* memory, SharerBook& book, int sharers, int channels, Made const& made, Put const& put, Hide const& hide) {
  int const group = shuffle(threadIndex() >> 7, 0) - 1, lane = laneIndex(), own = threadIndex() & 127;
  int const sharer = (own >> 5) * 16 + (lane >> 2);
  bool const there[2] = {sharer < sharers, sharer + 8 < sharers};
  for (int n = group; n < STRIPS * SHARER_QUERIES; n += SHARER_GROUPS) {
    int const strip = n / SHARER_QUERIES, query = n % SHARER_QUERIES;
    if ((book.asked[strip] >> query & 1u) == 0u) hide(query, strip * STRIP + own);
  }
  u32 const queries = sharedAddress(memory), strips = queries + SHARER_QUERIES * QUERY_PANEL;
  float d[STRIP / 2];
  int stage = 0, turn = 0, round = 0;
  u32 parity = 0u;
  for (int strip = 0; strip < STRIPS; strip++) {
    u32 left = (u32)shuffle((int)book.asked[strip], 0);
    if (left == 0u) continue;
    barrierWait(sharedAddress(&book.full[stage]), parity);
    for (; left != 0u; left &= left - 1u) {
      bool const isOwn = turn == group;
      turn = turn + 1 == SHARER_GROUPS ? 0 : turn + 1;
      if (!isOwn) continue;
      int const query = lowestBit(left);
      barrierWait(sharedAddress(&book.query[query]), 0u);
      // What is read of the rows comes while the product runs.
      auto const low = made(query, sharer), high = made(query, sharer + 8);
      u32 const a = queries + query * QUERY_PANEL, b = strips + stage * STRIP_PANEL;
      if (channels > SHARER_CHUNK) multiplyStrip<2>(d, a, b);
      else multiplyStrip<1>(d, a, b);
      float total[STRIP / 4];
      if (sharers >= SHARER_ROWS) addRows<true, TOTALS>(total, d, book.factors[stage], strip * STRIP, there, low, high);
      else addRows<false, TOTALS>(total, d, book.factors[stage], strip * STRIP, there, low, high);
      float* const part = book.parts[group][round][own >> 5] + addLanes(total);
      *(float2*)part = make_float2(total[0], total[1]);
      *(float2*)(part + 8) = make_float2(total[2], total[3]);
      namedSync(SHARER_BARRIER + group, 128);
      float sum = 0.0f;
#pragma unroll
      for (int warp = 0; warp < 4; warp++) sum += book.parts[group][round][warp][own];
      put(query, strip * STRIP + own, TOTALS ? sum * book.factors[stage][own] : sum);
      round ^= 1;
    }
    syncLanes();
    if (lane == 0) barrierArrive(sharedAddress(&book.empty[stage]));
    stage = stage + 1 == STRIP_STAGES ? 0 : stage + 1;
    parity ^= stage == 0 ? 1u : 0u;
  }
}

// All threads together; `memory` begins at a multiple of 1024 bytes. Channels are in eights, and vectors begin at multiples of sixteen
// bytes. `asked` is asked of PARTS parts of a strip. TOTALS: a column's factor is that of its total, not of each product.
template <int PARTS, bool TOTALS, class X, class Y, class Asked, class ColumnFactor, class Made, class Put, class Hide>
DEVICE void sumSharers(unsigned char* memory, int sharers, int channels, X const& x, Y const& y, Asked const& asked, ColumnFactor const& columnFactor,
                       Made const& made, Put const& put, Hide const& hide) {
  SharerBook& book = *(SharerBook*)(memory + SHARER_QUERIES * QUERY_PANEL + STRIP_STAGES * STRIP_PANEL);
  int const thread = threadIndex();
  if (thread < STRIPS) book.asked[thread] = 0u;
  if (thread < STRIP_STAGES) {
    barrierInit(sharedAddress(&book.full[thread]), 4);
    barrierInit(sharedAddress(&book.empty[thread]), 4 * SHARER_GROUPS);
  }
  if (thread < SHARER_QUERIES) barrierInit(sharedAddress(&book.query[thread]), 4);
  syncThreads();
  for (int n = thread; n < SHARER_QUERIES * STRIPS * PARTS; n += SHARER_THREADS) {
    int const query = n % SHARER_QUERIES, part = n / SHARER_QUERIES;
    if (asked(query, part * (STRIP / PARTS))) atomicOr(&book.asked[part / PARTS], 1u << query);
  }
  syncThreads();
  if (shuffle(thread >> 7, 0) == 0) bringStrips(memory, book, channels, x, y, columnFactor);
  else sumStrips<TOTALS>(memory, book, sharers, channels, made, put, hide);
}
