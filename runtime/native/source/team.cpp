#include "team.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <system_error>
#if defined(__linux__)
#include <sched.h>
#endif

namespace {

constexpr std::chrono::microseconds AWAKE{20};  // about what going to sleep and waking costs

void pause_shortly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void bind_to(int cpu) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu < 0 || cpu >= CPU_SETSIZE) return;
  CPU_SET(size_t(cpu), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // the CPU may have been taken away meanwhile
#else
  (void)cpu;
#endif
}

// Signals are the other threads': a handler's exception belongs to Python's, which sleep until theirs comes.
struct SignalsHeld {
  sigset_t before;
  SignalsHeld() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
};

}  // namespace

void Count::raise() {
  value_++;
  if (!asleep_.load()) return;
  { const std::lock_guard<std::mutex> lock(mutex_); }  // who is about to sleep is asleep by then
  raised_.notify_all();
}

void Count::wait_beyond(uint32_t seen) {
  const auto end = std::chrono::steady_clock::now() + AWAKE;
  do {
    for (int i = 0; i < 32; i++) {
      if (value_.load() != seen) return;
      pause_shortly();
    }
  } while (std::chrono::steady_clock::now() < end);
  std::unique_lock<std::mutex> lock(mutex_);
  asleep_++;
  raised_.wait(lock, [&] { return value_.load() != seen; });
  asleep_--;
}

Team::Team(size_t threads, std::vector<int> cpus) : wanted_(threads), cpus_(std::move(cpus)), process_(getpid()) {}

Team::~Team() {
  ends_ = true;
  calls_.raise();
  for (std::thread& thread : threads_) thread.join();
}

bool Team::is_of_this_process() const { return process_ == getpid(); }

bool Team::start() {
  const SignalsHeld held;
  try {
    threads_.reserve(wanted_ - 1);
    while (threads_.size() + 1 < wanted_)
      threads_.emplace_back([this, member = threads_.size() + 1, seen = calls_.now()] { live(member, seen); });
  } catch (const std::system_error&) {  // no more threads for this process: those that there are serve
  } catch (const std::bad_alloc&) {
  }
  return !threads_.empty();
}

bool Team::run(bool waits, const std::function<void(size_t)>& work) {
  if (wanted_ < 2 || !is_of_this_process()) return false;
  std::unique_lock<std::mutex> lock(busy_, std::defer_lock);
  if (waits) lock.lock();
  else if (!lock.try_lock()) return false;
  if (threads_.empty() && !start()) return false;
  work_ = &work;
  calls_.raise();
  work(0);
  meet();  // nobody is in `work` any more
  return true;
}

void Team::live(size_t member, uint32_t seen) {
  if (member - 1 < cpus_.size()) bind_to(cpus_[member - 1]);
  for (;; seen++) {
    calls_.wait_beyond(seen);
    if (ends_) return;
    (*work_)(member);
    meet();
  }
}

void Team::meet() {
  const uint32_t seen = meetings_.now();
  if (met_.fetch_add(1) + 1 < size()) return meetings_.wait_beyond(seen);
  met_ = 0;
  next_ = 0;
  meetings_.raise();
}
