// Faults of a kernel's memory and launches that are out of time. In: a signal. Out: the launch fails with a sentence, and
// the process goes on; signals from elsewhere go where they went before.

#pragma once

#include <dlfcn.h>
#include <signal.h>
#include <ucontext.h>

#include "block.h"

namespace heddle {
namespace {

// Where this library was when a signal came, as an offset for addr2line; 0: elsewhere.
unsigned long long codeOffset(void* context) {
#if defined(__linux__) && defined(__x86_64__)
  void* code = (void*)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__linux__) && defined(__aarch64__)
  void* code = (void*)((ucontext_t*)context)->uc_mcontext.pc;
#else
  void* code = context == nullptr ? context : nullptr;
#endif
  static int here;
  Dl_info there = {}, mine = {};
  if (code == nullptr || dladdr(code, &there) == 0 || dladdr(&here, &mine) == 0) return 0;
  return there.dli_fbase == mine.dli_fbase ? (char*)code - (char*)mine.dli_fbase : 0;
}

// Memory that may not be touched, or time that is up: the fiber at fault is left where it stands.
struct sigaction previous[2];
void onFault(int signal, siginfo_t* info, void* context) {
  if (current != nullptr) {
    Launch& launch = *current->block->launch;
    unsigned long long code = codeOffset(context);
    Warp& warp = current->block->warps[current->warp];
    if (launch.late && warp.op != nullptr)
      fail("the launch takes more than %u seconds, now at code 0x%llx, the warp's last meeting %s in line %d",
           launch.settings.seconds, code, warp.op, warp.line);
    if (launch.late) fail("the launch takes more than %u seconds, now at code 0x%llx", launch.settings.seconds, code);
    if (current->reading != 0)
      fail("%s in line %d reads memory at %p, which is not the kernel's own", current->readingOp, current->reading,
           info->si_addr);
    fail("at code 0x%llx the kernel touched memory at %p, which is not its own or not aligned as its type wants", code,
         info->si_addr);
  }
  struct sigaction& old = previous[signal == SIGSEGV ? 0 : 1];
  if ((old.sa_flags & SA_SIGINFO) != 0) old.sa_sigaction(signal, info, context);
  else if (old.sa_handler == SIG_DFL) sigaction(signal, &old, nullptr);
  else if (old.sa_handler != SIG_IGN) old.sa_handler(signal);
}

void watchFaults() {
  static bool watched = false;
  if (watched) return;
  watched = true;
  struct sigaction action = {};
  action.sa_sigaction = onFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &previous[0]);
  sigaction(SIGBUS, &action, &previous[1]);
}

}  // namespace
}  // namespace heddle
