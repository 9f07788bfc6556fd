// What a launch, a block, a warp and a lane are to the emulation.

#pragma once

#include <pthread.h>
#include <stddef.h>

struct TensorMap;

namespace heddle {
namespace {

// Where dynamic shared memory begins in the 32-bit shared window; not 0, so that a bare offset is found out.
constexpr unsigned SHARED_START = 1024;
constexpr unsigned SHARED_LIMIT = 227 * 1024;  // of one block on sm_90; the driver knows what its device has
constexpr unsigned SHARED_GUARD = 4096;        // bytes behind it that must stay as they are
constexpr unsigned char POISON = 0xff;         // a NaN in bf16, f16 and f32

struct Index {
  unsigned x, y, z;
};

struct Settings {
  unsigned order = 0;    // 0: warps and lanes in ascending order, 1: descending, else: the seed of a random order
  unsigned threads = 0;  // of the host; 0: one per core
  unsigned seconds = 300;
};

struct Statistics {
  unsigned long long multiplyAdds = 0, matrixLoads = 0, bankConflicts = 0, copies = 0, barriers = 0;
};

// What all blocks of a launch share.
struct Launch {
  void (*call)(void* entry, void const* parameter, TensorMap const* maps, unsigned mapCount);
  void* entry;
  void const* parameter;
  TensorMap const* maps;
  unsigned mapCount;
  Index grid;
  unsigned threads, sharedBytes;
  Settings settings;
  unsigned long long next;  // the first block that nobody has taken
  bool failed;
  bool late;  // out of time
  char* error;
  size_t errorBytes;
  pthread_mutex_t lock;
  pthread_cond_t done;
  unsigned working;
  Statistics statistics;
};

struct Copy {
  unsigned to;
  unsigned char bytes[16];
};

// A thread's cp.async: copies [landed, count) are under way, groups [waited, groups) end at ends[i].
struct Copies {
  Copy* all;
  unsigned count, landed, room;
  unsigned* ends;
  unsigned groups, waited, endsRoom;
};

struct Block;
struct Async;

struct Fiber {
  void* stack;
  Block* block;
  Index thread;
  unsigned warp, lane;
  Copies copies;
  int reading;  // the line of the copy whose source is being read; 0: of none
  char const* readingOp;
  int waitLine;  // where it last waited for a barrier in shared memory
};

struct Warp {
  Fiber* lanes;
  unsigned members;  // bit l: lane l exists
  unsigned alive;    // ... has not returned
  unsigned ready;    // ... may go on
  char const* op;    // what lanes wait at, all of them at the same place
  int line;
  unsigned arrived;
  void* slots[32];  // of the lanes that arrived: what they bring and get, on their stacks
};

struct Block {
  Launch* launch;
  Index index;
  void* host;
  unsigned char* stacks;
  unsigned stackCount;
  unsigned char* allocation;
  unsigned char* shared;
  Fiber fibers[1024];
  Warp warps[32];
  unsigned warpCount, alive, waiting;
  unsigned long long random;
  Async* async;  // what only sm_90 has; null until it is used
  Statistics statistics;
};

}  // namespace
}  // namespace heddle
