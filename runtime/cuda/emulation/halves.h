// Halves to floats and back. In and out: bit patterns; rounding is to nearest even, as the GPU's cvt.rn does it.

#pragma once

namespace heddle {
namespace {

inline unsigned bitsOfFloat(float x) {
  unsigned y;
  __builtin_memcpy(&y, &x, 4);
  return y;
}
inline float floatOfBits(unsigned x) {
  float y;
  __builtin_memcpy(&y, &x, 4);
  return y;
}

inline unsigned short toBf16(float x) {
  unsigned bits = bitsOfFloat(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // the one NaN that cvt makes
  return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline unsigned short toF16(float x) {
  unsigned bits = bitsOfFloat(x), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fff;
  if (size >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);  // 65520 and more
  if (size < 0x38800000u) {
    // Below 2^-14 halves are multiples of 2^-24, which is what floats from 0.5 on are: the addition rounds.
    return (unsigned short)(sign | (bitsOfFloat(floatOfBits(size) + 0.5f) - 0x3f000000u));
  }
  size += 0xfffu + ((size >> 13) & 1u);
  return (unsigned short)(sign | ((size - 0x38000000u) >> 13));
}

inline float fromF16(unsigned short x) {
  unsigned sign = (x & 0x8000u) << 16, size = (x & 0x7fffu) << 13;
  // The exponent's bias grows by 112; infinities and NaNs go to the top, subnormals are counted from 2^-14.
  if (size >= 0x0f800000u) return floatOfBits(sign | 0x7f800000u | size);
  if (size < 0x00800000u) return floatOfBits(sign | bitsOfFloat(floatOfBits(size + 0x38800000u) - 0x1p-14f));
  return floatOfBits(sign | (size + 0x38000000u));
}

inline float fromBf16(unsigned short x) { return floatOfBits((unsigned)x << 16); }

inline unsigned short toHalf(bool bf16, float x) { return bf16 ? toBf16(x) : toF16(x); }
inline float fromHalf(bool bf16, unsigned short x) { return bf16 ? fromBf16(x) : fromF16(x); }

}  // namespace
}  // namespace heddle
