// Keys and values that other kernels left as f32, as brain floats for the copy engine. In: call.k and call.v, [batch, kvHeads, kvRows, dim],
// contiguous. Out: in call.list the keys in K_PARTS parts, whose sum has sixteen bits, [part, batch, kvHeads, kvRows, headDim]; behind them
// the values, rounded, [batch, kvHeads, kvRows, valueDim]. A thread has eight channels.

constexpr int ROUND_THREADS = 256;
static_assert(BF16, "an IEEE half does not hold every f32's size");

DEVICE void loadEight(float (&x)[8], float const* from) {
  float4 const low = *(float4 const*)from, high = *((float4 const*)from + 1);
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w, x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}
// What is left of the numbers stays.
DEVICE uint4 roundEight(float (&x)[8]) {
  u32 words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    words[i] = packHalves(x[2 * i], x[2 * i + 1]);
    x[2 * i] -= unpackHalf((u16)words[i]);
    x[2 * i + 1] -= unpackHalf((u16)(words[i] >> 16));
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

KERNEL(ROUND_THREADS, 1) ENTRY(roundKeys)(const __grid_constant__ Call call) {
  long long const rows = (long long)call.batch * call.kvHeads * call.kvRows;
  long long const keys = rows * (call.headDim / 8), all = keys + rows * (call.valueDim / 8);
  long long const own = (long long)blockIdx.x * ROUND_THREADS + threadIdx.x;
  if (own >= all) return;
  uint4* const to = (uint4*)call.list;
  float x[8];
  if (own < keys) {
    loadEight(x, (float const*)call.k + 8 * own);
#pragma unroll
    for (int part = 0; part < K_PARTS; part++) to[part * keys + own] = roundEight(x);
  } else {
    loadEight(x, (float const*)call.v + 8 * (own - keys));
    to[(K_PARTS - 1) * keys + own] = roundEight(x);
  }
}
