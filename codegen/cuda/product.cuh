// Products of two panels of vectors on the matrix units. In: of each panel a function, as panels.cuh has it. Out: the sums of a tile
// of PANEL x PANEL cells in registers; which cell of a thread's is which, cells.cuh says.

constexpr int PANEL = 128;
constexpr int PANEL_THREADS = 256;
constexpr int PANEL_COLUMNS = PANEL;
constexpr int PANEL_CELLS = PANEL * PANEL / PANEL_THREADS;

#ifndef HEDDLE_EMULATED
// As multiplyAdd, of brain floats whatever the storage is.
DEVICE void multiplyAddBrains(float (&d)[4], u32 const (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// A warp has 32 rows and 64 columns: of multiplyAdd's tiles two and eight.
constexpr int PANEL_WARP_ROWS = 32;
constexpr int PANEL_WARP_COLUMNS = 64;
DEVICE int panelRow() { return (threadIndex() >> 6) << 5; }
DEVICE int panelColumn() { return ((threadIndex() >> 5) & 1) << 6; }
DEVICE int cellRow(int n) { return (n >> 5) * 16 + ((n >> 1) & 1) * 8; }
DEVICE int cellColumn(int n) { return ((n >> 2) & 7) * 8 + (n & 1); }

// The memory of a product: STAGES chunks of CHANNELS channels, of each panel its parts.
template <int XPARTS, int YPARTS>
struct PanelShape {
  static constexpr int CHANNELS = XPARTS + YPARTS == 2 ? 64 : 32;
  static constexpr int STAGES = XPARTS + YPARTS == 2 ? 3 : 2;
  static constexpr int PIECES = CHANNELS / 8;
  static constexpr int PART = PANEL * CHANNELS * 2;
  static constexpr int STAGE = (XPARTS + YPARTS) * PART;
};

template <bool BRAINS, int XPARTS, int YPARTS>
DEVICE void multiplyStage(float (&sums)[PANEL_CELLS / 4][4], u32 stage) {
  using Shape = PanelShape<XPARTS, YPARTS>;
  constexpr int MOST = XPARTS > YPARTS ? XPARTS : YPARTS;
  int lane = laneIndex();
  int xRow = panelRow() + (lane & 15), xPiece = lane >> 4;
  int yRow = panelColumn() + (lane >> 4) * 8 + (lane & 7), yPiece = (lane >> 3) & 1;
#pragma unroll
  for (int k = 0; k < Shape::PIECES; k += 2) {
    u32 x[XPARTS][2][4];
#pragma unroll
    for (int part = 0; part < XPARTS; part++)
#pragma unroll
      for (int i = 0; i < 2; i++)
        loadMatrices(x[part][i], stage + part * Shape::PART + panelPlace<Shape::PIECES>(xRow + 16 * i, k + xPiece));
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int other = 0; other < YPARTS; other++) {
        u32 y[4];
        loadMatrices(y, stage + (XPARTS + other) * Shape::PART + panelPlace<Shape::PIECES>(yRow + 16 * j, k + yPiece));
#pragma unroll
        for (int part = 0; part < XPARTS; part++) {
          // What is left out is below the last bit of the greatest product.
          if (part + other >= MOST) continue;
#pragma unroll
          for (int i = 0; i < 2; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
              float(&d)[4] = sums[i * 8 + j * 2 + h];
              if (BRAINS) multiplyAddBrains(d, x[part][i], y[2 * h], y[2 * h + 1]);
              else multiplyAdd(d, x[part][i], y[2 * h], y[2 * h + 1]);
            }
        }
      }
  }
}

// sums += x y, all threads together; `memory` is of STAGES * STAGE bytes and free when the function begins and ends.
template <bool BRAINS, int XPARTS, int YPARTS, class X, class Y>
DEVICE void multiplyPanels(float (&sums)[PANEL_CELLS / 4][4], unsigned char* memory, int channels, X const& x, Y const& y) {
  using Shape = PanelShape<XPARTS, YPARTS>;
  int chunks = (channels + Shape::CHANNELS - 1) / Shape::CHANNELS;
  auto bring = [&](int chunk) {
    if (chunk < chunks) {
      unsigned char* to = memory + chunk % Shape::STAGES * Shape::STAGE;
      stagePanel<PANEL, PANEL_THREADS, false, XPARTS, Shape::PIECES>(to, x, chunk * Shape::CHANNELS);
      stagePanel<PANEL, PANEL_THREADS, false, YPARTS, Shape::PIECES>(to + XPARTS * Shape::PART, y, chunk * Shape::CHANNELS);
    }
    commitCopies();
  };
#pragma unroll
  for (int chunk = 0; chunk < Shape::STAGES - 1; chunk++) bring(chunk);
  for (int chunk = 0; chunk < chunks; chunk++) {
    waitCopies<Shape::STAGES - 2>();
    syncThreads();
    // The stage that all threads are done with.
    bring(chunk + Shape::STAGES - 1);
    multiplyStage<BRAINS, XPARTS, YPARTS>(sums, sharedAddress(memory + chunk % Shape::STAGES * Shape::STAGE));
  }
  waitCopies<0>();
  syncThreads();
}
