// The device's memory on the host. In: a size. Out: an address between regions that nobody may touch, so that a kernel that
// reads or writes outside fails at that very access. New memory holds NaNs, as no kernel may count on zeros.

#pragma once

#include "launch.h"

namespace heddle {
namespace {

constexpr size_t DEVICE_ALIGNMENT = 256;
constexpr size_t FORBIDDEN = 16 << 20;  // on either side; a multiple of every page's size, and nothing but addresses

size_t roundUp(size_t x, size_t multiple) { return (x + multiple - 1) / multiple * multiple; }

}  // namespace
}  // namespace heddle

// The end of the memory is at most 255 bytes before the forbidden region: addresses are multiples of 256. 0: there is none left.
HEDDLE_EXPORT void* heddle_alloc(size_t bytes) {
  using namespace heddle;
  size_t page = pageBytes(), kept = roundUp(bytes, DEVICE_ALIGNMENT), inner = roundUp(kept, page);
  unsigned char* all = (unsigned char*)mmap(nullptr, inner + 2 * FORBIDDEN, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  if (inner > 0 && mprotect(all + FORBIDDEN, inner, PROT_READ | PROT_WRITE) != 0) {
    munmap(all, inner + 2 * FORBIDDEN);
    return nullptr;
  }
  memset(all + FORBIDDEN, POISON, inner);
  return all + FORBIDDEN + inner - kept;
}

// 0, or 1: bytes around the memory were written. `bytes` is what was asked for.
HEDDLE_EXPORT int heddle_damaged(void const* address, size_t bytes) {
  using namespace heddle;
  size_t page = pageBytes(), kept = roundUp(bytes, DEVICE_ALIGNMENT), inner = roundUp(kept, page);
  unsigned char const* first = (unsigned char const*)address + kept - inner;
  for (unsigned char const* p = first; p < (unsigned char const*)address; p++)
    if (*p != POISON) return 1;
  for (size_t i = bytes; i < kept; i++)
    if (((unsigned char const*)address)[i] != POISON) return 1;
  return 0;
}

HEDDLE_EXPORT void heddle_free(void* address, size_t bytes) {
  using namespace heddle;
  size_t page = pageBytes(), kept = roundUp(bytes, DEVICE_ALIGNMENT), inner = roundUp(kept, page);
  munmap((unsigned char*)address + kept - inner - FORBIDDEN, inner + 2 * FORBIDDEN);
}

HEDDLE_EXPORT void heddle_copy_in(void* to, void const* from, size_t bytes) { memcpy(to, from, bytes); }
HEDDLE_EXPORT void heddle_copy_out(void* to, void const* from, size_t bytes) { memcpy(to, from, bytes); }
HEDDLE_EXPORT void heddle_fill(void* at, int byte, size_t bytes) { memset(at, byte, bytes); }
