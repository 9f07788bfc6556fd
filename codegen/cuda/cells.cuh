// Cells of a product's tile, whichever units made them: a thread's cell n is that of rowOfCell(n) and columnOfCell(n). The lanes of a
// warp have eight rows by eight columns of its part at a time: two columns a lane, side by side.

DEVICE int rowOfCell(int n) { return panelRow() + cellRow(n) + (laneIndex() >> 2); }
DEVICE int columnOfCell(int n) { return panelColumn() + cellColumn(n) + 2 * (laneIndex() & 3); }

// A strip: all rows of a warp's part, and 32 of its columns.
constexpr int PANEL_STRIP = 32;
constexpr int PANEL_STRIPS = PANEL_WARP_COLUMNS / PANEL_STRIP;
DEVICE int stripOfCell(int n) { return cellColumn(n) / PANEL_STRIP; }

// Sets bits of cells whose sums are not zero, 32 columns to a word; `EACH` rows of the tile share a row of words. What the lanes of a
// warp have of one word meets before one of them writes it.
template <int EACH>
DEVICE void gatherBits(float const (&sums)[PANEL_CELLS / 4][4], u32* words) {
  constexpr int WIDE = PANEL_COLUMNS / 32, ROWS = EACH < 16 ? 8 : 16, LANES = EACH < 8 ? 4 * EACH : 32;
#pragma unroll
  for (int row = 0; row < PANEL_WARP_ROWS; row += ROWS)
#pragma unroll
    for (int column = 0; column < PANEL_WARP_COLUMNS; column += 32) {
      u32 own = 0u;
#pragma unroll
      for (int n = 0; n < PANEL_CELLS; n++)
        if (cellRow(n) / ROWS == row / ROWS && cellColumn(n) / 32 == column / 32)
          own |= sums[n / 4][n % 4] != 0.0f ? 1u << (cellColumn(n) & 31) : 0u;
      own <<= 2 * (laneIndex() & 3);
#pragma unroll
      for (int mask = 1; mask < LANES; mask *= 2) own |= shuffleXor(own, mask);
      int const at = (panelRow() + row + (EACH < 8 ? laneIndex() >> 2 : 0)) / EACH;
      if (own != 0u && laneIndex() % LANES == 0) atomicOr(words + at * WIDE + (panelColumn() + column) / 32, own);
    }
}

#ifdef HEDDLE_EMULATED
DEVICE float log2Fast(float x) { return log2f(x); }
#else
// To 2^-22 around one, subnormal arguments flushed.
DEVICE float log2Fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// Sums over lanes whose numbers differ in the bits of MASK: of COUNT of them the lower half stays with the lane whose bit is zero.
template <int MASK, int COUNT>
DEVICE void scatterSums(float (&x)[4]) {
  bool const upper = (laneIndex() & MASK) != 0;
#pragma unroll
  for (int i = 0; i < COUNT / 2; i++) {
    float const other = shuffleXor(upper ? x[i] : x[i + COUNT / 2], MASK);
    x[i] = (upper ? x[i + COUNT / 2] : x[i]) + other;
  }
}

// Visits each row and block of WIDTH columns once, by one of the lanes that have it, with the logarithm of the sum of exponentials of
// the sums there. What is far below the greatest of 32 columns counts as nothing, as it does beside it in a softmax.
template <int WIDTH, class Visit>
DEVICE void blockLses(float (&sums)[PANEL_CELLS / 4][4], Visit const& visit) {
  constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;
  int const lane = laneIndex() & 3;
#pragma unroll
  for (int row = 0; row < PANEL_WARP_ROWS; row += 8)
#pragma unroll
    for (int strip = 0; strip < PANEL_WARP_COLUMNS; strip += 32) {
      float most = -INFINITE;
#pragma unroll
      for (int n = 0; n < PANEL_CELLS; n++)
        if (cellRow(n) == row && cellColumn(n) / 32 == strip / 32) most = fmaxf(most, sums[n / 4][n % 4]);
      most = fmaxf(most, shuffleXor(most, 1));
      most = fmaxf(most, shuffleXor(most, 2));
      float const top = most == -INFINITE ? 0.0f : most;
      float part[4] = {};
#pragma unroll
      for (int n = 0; n < PANEL_CELLS; n++)
        if (cellRow(n) == row && cellColumn(n) / 32 == strip / 32)
          part[cellColumn(n) % 32 / (WIDTH < 8 ? 8 : WIDTH)] += exp2Fast((sums[n / 4][n % 4] - top) * LOG2E);
      if (WIDTH == 8) scatterSums<2, 4>(part);
      if (WIDTH > 8) part[0] += shuffleXor(part[0], 2);
      if (WIDTH == 16) part[1] += shuffleXor(part[1], 2);
      if (WIDTH == 32) part[0] += shuffleXor(part[0], 1);
      else scatterSums<1, WIDTH == 4 ? 4 : 2>(part);
      // Which block of the strip is this lane's: of four columns two, eight columns after each other.
      int const own = WIDTH == 4 ? (lane & 1) * 4 + (lane >> 1) : WIDTH == 8 ? lane : lane & 1;
      bool const speaks = WIDTH <= 8 || lane < 32 / WIDTH;
#pragma unroll
      for (int i = 0; i < (WIDTH == 4 ? 2 : 1); i++) {
        float const lse = part[i] > 0.0f ? top + log2Fast(part[i]) * LN2 : -INFINITE;
        if (speaks) visit(panelRow() + row + (laneIndex() >> 2), (panelColumn() + strip) / WIDTH + own + 2 * i, lse);
      }
    }
}
