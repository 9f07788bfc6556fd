// Sums over few sharers by Hopper's warpgroup products: the 64 rows of a product are the sharers of four queries, sixteen of each, so that
// what is of one query lies in one warp. In: panels as panels.cuh has them, and functions of (query, sharer, column) of the tile. Out: of each
// query and column the total of what a function makes of the products, or the news that nobody asked for it.
//
// One warpgroup brings strips of columns, one behind the other. The others have rows of their own, which stay in registers, and go through
// the strips: while one of them adds up, the products of the others run.

constexpr int PACK_THREADS = 128 * (1 + PACK_GROUPS);
constexpr int PACK_SHARERS = 16, PACK_ROWS_QUERIES = 64 / PACK_SHARERS;
constexpr int PACK_QUERIES = PACK_GROUPS * PACK_PANELS * PACK_ROWS_QUERIES;
constexpr int PACK_PITCH = 128;  // bytes of a chunk of channels
constexpr int PACK_CHUNK = PACK_PITCH / 2;
constexpr int PACK_CHUNKS = PACK_CHANNELS / PACK_CHUNK;
constexpr int PACK_PART = PACK_STRIP * PACK_PITCH;
constexpr int PACK_WORDS = PACK_CHANNELS / 4;  // of a panel, a thread
static_assert(PACK_QUERIES <= 32, "a bit for each query");

struct PackBook {
  float factors[PACK_STAGES][PACK_STRIP];  // of the columns
  u64 full[PACK_STAGES], empty[PACK_STAGES];
  u32 asked[PACK_STRIPS];                  // of each strip, by which queries
};
static_assert(sizeof(PackBook) <= PACK_BOOK, "room behind the strips");

// A strip of columns: chunk by chunk of channels its parts.
template <int PARTS>
constexpr int PACK_STRIP_BYTES = PACK_CHUNKS * PARTS * PACK_PART;

template <int PARTS, class Y, class ColumnFactor>
DEVICE void bringPackStrips(unsigned char* memory, PackBook& book, int channels, Y const& y, ColumnFactor const& columnFactor) {
  int stage = 0;
  u32 parity = 1u;  // a fresh barrier's previous phase counts as over
  for (int strip = 0; strip < PACK_STRIPS; strip++) {
    if (book.asked[strip] == 0u) continue;
    barrierWait(sharedAddress(&book.empty[stage]), parity);
    for (int begin = 0; begin < channels; begin += PACK_CHUNK)
      stagePanel<PACK_STRIP, 128, true, PARTS, 8>(memory + stage * PACK_STRIP_BYTES<PARTS> + begin / PACK_CHUNK * (PARTS * PACK_PART),
                                                  [&](int row, int first, int channel) { return y(strip * PACK_STRIP + row, first, channel); }, begin);
    if (threadIndex() < PACK_STRIP) book.factors[stage][threadIndex()] = columnFactor(strip * PACK_STRIP + threadIndex());
    arriveBrought(sharedAddress(&book.full[stage]));
    stage = stage + 1 == PACK_STAGES ? 0 : stage + 1;
    parity ^= stage == 0 ? 1u : 0u;
  }
  // A thread stays for as long as what it has asked for is under way.
  commitCopies();
  waitCopies<0>();
}

// A thread's part of a panel: of sixteen channels two of each half, of two rows.
template <class X>
DEVICE void loadPack(u32 (&a)[PACK_WORDS], int query, bool wanted, X const& x) {
  int const row = laneIndex() >> 2, pair = 2 * (laneIndex() & 3);
#pragma unroll
  for (int i = 0; i < PACK_WORDS; i++) {
    auto const piece = x(query, row + (i & 1) * 8, i / 16 * PACK_CHUNK, i / 4 * 16 + (i & 2) * 4);
    a[i] = wanted && piece.isWhole() ? *(u32 const*)(piece.at + pair) : 0u;
  }
}

// d = the product over CHUNKS chunks of channels.
template <int CHUNKS, int PARTS>
DEVICE void multiplyPack(float (&d)[PACK_STRIP / 2], u32 const (&a)[PACK_WORDS], u32 strip) {
  u64 const b = descriptorOf<PACK_PITCH>(strip, 0, 8 * PACK_PITCH);
  // What other threads copied or stored.
  fenceAsync();
  pin(d);
  productFence();
#pragma unroll
  for (int chunk = 0; chunk < CHUNKS; chunk++)
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
      for (int k = 0; k < PACK_CHUNK / 16; k++)
        productPack(d, a + (chunk * (PACK_CHUNK / 16) + k) * 4, b + (u32)(((chunk * PARTS + part) * PACK_PART + 32 * k) >> 4), chunk + part + k);
  productCommit();
  productWait<0>();
  pin(d);
}

template <int PARTS, bool TOTALS, class X, class Made, class Put, class Hide>
DEVICE void sumPackStrips(unsigned char* memory, PackBook& book, int sharers, int channels, X const& x, Made const& made, Put const& put, Hide const& hide) {
  int const group = shuffle(threadIndex() >> 7, 0) - 1, lane = laneIndex(), own = threadIndex() & 127;
  int const sharer = lane >> 2, first = group * PACK_PANELS * PACK_ROWS_QUERIES;
  bool const there[2] = {sharer < sharers, sharer + 8 < sharers};
  u32 wanted = 0u;
  for (int strip = 0; strip < PACK_STRIPS; strip++) {
    u32 const asked = book.asked[strip];
    wanted |= asked;
    for (int query = first; query < first + PACK_PANELS * PACK_ROWS_QUERIES; query++)
      if ((asked >> query & 1u) == 0u && own < PACK_STRIP) hide(query, strip * PACK_STRIP + own);
  }
  // What is of a row alone is read once for all its columns.
  u32 a[PACK_PANELS][PACK_WORDS];
  auto const madeOf = [&](int panel, int row) { return made(first + panel * PACK_ROWS_QUERIES + (own >> 5), sharer + 8 * row); };
  decltype(madeOf(0, 0)) const low[PACK_PANELS] = {madeOf(0, 0), madeOf(1, 0)}, high[PACK_PANELS] = {madeOf(0, 1), madeOf(1, 1)};
  static_assert(PACK_PANELS == 2, "as written above");
#pragma unroll
  for (int panel = 0; panel < PACK_PANELS; panel++) {
    int const query = first + panel * PACK_ROWS_QUERIES + (own >> 5);
    loadPack(a[panel], query, (wanted >> query & 1u) != 0u, x);
  }
  u32 const strips = sharedAddress(memory);
  float d[PACK_STRIP / 2];
  int stage = 0;
  u32 parity = 0u;
  for (int strip = 0; strip < PACK_STRIPS; strip++) {
    u32 const asked = (u32)shuffle((int)book.asked[strip], 0);
    if (asked == 0u) continue;
    barrierWait(sharedAddress(&book.full[stage]), parity);
#pragma unroll
    for (int panel = 0; panel < PACK_PANELS; panel++) {
      int const top = first + panel * PACK_ROWS_QUERIES;
      if ((asked >> top & ((1u << PACK_ROWS_QUERIES) - 1u)) == 0u) continue;
      u32 const b = strips + stage * PACK_STRIP_BYTES<PARTS>;
      if (channels > PACK_CHUNK) multiplyPack<2, PARTS>(d, a[panel], b);
      else multiplyPack<1, PARTS>(d, a[panel], b);
      float total[PACK_STRIP / 4];
      // One text for any number of rows: two would be more than the multiprocessor keeps of it.
      addRows<false, TOTALS>(total, d, book.factors[stage], strip * PACK_STRIP, there, low[panel], high[panel]);
      int const column = addLanes(total);
#pragma unroll
      for (int n = 0; n < PACK_STRIP / 32; n++) {
        int const at = column + (n & 1) + 4 * (n & 2);
        put(top + (own >> 5), strip * PACK_STRIP + at, TOTALS ? total[n] * book.factors[stage][at] : total[n]);
      }
    }
    syncLanes();
    if (lane == 0) barrierArrive(sharedAddress(&book.empty[stage]));
    stage = stage + 1 == PACK_STAGES ? 0 : stage + 1;
    parity ^= stage == 0 ? 1u : 0u;
  }
}

// All threads together; `memory` begins at a multiple of 1024 bytes. Channels are in eights, and vectors begin at multiples of sixteen
// bytes. `asked` is asked of ASKED parts of a strip. TOTALS: a column's factor is that of its total, not of each product.
template <int PARTS, int ASKED, bool TOTALS, class X, class Y, class Asked, class ColumnFactor, class Made, class Put, class Hide>
DEVICE void sumPacked(unsigned char* memory, int sharers, int channels, X const& x, Y const& y, Asked const& asked, ColumnFactor const& columnFactor,
                      Made const& made, Put const& put, Hide const& hide) {
  PackBook& book = *(PackBook*)(memory + PACK_STAGES * PACK_STRIP_BYTES<PARTS>);
  int const thread = threadIndex();
  if (thread < PACK_STRIPS) book.asked[thread] = 0u;
  if (thread < PACK_STAGES) {
    barrierInit(sharedAddress(&book.full[thread]), 4);
    barrierInit(sharedAddress(&book.empty[thread]), 4 * PACK_GROUPS);
  }
  syncThreads();
  for (int n = thread; n < PACK_QUERIES * PACK_STRIPS * ASKED; n += PACK_THREADS) {
    int const query = n % PACK_QUERIES, part = n / PACK_QUERIES;
    if (asked(query, part * (PACK_STRIP / ASKED))) atomicOr(&book.asked[part / ASKED], 1u << query);
  }
  syncThreads();
  if (shuffle(thread >> 7, 0) == 0) {
    shrinkRegisters<PACK_BRINGING_REGISTERS>();
    bringPackStrips<PARTS>(memory, book, channels, y, columnFactor);
  } else {
    growRegisters<PACK_ADDING_REGISTERS>();
    sumPackStrips<PARTS, TOTALS>(memory, book, sharers, channels, x, made, put, hide);
  }
}
