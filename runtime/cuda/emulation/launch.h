// The library's C interface: launches, settings, memory. In: an entry's name, sizes and parameters. Out: 0, or 1 and a sentence.

#pragma once

#include <errno.h>
#include <time.h>

#include "boxes.h"
#include "faults.h"

#define HEDDLE_EXPORT extern "C" __attribute__((visibility("default"), used))

namespace heddle {
namespace {

Settings settings;
Statistics lastStatistics;

// What KERNEL tells at load.
decltype(Launch::call) callEntry = nullptr;
size_t parameterBytes = 0;
unsigned mostThreads = 0;

template <class T>
bool registerKernel(unsigned threads, unsigned blocks) {
  callEntry = [](void* entry, void const* parameter, TensorMap const* m, unsigned mapCount) {
    T const& call = *(T const*)parameter;
    switch (mapCount) {
      case 0: return ((void (*)(T))entry)(call);
      case 1: return ((void (*)(T, TensorMap))entry)(call, m[0]);
      case 2: return ((void (*)(T, TensorMap, TensorMap))entry)(call, m[0], m[1]);
      case 3: return ((void (*)(T, TensorMap, TensorMap, TensorMap))entry)(call, m[0], m[1], m[2]);
      default: return ((void (*)(T, TensorMap, TensorMap, TensorMap, TensorMap))entry)(call, m[0], m[1], m[2], m[3]);
    }
  };
  parameterBytes = sizeof(T);
  if (threads > mostThreads) mostThreads = threads;
  if (blocks > blocksOf[threads / 32]) blocksOf[threads / 32] = blocks;
  return true;
}

pthread_mutex_t poolLock = PTHREAD_MUTEX_INITIALIZER;
Block* pool[64];
unsigned pooled = 0;

void freeBlock(Block* block) {
  if (block->stacks != nullptr) unmapStacks(block->stacks, block->stackCount);
  for (Fiber& f : block->fibers) free(f.copies.all), free(f.copies.ends);
  free(block->allocation);
  freeAsync(block->async);
  free(block);
}

// Stacks and shared memory for blocks of one size, from an earlier launch if there are any; null: out of memory.
Block* takeBlock(Launch& launch) {
  pthread_mutex_lock(&poolLock);
  Block* block = pooled > 0 ? pool[--pooled] : nullptr;
  pthread_mutex_unlock(&poolLock);
  if (block == nullptr) {
    block = (Block*)calloc(1, sizeof *block);
    if (block == nullptr) return nullptr;
    block->allocation = (unsigned char*)malloc(2 * 1024 + SHARED_LIMIT + SHARED_GUARD);
  }
  if (block->stackCount < launch.threads) {
    if (block->stacks != nullptr) unmapStacks(block->stacks, block->stackCount);
    block->stacks = mapStacks(launch.threads);
    block->stackCount = block->stacks == nullptr ? 0 : launch.threads;
  }
  if (block->allocation == nullptr || block->stacks == nullptr) {
    freeBlock(block);
    return nullptr;
  }
  block->shared = (unsigned char*)(((uintptr_t)block->allocation + 2 * 1024 - 1) & ~(uintptr_t)1023);
  block->launch = &launch;
  block->statistics = Statistics();
  return block;
}

// Each stack takes two of the 65,530 mappings that a process may have, and each text that was loaded has a pool of its own: of a
// hundred texts, blocks of 256 threads would have them all. Mapping them anew takes a fraction of a millisecond a launch.
constexpr unsigned KEPT_STACKS = 64;

void giveBlock(Block* block) {
  if (block->stackCount > KEPT_STACKS) {
    unmapStacks(block->stacks, block->stackCount);
    block->stacks = nullptr;
    block->stackCount = 0;
  }
  pthread_mutex_lock(&poolLock);
  bool kept = pooled < 64;
  if (kept) pool[pooled++] = block;
  pthread_mutex_unlock(&poolLock);
  if (!kept) freeBlock(block);
}

void runBlock(Block& block, unsigned long long index) {
  Launch& launch = *block.launch;
  block.index = {(unsigned)(index % launch.grid.x), (unsigned)(index / launch.grid.x % launch.grid.y),
                    (unsigned)(index / launch.grid.x / launch.grid.y)};
  memset(block.shared, POISON, launch.sharedBytes + SHARED_GUARD);
  block.warpCount = launch.threads / 32;
  block.alive = launch.threads;
  block.waiting = 0;
  block.random = launch.settings.order + index * 0x9e3779b97f4a7c15ull;
  if (block.async != nullptr) block.async->begun = false;
  for (unsigned i = 0; i < launch.threads; i++) {
    Fiber& f = block.fibers[i];
    f.block = &block;
    f.thread = {i, 0, 0};
    f.warp = i / 32;
    f.lane = i % 32;
    f.reading = 0;
    f.copies.count = f.copies.landed = f.copies.groups = f.copies.waited = 0;
    f.stack = freshStack(stackOf(block.stacks, i), STACK_BYTES, runFiber);
  }
  for (unsigned w = 0; w < block.warpCount; w++) {
    Warp& warp = block.warps[w];
    warp.lanes = &block.fibers[32 * w];
    warp.members = warp.alive = warp.ready = 0xffffffffu;
    warp.arrived = 0u;
    warp.op = nullptr;
  }
  Fiber* first = choose(block, block.warpCount);
  current = first;
  switchStack(&block.host, first->stack);
  for (unsigned i = 0; i < SHARED_GUARD && !launch.failed; i++) {
    if (block.shared[launch.sharedBytes + i] == POISON) continue;
    char text[200];
    snprintf(text, sizeof text, "a write %u bytes behind the block's %u bytes of shared memory [block (%u, %u, %u)]", i,
             launch.sharedBytes, block.index.x, block.index.y, block.index.z);
    record(launch, text);
  }
}

// A host thread: takes block after block.
void* work(void* argument) {
  Launch& launch = *(Launch*)argument;
  size_t signalBytes = 64 * 1024;
  stack_t signalStack = {}, before = {};
  signalStack.ss_sp = malloc(signalBytes);
  signalStack.ss_size = signalBytes;
  sigaltstack(&signalStack, &before);
  Block* block = signalStack.ss_sp == nullptr ? nullptr : takeBlock(launch);
  if (block == nullptr) record(launch, "no memory for the stacks of the block's threads");
  unsigned long long total = (unsigned long long)launch.grid.x * launch.grid.y * launch.grid.z;
  while (!__atomic_load_n(&launch.failed, __ATOMIC_RELAXED)) {
    unsigned long long i = __atomic_fetch_add(&launch.next, 1ull, __ATOMIC_RELAXED);
    if (i >= total) break;
    unsigned order = launch.settings.order;
    runBlock(*block, order == 0 ? i : order == 1 ? total - 1 - i : (i + order) % total);
  }
  pthread_mutex_lock(&launch.lock);
  if (block != nullptr) {
    launch.statistics.multiplyAdds += block->statistics.multiplyAdds;
    launch.statistics.matrixLoads += block->statistics.matrixLoads;
    launch.statistics.bankConflicts += block->statistics.bankConflicts;
    launch.statistics.copies += block->statistics.copies;
    launch.statistics.barriers += block->statistics.barriers;
  }
  pthread_mutex_unlock(&launch.lock);
  if (block != nullptr) giveBlock(block);
  before.ss_flags |= before.ss_sp == nullptr ? SS_DISABLE : 0;
  sigaltstack(&before, nullptr);
  free(signalStack.ss_sp);
  pthread_mutex_lock(&launch.lock);
  launch.working--;
  pthread_cond_signal(&launch.done);
  pthread_mutex_unlock(&launch.lock);
  return nullptr;
}

// Runs host threads until all blocks are done or the time is up.
void runThreads(Launch& launch) {
  unsigned long long total = (unsigned long long)launch.grid.x * launch.grid.y * launch.grid.z;
  long cores = launch.settings.threads != 0 ? launch.settings.threads : sysconf(_SC_NPROCESSORS_ONLN);
  unsigned wanted = (unsigned)(cores < 1 ? 1 : cores > 64 ? 64 : cores), started = 0;
  if (wanted > total) wanted = (unsigned)total;
  pthread_t threads[64];
  pthread_mutex_lock(&launch.lock);
  for (; started < wanted; started++) {
    if (pthread_create(&threads[started], nullptr, work, &launch) != 0) break;
    launch.working++;
  }
  if (started == 0) snprintf(launch.error, launch.errorBytes, "no thread could be started"), launch.failed = true;
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += launch.settings.seconds;
  while (launch.working > 0) {
    if (pthread_cond_timedwait(&launch.done, &launch.lock, &end) != ETIMEDOUT) continue;
    // A thread between two blocks does not mind; one in a block leaves it.
    launch.late = true;
    bool again = launch.working > 0;
    pthread_mutex_unlock(&launch.lock);
    for (unsigned i = 0; again && i < started; i++) pthread_kill(threads[i], SIGSEGV);
    pthread_mutex_lock(&launch.lock);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 1;
  }
  pthread_mutex_unlock(&launch.lock);
  for (unsigned i = 0; i < started; i++) pthread_join(threads[i], nullptr);
}

constexpr unsigned MOST_MAPS = 4;

// The symbol of a kernel of `maps` tensor maps, in a namespace or in none (null): its C++ name tells both.
bool symbolOf(char (&symbol)[256], char const* name, char const* space, unsigned maps) {
  char in[32] = "";
  if (space != nullptr) snprintf(in, sizeof in, "N%zu%s", strlen(space), space);
  int length = snprintf(symbol, sizeof symbol, "_Z%s%zu%s%s4Call%s", in, strlen(name), name, space ? "E" : "", maps > 0 ? "9TensorMap" : "");
  for (unsigned i = 1; i < maps && length < (int)sizeof symbol; i++)
    length += snprintf(symbol + length, sizeof symbol - length, space ? "S1_" : "S0_");
  return length < (int)sizeof symbol;
}

// Where texts put kernels: those of several passes, and of a list's units, are in namespaces.
constexpr char const* SPACES[] = {nullptr, "pass0", "pass1", "units"};

// The entry of this very library, whatever others of the same name the process has, and how many tensor maps it takes after
// its Call.
void* findEntry(char const* name, unsigned& mapCount) {
  static int here;
  Dl_info info;
  if (dladdr(&here, &info) == 0) return nullptr;
  void* library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  void* entry = nullptr;
  for (char const* space : SPACES) {
    if (library == nullptr || entry != nullptr) break;
    for (unsigned maps = 0; entry == nullptr && maps <= MOST_MAPS; maps++) {
      char symbol[256];
      if (symbolOf(symbol, name, space, maps)) entry = dlsym(library, symbol);
      mapCount = maps;
    }
  }
  if (library != nullptr) dlclose(library);
  return entry;
}

int refuse(char* error, size_t errorBytes, char const* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(error, errorBytes, format, args);
  va_end(args);
  return 1;
}

}  // namespace
}  // namespace heddle

// Bytes of the kernels' first parameter; 0: the text has no kernel.
HEDDLE_EXPORT unsigned heddle_parameter_bytes() { return (unsigned)heddle::parameterBytes; }

HEDDLE_EXPORT int heddle_has_entry(char const* name) {
  unsigned maps;
  return heddle::callEntry != nullptr && heddle::findEntry(name, maps) != nullptr;
}

// order, threads, seconds: see Settings.
HEDDLE_EXPORT int heddle_set(char const* name, unsigned value) {
  if (strcmp(name, "order") == 0) heddle::settings.order = value;
  else if (strcmp(name, "threads") == 0) heddle::settings.threads = value;
  else if (strcmp(name, "seconds") == 0) heddle::settings.seconds = value;
  else return 1;
  return 0;
}

// Of the last launch: multiplyAdd and loadMatrices of whole warps, extra cycles of bank conflicts, copyAsync16, barriers.
HEDDLE_EXPORT void heddle_statistics(double* five) {
  heddle::Statistics const& s = heddle::lastStatistics;
  five[0] = (double)s.multiplyAdds, five[1] = (double)s.matrixLoads, five[2] = (double)s.bankConflicts;
  five[3] = (double)s.copies, five[4] = (double)s.barriers;
}

// `given` is the struct Call, and behind it the 128 bytes of each tensor map. Returns when all blocks are done.
HEDDLE_EXPORT int heddle_launch(char const* entry, unsigned gx, unsigned gy, unsigned gz, unsigned threads,
                                unsigned sharedBytes, void const* given, unsigned givenBytes, char* error, size_t errorBytes) {
  using namespace heddle;
  unsigned mapCount = 0;
  void* found = callEntry == nullptr ? nullptr : findEntry(entry, mapCount);
  if (found == nullptr) return refuse(error, errorBytes, "there is no kernel %s", entry);
  if (threads == 0 || threads > 1024 || threads % 32 != 0)
    return refuse(error, errorBytes, "%s: a block has 32 to 1024 threads in whole warps, not %u", entry, threads);
  if (threads > mostThreads)
    return refuse(error, errorBytes, "%s: %u threads, but KERNEL says at most %u", entry, threads, mostThreads);
  if (sharedBytes > SHARED_LIMIT)
    return refuse(error, errorBytes, "%s: %u bytes of shared memory, a block has at most %u", entry, sharedBytes, SHARED_LIMIT);
  if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7fffffffu || gy > 65535 || gz > 65535)
    return refuse(error, errorBytes, "%s: a grid of (%u, %u, %u) blocks cannot be launched", entry, gx, gy, gz);
  size_t mapBytes = mapCount * sizeof(TensorMap), callBytes = (parameterBytes + 63) / 64 * 64;
  if (givenBytes != parameterBytes + mapBytes)
    return refuse(error, errorBytes, "%s takes %zu bytes of parameters, not %u", entry, parameterBytes + mapBytes, givenBytes);
  unsigned char* parameter = (unsigned char*)aligned_alloc(64, callBytes + mapBytes);
  if (parameter == nullptr) return refuse(error, errorBytes, "%s: out of memory", entry);
  memcpy(parameter, given, parameterBytes);
  memcpy(parameter + callBytes, (unsigned char const*)given + parameterBytes, mapBytes);
  watchFaults();
  Launch launch = {};
  launch.call = callEntry;
  launch.entry = found;
  launch.parameter = parameter;
  launch.maps = (TensorMap const*)(parameter + callBytes);
  launch.mapCount = mapCount;
  launch.grid = {gx, gy, gz};
  launch.threads = threads;
  launch.sharedBytes = sharedBytes;
  launch.settings = settings;
  launch.error = error;
  launch.errorBytes = errorBytes;
  pthread_mutex_init(&launch.lock, nullptr);
  pthread_cond_init(&launch.done, nullptr);
  runThreads(launch);
  lastStatistics = launch.statistics;
  pthread_cond_destroy(&launch.done);
  pthread_mutex_destroy(&launch.lock);
  free(parameter);
  return launch.failed ? 1 : 0;
}
