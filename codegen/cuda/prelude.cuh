// The instructions behind every skeleton, each a function. Includes nothing, so that NVRTC takes the text as it is; with
// HEDDLE_EMULATED the host's emulation has declared the same functions before this text.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A kernel's name; a text of several passes gives each its own.
#define ENTRY(name) name

#ifndef HEDDLE_EMULATED

#define DEVICE static __device__ __forceinline__
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define CONSTANT static __device__ const

constexpr float INFINITE = __builtin_bit_cast(float, 0x7f800000u);

// Lanes and warps.
DEVICE int laneIndex() { return (int)(threadIdx.x & 31u); }
// The thread's index, read anew at each call: what is made of it need not stay in registers from one use to the next.
DEVICE int threadIndex() {
  int x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return x;
}
DEVICE void syncThreads() { __syncthreads(); }
DEVICE void syncLanes() { __syncwarp(); }
DEVICE u32 ballotLanes(bool p) { return __ballot_sync(0xffffffffu, p); }
DEVICE int shuffle(int x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE u32 shuffleXor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float shuffleXor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE int countBits(u32 x) { return __popc(x); }
DEVICE int lowestBit(u32 x) { return __ffs((int)x) - 1; }
DEVICE int leadingZeros(u32 x) { return __clz((int)x); }

// Bits.
DEVICE u32 bitsOf(float x) { return __float_as_uint(x); }
DEVICE float floatOf(u32 x) { return __uint_as_float(x); }

// Reads of what no kernel writes; the compiler may share and move them.
DEVICE int readOnly(int const* p) { return __ldg(p); }
DEVICE float readOnly(float const* p) { return __ldg(p); }

// Counters of a whole grid: old values come back. `wrap`: zero again once `last` was reached.
DEVICE u32 atomicNext(u32* p) { return atomicAdd(p, 1u); }
DEVICE u32 atomicWrap(u32* p, u32 last) { return atomicInc(p, last); }
DEVICE void fenceGrid() { __threadfence(); }

// Two to the power of x, to 2 ulp, subnormal results flushed.
DEVICE float exp2Fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats rounded to nearest even, `low` in the low half.
DEVICE u32 packHalves(float low, float high) {
  u32 y;
  if (BF16) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
DEVICE float unpackHalf(u16 x) {
  if (BF16) return __uint_as_float((u32)x << 16);
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}

// Shared memory: the block's dynamic part begins at address sharedBase(), a multiple of 1024 bytes.
extern __shared__ __align__(1024) unsigned char sharedBytes[];
DEVICE unsigned char* sharedBase() { return sharedBytes; }
DEVICE u32 sharedAddress(void const* p) { return (u32)__cvta_generic_to_shared(p); }

// Sixteen bytes from global to shared memory, zeros where not `valid` (p is then not read).
DEVICE void copyAsync16(u32 shared, void const* p, bool valid) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(p), "r"(bytes) : "memory");
}
DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's groups are under way.
template <int pending>
DEVICE void waitCopies() { asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory"); }

// Four 8 x 8 matrices of halves; lane 8 i + r gives the address of row r of matrix i. Lane l gets of each matrix the two
// halves at row l / 4, columns 2 (l % 4) and the next; of its transpose with the second function.
DEVICE void loadMatrices(u32 (&r)[4], u32 shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared) : "memory");
}
DEVICE void loadMatricesTransposed(u32 (&r)[4], u32 shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared) : "memory");
}

// d += a b; a is 16 x 16, b 16 x 8, d 16 x 8 in f32. Lane l holds of d rows l / 4 (d[0], d[1]) and l / 4 + 8 (d[2], d[3]) at
// columns 2 (l % 4) and the next; of a the same rows, a[0], a[1] at columns 2 (l % 4), a[2], a[3] eight columns on; of b
// column l / 4, b0 at rows 2 (l % 4) and the next, b1 eight rows on.
DEVICE void multiplyAdd(float (&d)[4], u32 const (&a)[4], u32 b0, u32 b1) {
  if (BF16)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
