// What the two ends of `aarch64.sh` say to each other: a function of runtime/native/source/plan.cpp with its arguments, and
// what it gives. Both write numbers alike: little-endian, of 64 bits.
#pragma once
#include <cstdint>
#include <unistd.h>

enum Function : int64_t {
  INSTRUCTION_SETS, PLAN_NEW, PLAN_FREE, PLAN_ADD, MEMORY_NEW, MEMORY_FREE, MEMORY_SIZE, TEAM_NEW, TEAM_FREE, PLAN_RUN,
  PLAN_SHARE, PLAN_PROFILE, PLAN_READ, GIVE_BACK
};

constexpr int NUMBERS = 4, PARTS = 7;
struct Request {
  int64_t function, numbers[NUMBERS];
  uint64_t sizes[PARTS], wanted;  // bytes of the parts that follow, and of those behind the result
};

template <class Move, class Byte> bool all_of(Move move, int file, Byte* bytes, uint64_t size) {
  while (size) {
    const ssize_t moved = move(file, bytes, size);
    if (moved <= 0) return false;
    bytes += moved;
    size -= uint64_t(moved);
  }
  return true;
}
inline bool receive(int file, void* into, uint64_t size) { return all_of(read, file, static_cast<char*>(into), size); }
inline bool send(int file, const void* from, uint64_t size) { return all_of(write, file, static_cast<const char*>(from), size); }
