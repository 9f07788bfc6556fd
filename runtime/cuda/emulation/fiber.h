// Stacks to run a GPU thread on, and the switch from one to another. In: a function. Out: it runs until it switches away.
// HEDDLE_UCONTEXT takes the C library's slower switch, which is also that of machines without one here.

#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(HEDDLE_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define HEDDLE_UCONTEXT
#endif
#ifdef HEDDLE_UCONTEXT
#include <ucontext.h>
#endif

#ifdef HEDDLE_UCONTEXT

namespace heddle {
namespace {

// What a stopped side is known by: here its ucontext_t, which lies on its own stack.
void switchStack(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, (ucontext_t*)to);
}

void* freshStack(unsigned char* low, size_t bytes, void (*run)()) {
  size_t kept = (sizeof(ucontext_t) + 63) / 64 * 64;
  ucontext_t* context = (ucontext_t*)(low + bytes - kept);
  getcontext(context);
  context->uc_stack.ss_sp = low;
  context->uc_stack.ss_size = bytes - kept;
  context->uc_link = nullptr;
  makecontext(context, run, 0);
  return context;
}

}  // namespace
}  // namespace heddle

#else

// Saves what a callee must keep, writes the stack pointer to *from, and goes on where `to` stopped.
extern "C" void heddleSwitchStack(void** from, void* to) __asm__("heddleSwitchStack") __attribute__((visibility("hidden")));

#ifdef __ELF__
#define HEDDLE_HIDE ".hidden heddleSwitchStack\n"
#else
#define HEDDLE_HIDE ".private_extern heddleSwitchStack\n"
#endif

#ifdef __x86_64__
__asm__(
    ".text\n.p2align 4\n.globl heddleSwitchStack\n" HEDDLE_HIDE
    "heddleSwitchStack:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");
#else
__asm__(
    ".text\n.p2align 4\n.globl heddleSwitchStack\n" HEDDLE_HIDE
    "heddleSwitchStack:\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
    "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n"
    "  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x2, sp\n  str x2, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
    "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n"
    "  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n");
#endif
#undef HEDDLE_HIDE

namespace heddle {
namespace {

void switchStack(void** from, void* to) { heddleSwitchStack(from, to); }

// A stack that looks as if `run` had been about to begin when it was stopped.
void* freshStack(unsigned char* low, size_t bytes, void (*run)()) {
  uintptr_t* top = (uintptr_t*)(((uintptr_t)low + bytes) & ~(uintptr_t)63);
#ifdef __x86_64__
  // `ret` takes run's address; the word above stands for run's return address, so that the stack is aligned as calls are.
  uintptr_t* stack = top - 10;
  memset(stack, 0, 10 * sizeof *stack);
  stack[6] = (uintptr_t)run;
#else
  uintptr_t* stack = top - 20;
  memset(stack, 0, 20 * sizeof *stack);
  stack[11] = (uintptr_t)run;
#endif
  return stack;
}

}  // namespace
}  // namespace heddle

#endif

namespace heddle {
namespace {

#ifdef HEDDLE_STACK_BYTES
constexpr size_t STACK_BYTES = HEDDLE_STACK_BYTES;
#else
constexpr size_t STACK_BYTES = 256 * 1024;  // pages that are never touched cost nothing
#endif

size_t pageBytes() { return (size_t)sysconf(_SC_PAGESIZE); }

// `count` stacks with a page below each that cannot be touched; null if the memory is not to be had.
unsigned char* mapStacks(unsigned count) {
  size_t page = pageBytes(), each = page + STACK_BYTES;
  void* all = mmap(nullptr, each * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  for (unsigned i = 0; i < count; i++) mprotect((unsigned char*)all + i * each, page, PROT_NONE);
  return (unsigned char*)all;
}
unsigned char* stackOf(unsigned char* stacks, unsigned i) { return stacks + i * (pageBytes() + STACK_BYTES) + pageBytes(); }
void unmapStacks(unsigned char* stacks, unsigned count) { munmap(stacks, (pageBytes() + STACK_BYTES) * count); }

}  // namespace
}  // namespace heddle
