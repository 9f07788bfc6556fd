// What CUDA C++ knows without a header: vector types, min and max, intrinsics of single threads.

#pragma once

#include <math.h>

#include "halves.h"

#define __host__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
// Of one block at a time: each host thread runs its blocks one after another. Unlike dynamic shared memory it keeps what the
// block before left there, and has no address that copies and matrix loads take.
#define __shared__ static thread_local

#define HEDDLE_VECTORS(T, name, wide)                                                                       \
  struct __align__(2 * sizeof(T)) name##2 { T x, y; };                                                      \
  struct name##3 { T x, y, z; };                                                                            \
  struct __align__(wide) name##4 { T x, y, z, w; };                                                         \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                         \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                                 \
  static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
HEDDLE_VECTORS(int, int, 16)
HEDDLE_VECTORS(unsigned int, uint, 16)
HEDDLE_VECTORS(float, float, 16)
HEDDLE_VECTORS(short, short, 8)
HEDDLE_VECTORS(unsigned short, ushort, 8)
HEDDLE_VECTORS(unsigned char, uchar, 4)
HEDDLE_VECTORS(long long, longlong, 16)
HEDDLE_VECTORS(unsigned long long, ulonglong, 16)
#undef HEDDLE_VECTORS
typedef uint3 dim3;

#define HEDDLE_LEAST(T, A, B)                                                                               \
  static inline T min(A a, B b) { return (T)a < (T)b ? (T)a : (T)b; }                                       \
  static inline T max(A a, B b) { return (T)a > (T)b ? (T)a : (T)b; }
HEDDLE_LEAST(int, int, int)
HEDDLE_LEAST(unsigned, unsigned, unsigned)
HEDDLE_LEAST(unsigned, unsigned, int)
HEDDLE_LEAST(unsigned, int, unsigned)
HEDDLE_LEAST(long, long, long)
HEDDLE_LEAST(unsigned long, unsigned long, unsigned long)
HEDDLE_LEAST(long long, long long, long long)
HEDDLE_LEAST(unsigned long long, unsigned long long, unsigned long long)
#undef HEDDLE_LEAST
// Of a number and a NaN the number, as on the GPU.
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
static inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
static inline unsigned __float_as_uint(float x) { return heddle::bitsOfFloat(x); }
static inline int __float_as_int(float x) { return (int)heddle::bitsOfFloat(x); }
static inline float __uint_as_float(unsigned x) { return heddle::floatOfBits(x); }
static inline float __int_as_float(int x) { return heddle::floatOfBits((unsigned)x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
// The C library has these names for itself.
#define __expf(x) expf(x)
#define __exp2f(x) exp2f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __saturatef(float x) { return x > 1.0f ? 1.0f : x > 0.0f ? x : 0.0f; }
template <class T>
static inline T __ldg(T const* p) { return *p; }
