#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <system_error>
#include <utility>

namespace {

constexpr std::chrono::microseconds AWAKE{100};  // about what going to sleep and waking costs on a virtual machine
constexpr int PAUSES = 64;  // before the CPU is offered to others: the thread that is waited for may want this one

void pause_shortly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
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
  for (int i = 0; i < PAUSES; i++) {
    if (value_.load() != seen) return;
    pause_shortly();
  }
  do {
    sched_yield();
    if (value_.load() != seen) return;
  } while (std::chrono::steady_clock::now() < end);
  std::unique_lock<std::mutex> lock(mutex_);
  asleep_++;
  raised_.wait(lock, [&] { return value_.load() != seen; });
  asleep_--;
}

Team::Team(size_t threads, std::vector<int> cpus) : wanted_(threads), cpus_(std::move(cpus)), process_(getpid()) {
  if (cpus_.size() != wanted_) cpus_.clear();
}

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
  for (size_t member = 1; member < cpus_.size() && member < size(); member++) bind(member);
  return !threads_.empty();
}

void Team::bind(size_t member) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cpu = cpus_[member];
  if (cpu < 0 || cpu >= CPU_SETSIZE) return;
  CPU_SET(size_t(cpu), &set);
  pthread_setaffinity_np(threads_[member - 1].native_handle(), sizeof set, &set);  // it may have been taken away meanwhile
#else
  (void)member;
#endif
}

// A member's CPU that this thread runs on becomes its own, and its own the member's: threads of one CPU take turns.
void Team::make_way() {
#if defined(__linux__)
  const int here = cpus_.empty() ? -1 : sched_getcpu();
  for (size_t member = 1; here >= 0 && member < cpus_.size() && member < size(); member++)
    if (cpus_[member] == here) {
      std::swap(cpus_[0], cpus_[member]);
      return bind(member);
    }
#endif
}

bool Team::run(bool waits, const std::function<void(size_t)>& work) {
  if (wanted_ < 2 || !is_of_this_process()) return false;
  std::unique_lock<std::mutex> lock(busy_, std::defer_lock);
  if (waits) lock.lock();
  else if (!lock.try_lock()) return false;
  if (threads_.empty() && !start()) return false;
  make_way();
  caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  work_ = &work;
  calls_.raise();
  work(0);
  meet();  // nobody is in `work` any more
  return true;
}

void Team::live(size_t member, uint32_t seen) {
  for (;; seen++) {
    calls_.wait_beyond(seen);
    if (ends_) return;
    (*work_)(member);
    meet();
  }
}

void Team::meet() {
  const uint32_t seen = meetings_.now();
  if (met_.fetch_add(1) + 1 < size()) {
    meetings_.wait_beyond(seen);
    if (std::this_thread::get_id() == caller_.load(std::memory_order_relaxed)) make_way();  // it may have been woken on the CPU of who woke it
    return;
  }
  met_ = 0;
  next_ = 0;
  meetings_.raise();
}
