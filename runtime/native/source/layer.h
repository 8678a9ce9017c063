// What a step becomes when a plan is opened: its numbers, its weights as the kernels read them, and its kernel.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "step.h"

// ARM's instruction sets: compiled for them by a pragma that Clang does not know, and asked for as Linux says them.
#if defined(__aarch64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_NEON 1
#else
#define HAS_NEON 0
#endif

constexpr size_t ALIGNMENT = 64;
constexpr size_t SLACK = 256;  // bytes that kernels may read beyond what they use

struct Freed { void operator()(void* memory) const; };
template <class T> using Buffer = std::unique_ptr<T[], Freed>;
void* allocate(size_t bytes);  // aligned, zeros, with slack; throws std::bad_alloc
template <class T> Buffer<T> buffer(size_t count) { return Buffer<T>(static_cast<T*>(allocate(count * sizeof(T)))); }

// Of one image: maps, what its threads share besides, and where the embedding goes.
struct Call { uint8_t *arena, *shared; float* embedding; };

struct Layer;
// The units from `first` on, before `end`; `own` is scratch of the thread's own.
using Run = void (*)(const Layer&, const Call&, uint8_t* own, size_t first, size_t end);

// `units` that threads compute in any order, `least` or more at a time.
struct Work { Run run = nullptr; size_t units = 1, least = 1; };

struct Layer {
  Step step;                        // its pointers lead to the vectors below
  std::vector<int8_t> weights;
  std::vector<int32_t> bias, list;  // the bias of plain kernels
  std::vector<float> factors, slopes;
  std::vector<uint8_t> table;
  Work before, work, after;         // one after the other; the first and last may be none
  size_t shared = 0, own = 0;       // bytes of scratch
  size_t copy = 0;                  // in the shared ones, of the source, where `before` makes one
  // Of a fast kernel: in the order its vectors read them, zero points folded into the bias.
  Buffer<int8_t> packed_weights;
  Buffer<int32_t> packed_bias;
  Buffer<float> packed_factors, packed_slopes;
  Buffer<int32_t> offsets;          // of a dense kernel: of each four inputs, for each tile
  std::vector<int32_t> pairs;       // of each tile: so many fours, two by two, are added in 16 bits first
  bool wide = false;                // weights of 8 bits in two parts, where products saturate
};

// An instruction set: how its vectors lie, and its kernels.
struct Kernels {
  int lanes;        // 32-bit numbers of a vector
  int vectors;      // of a tile of outputs
  int pixels;       // of a tile
  bool saturates;   // its products of bytes, where weights exceed 64
  Run dense, depthwise, whole, embedding;
  uint8_t flip = 0;  // 128 where they multiply signed bytes only: those of a source less 128
};
extern const Kernels AVX2, AVX_VNNI, AVX512_VNNI, EMULATED512, NEON_DOTPROD, NEON_I8MM;

bool prepare(Layer& layer, const Kernels& kernels);  // whether one of them took the layer
void prepare_plain(Layer& layer);
// Of the sums in `call.shared`: factors, then unit length.
void embed(const Layer& layer, const Call& call, uint8_t* own, size_t first, size_t end);

inline bool has_edges(const Step& s) { return s.above || s.before || s.below || s.behind; }
// Whether a dense layer's outputs lie as its inputs do, so that they are one long row.
inline bool is_pointwise(const Step& s) {
  return !has_edges(s) && s.kernel_rows == 1 && s.kernel_columns == 1 && s.stride_rows == 1 && s.stride_columns == 1;
}
// Units of a dense layer: tiles of so many pixels, the last begins early; where there are fewer, one by one.
inline size_t blocks_of(const Step& s, size_t pixels) {
  const size_t positions = size_t(s.target_rows) * size_t(s.target_columns);
  return positions < pixels ? positions : (positions + pixels - 1) / pixels;
}

inline size_t rounded_up(size_t size, size_t to) { return (size + to - 1) / to * to; }
// Bytes from one row of a dense layer's source to the next, its edges included.
inline size_t width_of(const Step& s) { return size_t(s.columns + s.before + s.behind) * size_t(s.channels); }
// Fours of bytes that a dense kernel reads for one output.
inline size_t fours_of(const Step& s) {
  return rounded_up(size_t(s.kernel_columns) * size_t(s.channels), 4) / 4 * size_t(s.kernel_rows);
}
