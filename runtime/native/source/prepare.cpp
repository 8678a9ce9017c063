// Which kernel takes a layer, and its constants in the order that the kernel's vectors read them.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "layer.h"

namespace {

// The channel of a lane: vectors hold four channels in each 128 bits, so that packing to bytes puts them in order.
size_t channel_of(size_t vectors, size_t vector, size_t lane) { return lane / 4 * 4 * vectors + vector * 4 + lane % 4; }

struct Order {
  size_t lanes, vectors, outputs;
  size_t tile() const { return lanes * vectors; }
  size_t padded() const { return rounded_up(outputs, tile()); }
  // f(output, place) for every place of the packed order; output >= outputs is padding
  template <class F> void each(F f) const {
    size_t place = 0;
    for (size_t start = 0; start < padded(); start += tile())
      for (size_t v = 0; v < vectors; v++) for (size_t i = 0; i < lanes; i++) f(start + channel_of(vectors, v, i), place++);
  }
  template <class T> Buffer<T> pack(const T* values) const {
    Buffer<T> packed = buffer<T>(padded());
    each([&](size_t output, size_t place) { if (output < outputs) packed[place] = values[output]; });
    return packed;
  }
};

void pack_constants(Layer& layer, const Order& order, int flip) {
  const Step& s = layer.step;
  const size_t inputs = layer.weights.size() / order.outputs;
  std::vector<int32_t> bias(order.outputs);  // bytes are multiplied with their zero points, which it takes off again
  for (size_t o = 0; o < order.outputs; o++) {
    int32_t sum = 0;
    for (size_t k = 0; k < inputs; k++) sum += layer.weights[o * inputs + k];
    bias[o] = s.bias[o] - (s.source_zero_point - flip) * sum;
  }
  layer.packed_bias = order.pack(bias.data());
  layer.packed_factors = order.pack(s.factors);
  if (s.slopes) layer.packed_slopes = order.pack(s.slopes);
}

// One weight, or where products saturate, half of it and what is left.
void put(Layer& layer, int8_t* at, size_t distance, int8_t weight) {
  if (!layer.wide) { *at = weight; return; }
  const int half = weight >> 1;
  at[0] = int8_t(half);
  at[distance] = int8_t(weight - 2 * half);
}

// Two fours of inputs of a tile may be added in 16 bits where no lane's four weights exceed 128 together: 255 * 128 fits.
constexpr int MOST_WEIGHT = 128;
constexpr size_t TRIES = 48;

// The order of a tile's fours: first those in pairs, then the others; how many are in pairs.
size_t pair_up(const std::vector<uint8_t>& lanes, size_t width, std::vector<size_t>& order) {
  const size_t count = order.size();
  std::vector<int> largest(count);
  for (size_t b = 0; b < count; b++)
    largest[b] = *std::max_element(lanes.begin() + long(b * width), lanes.begin() + long((b + 1) * width));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return largest[a] > largest[b]; });
  std::vector<bool> taken(count);
  std::vector<size_t> paired, single;
  for (size_t i = 0; i < count; i++) {
    if (taken[i]) continue;
    size_t tries = 0, j = i + 1;
    for (; j < count && tries < TRIES; j++) {
      if (taken[j]) continue;
      tries++;
      const uint8_t *a = &lanes[order[i] * width], *b = &lanes[order[j] * width];
      int most = 0;
      for (size_t l = 0; l < width; l++) most = std::max(most, int(a[l]) + int(b[l]));
      if (most <= MOST_WEIGHT) break;
    }
    if (j == count || tries == TRIES) { single.push_back(order[i]); continue; }
    taken[j] = true;
    paired.push_back(order[i]);
    paired.push_back(order[j]);
  }
  order = paired;
  order.insert(order.end(), single.begin(), single.end());
  return paired.size();
}

// [tile][four inputs][1 or 2 parts][vector][lane][4]
void pack_dense(Layer& layer, const Order& order, bool saturates, size_t fours) {
  const Step& s = layer.step;
  const size_t run = size_t(s.kernel_columns) * size_t(s.channels), of_row = fours / size_t(s.kernel_rows);
  const size_t parts = layer.wide ? 2 : 1, block = order.tile() * 4, width = order.tile() * 2;
  layer.packed_weights = buffer<int8_t>(order.padded() * fours * 4 * parts);
  layer.offsets = buffer<int32_t>(order.padded() / order.tile() * fours);
  const auto weight = [&](size_t output, size_t four, size_t j) -> int8_t {
    const size_t row = four / of_row, k = four % of_row * 4 + j;
    return output < order.outputs && k < run ? s.weights[(output * size_t(s.kernel_rows) + row) * run + k] : int8_t(0);
  };
  int8_t* at = layer.packed_weights.get();
  int32_t* offset = layer.offsets.get();
  for (size_t start = 0; start < order.padded(); start += order.tile()) {
    std::vector<size_t> sequence(fours);
    for (size_t b = 0; b < fours; b++) sequence[b] = b;
    size_t paired = 0;
    if (saturates && !layer.wide) {
      std::vector<uint8_t> lanes(fours * width);
      for (size_t b = 0; b < fours; b++) for (size_t l = 0; l < width; l++) {
        const size_t output = start + l / 2, j = l % 2 * 2;
        lanes[b * width + l] = uint8_t(std::abs(int(weight(output, b, j))) + std::abs(int(weight(output, b, j + 1))));
      }
      paired = pair_up(lanes, width, sequence);
    }
    layer.pairs.push_back(int32_t(paired));
    for (size_t four : sequence) {
      *offset++ = int32_t(four / of_row * width_of(s) * size_t(s.dilation_rows) + four % of_row * 4);
      for (size_t v = 0; v < order.vectors; v++) for (size_t i = 0; i < order.lanes; i++) for (size_t j = 0; j < 4; j++)
        put(layer, at + (v * order.lanes + i) * 4 + j, block, weight(start + channel_of(order.vectors, v, i), four, j));
      at += block * parts;
    }
  }
}

// [group][vector][shift 0, 1][3 rows][1 or 2 parts][lane][4]: three columns among the four of a vector
void pack_depthwise(Layer& layer, const Order& order) {
  const size_t parts = layer.wide ? 2 : 1, block = order.lanes * 4;
  layer.packed_weights = buffer<int8_t>(order.padded() * 24 * parts);
  int8_t* at = layer.packed_weights.get();
  for (size_t start = 0; start < order.padded(); start += order.tile()) for (size_t v = 0; v < 4; v++)
    for (size_t shift = 0; shift < 2; shift++) for (size_t row = 0; row < 3; row++, at += block * parts)
      for (size_t i = 0; i < order.lanes; i++) for (size_t tap = 0; tap < 3; tap++) {
        const size_t output = start + channel_of(4, v, i);
        if (output < order.outputs)
          put(layer, at + i * 4 + tap + shift, block, layer.step.weights[output * 9 + row * 3 + tap]);
      }
}

// [group][four positions][vector][1 or 2 parts][lane][4]
void pack_whole(Layer& layer, const Order& order) {
  const size_t parts = layer.wide ? 2 : 1, block = order.lanes * 4;
  const size_t positions = size_t(layer.step.rows) * size_t(layer.step.columns), padded = rounded_up(positions, 4);
  layer.packed_weights = buffer<int8_t>(order.padded() * padded * parts);
  int8_t* at = layer.packed_weights.get();
  for (size_t start = 0; start < order.padded(); start += order.tile()) for (size_t p = 0; p < padded; p += 4)
    for (size_t v = 0; v < 4; v++, at += block * parts) for (size_t i = 0; i < order.lanes; i++) for (size_t j = 0; j < 4; j++) {
      const size_t output = start + channel_of(4, v, i);
      if (output < order.outputs && p + j < positions)
        put(layer, at + i * 4 + j, block, layer.step.weights[output * positions + p + j]);
    }
}

constexpr size_t EDGE_ROWS = 8;       // of a copy
constexpr size_t DEPTHWISE_ROWS = 4;  // two more are read for them

// Rows of the source between its edges of zero points; FLIP is 128 for kernels that multiply signed bytes.
template <uint8_t FLIP> void with_edges(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  const Step& s = layer.step;
  const size_t inner = size_t(s.columns) * size_t(s.channels), before = size_t(s.before) * size_t(s.channels);
  const size_t width = width_of(s), above = size_t(s.above), rows = size_t(s.rows);
  for (size_t row = first; row < end; row++) {
    uint8_t* y = call.shared + layer.copy + row * width;
    const int edge = s.source_zero_point ^ FLIP;
    if (row < above || row >= above + rows) { memset(y, edge, width); continue; }
    const uint8_t* x = call.arena + s.source + (row - above) * inner;
    memset(y, edge, before);
    if (!FLIP) memcpy(y + before, x, inner);
    else for (size_t i = 0; i < inner; i++) y[before + i] = x[i] ^ FLIP;
    memset(y + before + inner, edge, width - before - inner);
  }
}

// Bytes of a source, its edges included, and beyond it that a kernel of matrices reads.
size_t reach_of(const Step& s, const Tiling& tiling) {
  const Lines lines = lines_of(s, tiling.pixels);
  const size_t last = rounded_up(lines.count(), tiling.pixels) - 1, width = width_of(s);
  return lines.place(last, width * size_t(s.stride_rows), size_t(s.stride_columns) * size_t(s.channels)) +
         size_t(s.kernel_rows - 1) * size_t(s.dilation_rows) * width + fours_of(s, tiling.fours) / size_t(s.kernel_rows) * 4;
}

constexpr size_t FEWEST_PIXELS = 8;       // of a layer that matrices take
constexpr size_t MOST_BEYOND = 1 << 20;  // bytes read beyond a source

// None where most of a matrix would be empty, or far from the source.
const Tiling* tiling_of(const Step& s, const Kernels& kernels) {
  const Tiling* tiling = kernels.tiling;
  if (!tiling || s.kind != CONVOLUTION || size_t(s.target_rows) * size_t(s.target_columns) < FEWEST_PIXELS) return nullptr;
  const bool near = reach_of(s, *tiling) <= size_t(s.rows + s.above + s.below) * width_of(s) + MOST_BEYOND;
  return near && fours_of(s, tiling->fours) <= 2 * fours_of(s) ? tiling : nullptr;
}

void prepare_dense(Layer& layer, const Kernels& kernels, const Order& order) {
  const Step& s = layer.step;
  const size_t tiles = order.padded() / order.tile(), rows = size_t(s.rows + s.above + s.below);
  const Tiling* tiling = tiling_of(s, kernels);
  size_t reach = rows * width_of(s);
  if (s.kind == EMBEDDING) {
    layer.work = {kernels.embedding, tiles, 1, 1};
    layer.after = {embed};
    layer.shared = order.padded() * sizeof(int32_t);
  } else if (tiling) {
    const size_t blocks = lines_of(s, tiling->pixels).blocks(tiling->block);
    layer.work = {tiling->run, tiles * blocks, 1, blocks};
    layer.own = tiling->own;
    reach = std::max(reach, reach_of(s, *tiling));
  } else {
    const size_t blocks = blocks_of(s, size_t(kernels.pixels));
    layer.work = {kernels.dense, tiles * blocks, 1, blocks};
  }
  if (has_edges(s) || kernels.flip) {
    layer.before = {kernels.flip ? with_edges<128> : with_edges<0>, rows, EDGE_ROWS};
    layer.copy = rounded_up(layer.shared, ALIGNMENT);
    layer.shared = layer.copy + reach + SLACK;
  } else {
    layer.beyond = reach - rows * width_of(s);
  }
  pack_dense(layer, order, kernels.saturates, fours_of(s, tiling ? tiling->fours : 1));
  pack_constants(layer, order, kernels.flip);
}

}  // namespace

bool prepare(Layer& layer, const Kernels& kernels) {
  const Step& s = layer.step;
  if (s.kind != CONVOLUTION && s.kind != EMBEDDING) return false;
  const size_t lanes = size_t(kernels.lanes), outputs = size_t(s.outputs);
  layer.wide = kernels.saturates &&
               std::any_of(layer.weights.begin(), layer.weights.end(), [](int8_t w) { return w < -64 || w > 64; });
  const Order dense{lanes, size_t(kernels.vectors), outputs}, groups{lanes, 4, outputs};
  const bool depthwise = s.groups > 1 && s.groups == s.channels && s.channels == s.outputs && !s.adds;
  if (s.kind == EMBEDDING || (s.groups == 1 && s.dilation_columns == 1)) {
    const bool fits = s.kind == CONVOLUTION || (s.kernel_rows == s.rows && s.kernel_columns == s.columns && !has_edges(s));
    if (!fits) return false;
    const size_t reach = width_of(s) * size_t(s.dilation_rows) * size_t(s.kernel_rows);
    if (reach > size_t(INT32_MAX)) return false;
    prepare_dense(layer, kernels, dense);
    return true;
  }
  if (!depthwise || s.dilation_rows != 1 || s.dilation_columns != 1) return false;
  const bool edges = s.above == 1 && s.before == 1 && s.below == 1 && s.behind == 1;
  if (s.kernel_rows == 3 && s.kernel_columns == 3 && edges && s.stride_rows == s.stride_columns && s.stride_rows <= 2) {
    const size_t quads = size_t(s.stride_rows == 2 ? s.target_columns : (s.columns + 1) / 2);
    layer.work = {kernels.depthwise, groups.padded() / groups.tile() * size_t(s.target_rows), DEPTHWISE_ROWS};
    layer.own = groups.tile() * (1 + 5 * quads * 4) + SLACK;
    pack_depthwise(layer, groups);
  } else if (s.kernel_rows == s.rows && s.kernel_columns == s.columns && !has_edges(s) && !s.slopes) {
    layer.work = {kernels.whole, groups.padded() / groups.tile()};
    layer.own = groups.tile();
    pack_whole(layer, groups);
  } else {
    return false;
  }
  pack_constants(layer, groups, kernels.flip);
  return true;
}
