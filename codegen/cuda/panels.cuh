// Panels of vectors for a product on matrix units: what a function of (row of the tile, first channel of the chunk, channel) says of
// eight channels, in; those in shared memory, as halves, out. Vectors that are no halves go in as several parts, each of the eight bits of a brain float: three
// parts are all that an f32 has.

// Eight channels from a multiple of eight on, of which `left` are there, if that is less, or none; the others count as zeros.
template <class T>
struct PanelPiece {
  T const* at;
  bool there;
  int left;
  // Where the row's channels are in eights.
  __device__ __forceinline__ bool isWhole() const { return there & (left > 0); }
  __device__ __forceinline__ int count() const { return there ? min(8, max(0, left)) : 0; }
};
typedef PanelPiece<u16> PanelHalves;
typedef PanelPiece<float> PanelFloats;
struct PanelValues {
  float x[8];
};

DEVICE PanelHalves panelHalves(u32 const* words, u32 element, bool there, int left) {
  return {(u16 const*)words + element, there, left};
}
DEVICE PanelFloats panelFloats(float const* words, u32 element, bool there, int left) { return {words + element, there, left}; }

// The leading bits of eight values; what is left of them stays.
DEVICE uint4 panelPart(float (&x)[8]) {
  u32 words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) words[i] = (bitsOf(x[2 * i]) >> 16) | (bitsOf(x[2 * i + 1]) & 0xffff0000u);
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] -= floatOf(bitsOf(x[i]) & 0xffff0000u);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Values, or where they lie, to the memory of a stage, PART bytes from part to part. WHOLE: they are eight or none, and lie at a
// multiple of sixteen bytes.
template <bool WHOLE, int PARTS, int PART>
DEVICE void putPanel(unsigned char* to, PanelValues v) {
#pragma unroll
  for (int part = 0; part < PARTS; part++) *(uint4*)(to + part * PART) = panelPart(v.x);
}
template <bool WHOLE, int PARTS, int PART>
DEVICE void putPanel(unsigned char* to, PanelFloats v) {
  PanelValues values = {};
  int const count = WHOLE ? 0 : v.count();
  if (WHOLE ? v.isWhole() : count == 8 && ((u64)v.at & 15) == 0) {
    float4 low = *(float4 const*)v.at, high = *((float4 const*)v.at + 1);
    values = {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
  } else if (!WHOLE) {
#pragma unroll
    for (int i = 0; i < 8; i++) values.x[i] = i < count ? v.at[i] : 0.0f;
  }
  putPanel<WHOLE, PARTS, PART>(to, values);
}
// Halves of the storage's own type in one part are copied as they are, and land when they are waited for.
template <bool WHOLE, int PARTS, int PART>
DEVICE void putPanel(unsigned char* to, PanelHalves v) {
  int const count = WHOLE && PARTS == 1 ? 0 : v.count();
  if (PARTS == 1) {
    if (WHOLE || count == 0 || (count == 8 && ((u64)v.at & 15) == 0)) {
      copyAsync16(sharedAddress(to), v.at, WHOLE ? v.isWhole() : count != 0);
      return;
    }
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      u32 low = 2 * i < count ? v.at[2 * i] : 0u, high = 2 * i + 1 < count ? v.at[2 * i + 1] : 0u;
      words[i] = low | high << 16;
    }
    *(uint4*)to = make_uint4(words[0], words[1], words[2], words[3]);
    return;
  }
  PanelValues values;
#pragma unroll
  for (int i = 0; i < 8; i++) values.x[i] = i < count ? unpackHalf(v.at[i]) : 0.0f;
  putPanel<WHOLE, PARTS, PART>(to, values);
}

// Where eight channels of a row lie: sixteen bytes of a row are moved so that eight rows at one place lie in different banks. It is
// the swizzle of rows of 128 bytes (eight pieces) or 64 that the copy engine and warpgroup products have.
template <int PIECES>
DEVICE int panelPlace(int row, int piece) {
  int moved = PIECES == 8 ? row & 7 : (row >> 1) & 3;
  return (row * PIECES + (piece ^ moved)) * 16;
}

// The channels of a stage from `begin` on, all threads together: of each part ROWS rows one behind the other.
template <int ROWS, int THREADS, bool WHOLE, int PARTS, int PIECES, class Panel>
DEVICE void stagePanel(unsigned char* to, Panel const& panel, int begin) {
  constexpr int APART = THREADS / PIECES;
  static_assert(APART % 8 == 0, "rows of one thread are moved alike");
  u32 const number = (u32)threadIndex();
  int const first = (int)(number / PIECES), piece = (int)(number % PIECES);
  unsigned char* const own = to + panelPlace<PIECES>(first, piece);
#pragma unroll
  for (int n = 0; n < ROWS / APART; n++)
    putPanel<WHOLE, PARTS, ROWS * PIECES * 16>(own + n * APART * PIECES * 16, panel(first + n * APART, begin, begin + 8 * piece));
}
