// Products of two panels of vectors on the matrix units. In: of each panel a function of (row of the tile, channel) that says where
// the next eight channels lie, or what they are. Out: the sums of a tile of PANEL x PANEL cells in registers; a thread's cell n is
// that of rowOfCell(n) and columnOfCell(n). Vectors that are no halves go in as several parts, each of the eight bits of a brain
// float: three parts are all that an f32 has.

constexpr int PANEL = 128;
constexpr int PANEL_THREADS = 256;
constexpr int PANEL_CELLS = PANEL * PANEL / PANEL_THREADS;

// Eight channels from a multiple of eight on, `count` of which are there; the rest count as zeros.
struct PanelHalves {
  u16 const* at;
  int count;
};
struct PanelFloats {
  float const* at;
  int count;
};
struct PanelValues {
  float x[8];
};

DEVICE PanelHalves panelHalves(u32 const* words, u32 element, int count) { return {(u16 const*)words + element, count}; }
DEVICE PanelFloats panelFloats(float const* words, u32 element, int count) { return {words + element, count}; }

// How many of eight channels from `channel` on there are.
DEVICE int panelCount(bool there, int channel, int channels) {
  return there ? min(8, max(0, channels - channel)) : 0;
}

#ifndef HEDDLE_EMULATED
// As multiplyAdd, of brain floats whatever the storage is.
DEVICE void multiplyAddBrains(float (&d)[4], u32 const (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// A warp has 32 rows and 64 columns: of multiplyAdd's tiles two and eight.
DEVICE int panelRow() { return (threadIndex() >> 6) << 5; }
DEVICE int panelColumn() { return ((threadIndex() >> 5) & 1) << 6; }
DEVICE int rowOfCell(int n) { return panelRow() + (n >> 5) * 16 + ((n >> 1) & 1) * 8 + (laneIndex() >> 2); }
DEVICE int columnOfCell(int n) { return panelColumn() + ((n >> 2) & 7) * 8 + (n & 1) + 2 * (laneIndex() & 3); }

// The memory of a product: STAGES chunks of CHANNELS channels, of each panel PARTS parts. Sixteen bytes of a row are moved so that
// eight rows at one place lie in different banks.
template <int XPARTS, int YPARTS>
struct PanelShape {
  static constexpr int CHANNELS = XPARTS + YPARTS == 2 ? 64 : 32;
  static constexpr int STAGES = XPARTS + YPARTS == 2 ? 3 : 2;
  static constexpr int PIECES = CHANNELS / 8;
  static constexpr int PART = PANEL * CHANNELS * 2;
  static constexpr int STAGE = (XPARTS + YPARTS) * PART;
};
template <int PIECES>
DEVICE int panelPlace(int row, int piece) {
  int moved = PIECES == 8 ? row & 7 : (row >> 1) & 3;
  return (row * PIECES + (piece ^ moved)) * 16;
}

// The leading bits of eight values; what is left of them stays.
DEVICE uint4 panelPart(float (&x)[8]) {
  u32 words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) words[i] = (bitsOf(x[2 * i]) >> 16) | (bitsOf(x[2 * i + 1]) & 0xffff0000u);
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] -= floatOf(bitsOf(x[i]) & 0xffff0000u);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

template <int PARTS, int PART>
DEVICE void putPanel(unsigned char* to, PanelValues v) {
#pragma unroll
  for (int part = 0; part < PARTS; part++) *(uint4*)(to + part * PART) = panelPart(v.x);
}
template <int PARTS, int PART>
DEVICE void putPanel(unsigned char* to, PanelFloats v) {
  PanelValues values;
  if (v.count == 8 && ((u64)v.at & 15) == 0) {
    float4 low = *(float4 const*)v.at, high = *((float4 const*)v.at + 1);
    values = {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) values.x[i] = i < v.count ? v.at[i] : 0.0f;
  }
  putPanel<PARTS, PART>(to, values);
}
// Halves of the storage's own type in one part are copied as they are, and land when they are waited for.
template <int PARTS, int PART>
DEVICE void putPanel(unsigned char* to, PanelHalves v) {
  if (PARTS == 1) {
    if (v.count == 0 || (v.count == 8 && ((u64)v.at & 15) == 0)) {
      copyAsync16(sharedAddress(to), v.at, v.count == 8);
      return;
    }
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      u32 low = 2 * i < v.count ? v.at[2 * i] : 0u, high = 2 * i + 1 < v.count ? v.at[2 * i + 1] : 0u;
      words[i] = low | high << 16;
    }
    *(uint4*)to = make_uint4(words[0], words[1], words[2], words[3]);
    return;
  }
  PanelValues values;
#pragma unroll
  for (int i = 0; i < 8; i++) values.x[i] = i < v.count ? unpackHalf(v.at[i]) : 0.0f;
  putPanel<PARTS, PART>(to, values);
}

template <int PARTS, int PIECES, class Panel>
DEVICE void stagePanel(unsigned char* to, Panel const& panel, int begin) {
#pragma unroll
  for (int n = 0; n < PANEL * PIECES / PANEL_THREADS; n++) {
    int number = threadIndex() + n * PANEL_THREADS;
    int row = number / PIECES, piece = number % PIECES;
    putPanel<PARTS, PANEL * PIECES * 16>(to + panelPlace<PIECES>(row, piece), panel(row, begin + 8 * piece));
  }
}

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
      stagePanel<XPARTS, Shape::PIECES>(to, x, chunk * Shape::CHANNELS);
      stagePanel<YPARTS, Shape::PIECES>(to + XPARTS * Shape::PART, y, chunk * Shape::CHANNELS);
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
