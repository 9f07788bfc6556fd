// Cells of a product's tile, whichever units made them: a thread's cell n is that of rowOfCell(n) and columnOfCell(n). The lanes of a
// warp have eight rows by eight columns of its part at a time: two columns a lane, side by side.

DEVICE int rowOfCell(int n) { return panelRow() + cellRow(n) + (laneIndex() >> 2); }
DEVICE int columnOfCell(int n) { return panelColumn() + cellColumn(n) + 2 * (laneIndex() & 3); }

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
