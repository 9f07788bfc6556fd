// What kernels of sums over sharers share: how a strip of columns is said to be there, and how a warp adds up what is made of a warpgroup
// product. A warp has sixteen of its rows, a lane two of them, and of each eight columns two.

// What each thread of the warp has asked for will be counted, and what it stored is there.
DEVICE void arriveBrought(u32 barrier) {
  barrierArriveCopies(barrier);
  syncLanes();
  if (laneIndex() == 0) barrierArrive(barrier);
}

// Sums over lanes whose numbers differ in the bit of MASK: of 2 * HALF of them the lower half stays with the lane whose bit is zero.
template <int MASK, int HALF, int N>
DEVICE void halveSums(float (&x)[N]) {
  bool const upper = (laneIndex() & MASK) != 0;
#pragma unroll
  for (int i = 0; i < HALF; i++) {
    float const other = shuffleXor(upper ? x[i] : x[i + HALF], MASK);
    x[i] = (upper ? x[i + HALF] : x[i]) + other;
  }
}

// What functions of (column, product) make of a lane's two rows, added up, for columns from `first` on. WHOLE: there are all rows. TOTALS: no
// product has a factor of its column.
template <bool WHOLE, bool TOTALS, int N, class Made>
DEVICE void addRows(float (&total)[N], float const (&d)[2 * N], float const* factors, int first, bool const (&there)[2], Made const& low, Made const& high) {
  int const column = 2 * (laneIndex() & 3);
#pragma unroll
  for (int i = 0; i < N / 2; i++) {
    float2 const two = TOTALS ? make_float2(1.0f, 1.0f) : *(float2 const*)(factors + 8 * i + column);
#pragma unroll
    for (int n = 0; n < 2; n++) {
      float sum = 0.0f;
#pragma unroll
      for (int row = 0; row < 2; row++) {
        float const product = d[4 * i + 2 * row + n];
        float const own = (row == 0 ? low : high)(first + 8 * i + column + n, TOTALS ? product : product * (n == 0 ? two.x : two.y));
        sum += WHOLE || there[row] ? own : 0.0f;
      }
      total[2 * i + n] = sum;
    }
  }
}

// Then over the rows of the warp. Which columns stayed with a lane the bits of its number say: 0, 1, 8 and 9 from here on.
template <int N>
DEVICE int addLanes(float (&total)[N]) {
  halveSums<16, N / 2>(total);
  halveSums<8, N / 4>(total);
  halveSums<4, N / 8>(total);
  return N / 2 * (laneIndex() >> 2) + 2 * (laneIndex() & 3);
}
