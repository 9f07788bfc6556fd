// Products of two panels of vectors by Hopper's warpgroup products. In: as product.cuh says. Out: the sums of a tile of PANEL_ROWS x
// PANEL_COLUMNS cells in the registers of two warpgroups, which have 64 rows each.
//
// While the products of one chunk of channels run, those of the next are issued behind them, and the chunks that come after are on
// their way to memory: a thread copies pieces of sixteen bytes, whatever the rows are.

constexpr int PANEL_ROWS = 128;
constexpr int PANEL_THREADS = 256;
constexpr int PANEL_CELLS = PANEL_ROWS * PANEL_COLUMNS / PANEL_THREADS;

// A warp has 16 rows and all columns.
constexpr int PANEL_WARP_ROWS = 16;
constexpr int PANEL_WARP_COLUMNS = PANEL_COLUMNS;
DEVICE int panelRow() { return (threadIndex() >> 5) * 16; }
DEVICE int panelColumn() { return 0; }
DEVICE int cellRow(int n) { return ((n >> 1) & 1) * 8; }
DEVICE int cellColumn(int n) { return (n >> 2) * 8 + (n & 1); }

// The memory of a product: STAGES chunks of CHANNELS channels, of each panel its parts. Of the stages one is being read, one was
// read last, by what may still run, and the others are filled.
template <int XPARTS, int YPARTS>
struct PanelShape {
  static constexpr int CHANNELS = XPARTS + YPARTS == 2 ? 64 : 32;
  static constexpr int PIECES = CHANNELS / 8;
  static constexpr int PITCH = CHANNELS * 2;
  static constexpr int XPART = PANEL_ROWS * PITCH;
  static constexpr int YPART = PANEL_COLUMNS * PITCH;
  static constexpr int STAGE = XPARTS * XPART + YPARTS * YPART;
};

// Products of a chunk at `stage`, behind those that are under way.
template <bool BRAINS, int XPARTS, int YPARTS>
DEVICE void issueStage(float (&d)[PANEL_CELLS], u32 stage) {
  using Shape = PanelShape<XPARTS, YPARTS>;
  constexpr int MOST = XPARTS > YPARTS ? XPARTS : YPARTS;
  u64 const x = descriptorOf<Shape::PITCH>(stage + (u32)shuffle(threadIndex() >> 7, 0) * (64 * Shape::PITCH), 0, 8 * Shape::PITCH);
  u64 const y = descriptorOf<Shape::PITCH>(stage + XPARTS * Shape::XPART, 0, 8 * Shape::PITCH);
#pragma unroll
  for (int k = 0; k < Shape::CHANNELS; k += 16)
#pragma unroll
    for (int part = 0; part < XPARTS; part++)
#pragma unroll
      for (int other = 0; other < YPARTS; other++) {
        // What is left out is below the last bit of the greatest product.
        if (part + other >= MOST) continue;
        u64 const a = x + (u32)((part * Shape::XPART + 2 * k) >> 4), b = y + (u32)((other * Shape::YPART + 2 * k) >> 4);
        if (BRAINS) productBrains(d, a, b, 1);
        else productHalves(d, a, b, 1);
      }
}

// ALL: every chunk has a stage of its own, and all are asked for at once.
template <bool WHOLE, bool BRAINS, int XPARTS, int YPARTS, int STAGES, bool ALL, class X, class Y>
DEVICE void multiplyChunks(float (&sums)[PANEL_CELLS / 4][4], unsigned char* memory, int channels, X const& x, Y const& y) {
  using Shape = PanelShape<XPARTS, YPARTS>;
  // A stage may be filled anew when the products of two chunks later begin; of two stages, when those of the next do.
  constexpr int BEHIND = STAGES > 2 ? 1 : 0, AHEAD = ALL ? STAGES : STAGES - 1 - BEHIND;
  static_assert(AHEAD >= 1, "a stage to fill");
  float(&d)[PANEL_CELLS] = (float(&)[PANEL_CELLS])sums;
  int const chunks = (channels + Shape::CHANNELS - 1) / Shape::CHANNELS;
  auto bring = [&](int chunk) {
    if (chunk < chunks) {
      unsigned char* to = memory + chunk % STAGES * Shape::STAGE;
      stagePanel<PANEL_ROWS, PANEL_THREADS, WHOLE, XPARTS, Shape::PIECES>(to, x, chunk * Shape::CHANNELS);
      stagePanel<PANEL_COLUMNS, PANEL_THREADS, WHOLE, YPARTS, Shape::PIECES>(to + XPARTS * Shape::XPART, y, chunk * Shape::CHANNELS);
    }
    commitCopies();
  };
#pragma unroll
  for (int chunk = 0; chunk < AHEAD; chunk++) bring(chunk);
  for (int chunk = 0; chunk < chunks; chunk++) {
    waitCopies<AHEAD - 1>();
    fenceAsync();
    // What any thread stored of this chunk is there, and the products of the chunk before the last are done.
    syncThreads();
    pin(d);
    productFence();
    issueStage<BRAINS, XPARTS, YPARTS>(d, sharedAddress(memory + chunk % STAGES * Shape::STAGE));
    productCommit();
    bring(chunk + AHEAD);
    if (!ALL) productWait<BEHIND>();
  }
  productWait<0>();
  pin(d);
  waitCopies<0>();
  syncThreads();
}

// sums += x y, all threads together; `memory` is of STAGES stages, at a multiple of 1024 bytes, and free when the function begins
// and ends. Vectors in memory begin at multiples of sixteen bytes if they are of eights.
template <bool BRAINS, int XPARTS, int YPARTS, int STAGES, bool ALL, class X, class Y>
DEVICE void multiplyPanels(float (&sums)[PANEL_CELLS / 4][4], unsigned char* memory, int channels, X const& x, Y const& y) {
  if (channels % 8 == 0) multiplyChunks<true, BRAINS, XPARTS, YPARTS, STAGES, ALL>(sums, memory, channels, x, y);
  else multiplyChunks<false, BRAINS, XPARTS, YPARTS, STAGES, ALL>(sums, memory, channels, x, y);
}
