// The tiles of AMX, eight of 16 rows of 64 bytes, and their products of unsigned by signed bytes, which are exact. With
// WITH_EMULATED_AMX they are C++, so that what the kernels make of them is tested on any CPU.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr size_t TILE_ROWS = 16, TILE_BYTES = 64;

#if defined(WITH_EMULATED_AMX)
struct Tiles {
  alignas(64) uint8_t bytes[8][TILE_ROWS][TILE_BYTES];

  void load(int tile, const void* from, size_t stride) {
    for (size_t row = 0; row < TILE_ROWS; row++) memcpy(bytes[tile][row], static_cast<const uint8_t*>(from) + row * stride, TILE_BYTES);
  }
  void store(int tile, void* into, size_t stride) const {
    for (size_t row = 0; row < TILE_ROWS; row++) memcpy(static_cast<uint8_t*>(into) + row * stride, bytes[tile][row], TILE_BYTES);
  }
  // sums[m][n] += the products of four inputs k of pixel m and of output n
  void dot(int sums, int pixels, int weights) {
    for (size_t m = 0; m < TILE_ROWS; m++) for (size_t n = 0; n < TILE_BYTES / 4; n++) {
      uint32_t sum;
      memcpy(&sum, &bytes[sums][m][n * 4], 4);
      for (size_t k = 0; k < TILE_BYTES; k++)
        sum += uint32_t(int(bytes[pixels][m][k]) * int(int8_t(bytes[weights][k / 4][n * 4 + k % 4])));
      memcpy(&bytes[sums][m][n * 4], &sum, 4);
    }
  }
};
#define TILE_ZERO(tile) memset(tiles.bytes[tile], 0, sizeof tiles.bytes[tile])
#define TILE_LOAD(tile, from, stride) tiles.load(tile, from, stride)
#define TILE_STORE(tile, into, stride) tiles.store(tile, into, stride)
#define TILE_DOT(sums, pixels, weights) tiles.dot(sums, pixels, weights)
#else
// A thread's tiles, from here to the end of a block: what it leaves of them would be saved at each switch of threads.
struct Tiles {
  Tiles() {
    struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } shapes = {};
    shapes.palette = 1;
    for (int i = 0; i < 8; i++) { shapes.bytes[i] = TILE_BYTES; shapes.rows[i] = TILE_ROWS; }
    asm volatile("ldtilecfg %0" :: "m"(shapes));
  }
  ~Tiles() { asm volatile("tilerelease"); }
};
#define TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile ::)
#define TILE_LOAD(tile, from, stride) \
  asm volatile("tileloadd (%0,%1,1), %%tmm" #tile :: "r"(from), "r"(size_t(stride)) : "memory")
#define TILE_STORE(tile, into, stride) \
  asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" :: "r"(into), "r"(size_t(stride)) : "memory")
#define TILE_DOT(sums, pixels, weights) asm volatile("tdpbusd %%tmm" #weights ", %%tmm" #pixels ", %%tmm" #sums ::)
#endif

}  // namespace
