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

// AMX: of Linux, which is asked for its registers, and of assemblers that know it.
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_AMX 1
#else
#define HAS_AMX 0
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

// `units` that threads compute in any order, `least` or more at a time; so many, one behind the other, read the same weights.
struct Work { Run run = nullptr; size_t units = 1, least = 1, alike = 0; };

struct Layer {
  Step step;                        // its pointers lead to the vectors below
  std::vector<int8_t> weights;
  std::vector<int32_t> bias, list;  // the bias of plain kernels
  std::vector<float> factors, slopes;
  std::vector<uint8_t> table;
  Work before, work, after;         // one after the other; the first and last may be none
  size_t shared = 0, own = 0;       // bytes of scratch
  size_t copy = 0;                  // in the shared ones, of the source, where `before` makes one
  size_t beyond = 0;                // bytes behind the maps that may be read
  // Of a fast kernel: in the order its vectors read them, zero points folded into the bias.
  Buffer<int8_t> packed_weights;
  Buffer<int32_t> packed_bias;
  Buffer<float> packed_factors, packed_slopes;
  Buffer<int32_t> offsets;          // of a dense kernel: of each four inputs, for each tile
  std::vector<int32_t> pairs;       // of each tile: so many fours, two by two, are added in 16 bits first
  bool wide = false;                // weights of 8 bits in two parts, where products saturate
  size_t weight_bytes = 0;          // before they are packed
};

// A dense kernel of matrices: of so many pixels and fours of inputs at once, of a block of pixels in a unit.
struct Tiling {
  Run run;
  size_t pixels, fours, block;
  size_t own;       // bytes of scratch
};

// An instruction set: how its vectors lie, and its kernels.
struct Kernels {
  int lanes;        // 32-bit numbers of a vector
  int vectors;      // of a tile of outputs
  int pixels;       // of a tile
  bool saturates;   // its products of bytes, where weights exceed 64
  Run dense, depthwise, whole, embedding;
  uint8_t flip = 0;  // 128 where they multiply signed bytes only: those of a source less 128
  const Tiling* tiling = nullptr;  // for dense layers of many pixels
};
extern const Kernels AVX2, AVX_VNNI, AVX512_VNNI, AMX_INT8, EMULATED512, EMULATED_AMX, NEON_DOTPROD, NEON_I8MM;

bool is_sound(const Step& step, size_t arena);           // whether it touches what is in the arena only
bool prepare(Layer& layer, const Kernels& kernels);  // whether one of them took the layer
void prepare_plain(Layer& layer);
// Of the sums in `call.shared`: factors, then unit length.
void embed(const Layer& layer, const Call& call, uint8_t* own, size_t first, size_t end);

// Bytes of the maps that a step reads and writes.
inline size_t map_bytes(const Step& s) {
  return size_t(s.rows) * size_t(s.columns) * size_t(s.channels) +
         size_t(s.target_rows) * size_t(s.target_columns) * size_t(s.outputs);
}
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
// Fours of bytes that a dense kernel reads for one output, in each row of its window a multiple of `together`.
inline size_t fours_of(const Step& s, size_t together = 1) {
  return rounded_up(size_t(s.kernel_columns) * size_t(s.channels), 4 * together) / 4 * size_t(s.kernel_rows);
}

// A dense layer's pixels where windows lie at one distance from each other: rows of `line`, of which the first `columns` are
// the target's. With strides of 1 a line is a row of the source, otherwise a multiple of the pixels of a tile.
struct Lines {
  size_t rows, columns, line;
  size_t count() const { return (rows - 1) * line + columns; }
  size_t blocks(size_t pixels) const { return (count() + pixels - 1) / pixels; }
  size_t place(size_t at, size_t next, size_t pixel) const { return at / line * next + at % line * pixel; }
};

inline Lines lines_of(const Step& s, size_t pixels) {
  const size_t rows = size_t(s.target_rows), columns = size_t(s.target_columns);
  if (is_pointwise(s)) return {1, rows * columns, rows * columns};
  if (s.stride_rows == 1 && s.stride_columns == 1) return {rows, columns, width_of(s) / size_t(s.channels)};
  return {rows, columns, rounded_up(columns, pixels)};
}
