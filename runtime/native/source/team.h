// Threads that compute one image together, or several images each by one.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

// A number that only grows, whose next value threads wait for: some microseconds awake, then asleep.
class Count {
 public:
  uint32_t now() const { return value_.load(); }
  void raise();
  void wait_beyond(uint32_t seen);

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable raised_;
};

class Team {
 public:
  // `threads` with the calling one; the others start with the first call. With a CPU in `cpus` for each of all, they are
  // bound to those that the calling thread, which is not bound, does not run on.
  Team(size_t threads, std::vector<int> cpus);
  ~Team();

  // work(member) by every member, 0 is the caller; false, and nothing done, where there is only one member, or
  // another call has the team and this one does not wait for it.
  bool run(bool waits, const std::function<void(size_t)>& work);
  size_t size() const { return threads_.size() + 1; }  // while it runs
  size_t most() const { return wanted_; }
  bool is_of_this_process() const;  // not so in the child of a fork, which has none of its threads

  // By every member in `run`, as what follows: returns when all are here.
  void meet();
  // part(first, end) of `units`, in chunks of `least` or more; returns when all are done.
  template <class Part> void share(size_t units, size_t least, Part part) {
    const size_t fair = (units + CHUNKS * size() - 1) / (CHUNKS * size()), chunk = fair > least ? fair : least;
    for (size_t first; (first = next_.fetch_add(chunk)) < units;) part(first, first + chunk < units ? first + chunk : units);
    meet();
  }

 private:
  static constexpr size_t CHUNKS = 4;  // of a member: the others go on where one begins late

  bool start();
  void live(size_t member, uint32_t seen);
  void bind(size_t member);
  void make_way();

  const size_t wanted_;
  std::vector<int> cpus_;  // of each member
  const pid_t process_;
  std::mutex busy_;
  std::vector<std::thread> threads_;
  bool ends_ = false;
  const std::function<void(size_t)>* work_ = nullptr;
  std::atomic<std::thread::id> caller_{};  // read by members that a call has ended for when the next begins
  alignas(64) std::atomic<size_t> next_{0};
  alignas(64) std::atomic<size_t> met_{0};
  alignas(64) Count calls_;
  alignas(64) Count meetings_;
};
