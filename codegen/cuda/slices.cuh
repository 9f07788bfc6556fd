// What skeletons of 16 rows a warp share: how a slice of keys lies in shared memory, and what four lanes know of a row together.

// Of the 16-byte units of a row in shared memory: eight rows of one unit lie on different banks.
template <int DIM>
DEVICE int unitAt(int row, int unit) {
  return DIM % 64 == 0 ? unit ^ (row & 7) : unit ^ (row >> 1 & 3);
}

DEVICE float quadMax(float x) {
  x = fmaxf(x, shuffleXor(x, 1));
  return fmaxf(x, shuffleXor(x, 2));
}
DEVICE float quadSum(float x) {
  x += shuffleXor(x, 1);
  return x + shuffleXor(x, 2);
}
