// Every step in portable C++: what runs where no vector kernel does. The same bytes as plain.py.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "layer.h"

namespace {

uint8_t byte(float level, int zero_point, int highest = 255) {
  const float lowest = float(-zero_point), most = float(255 - zero_point);
  const int found = int(std::nearbyintf(std::min(std::max(level, lowest), most))) + zero_point;
  return uint8_t(std::min(found, highest));
}

uint8_t summed(const Step& s, int mine, int other) {
  const bool first = s.adds != 2;
  const float outer = float(first ? mine : other), inner = float(first ? other : mine);
  return byte(std::fmaf(outer, s.ratio, std::fmaf(inner, s.other_ratio, s.fixed)), 0, s.sum_highest);
}

int32_t sum_at(const Step& s, const uint8_t* x, int row, int column, int output) {
  const int inputs = s.channels / s.groups, from = output / (s.outputs / s.groups) * inputs;
  const int8_t* w = s.weights + size_t(output) * s.kernel_rows * s.kernel_columns * inputs;
  int32_t sum = s.bias[output];
  for (int i = 0; i < s.kernel_rows; i++) {
    const int r = row * s.stride_rows - s.above + i * s.dilation_rows;
    if (r < 0 || r >= s.rows) { w += size_t(s.kernel_columns) * inputs; continue; }
    for (int j = 0; j < s.kernel_columns; j++, w += inputs) {
      const int c = column * s.stride_columns - s.before + j * s.dilation_columns;
      if (c < 0 || c >= s.columns) continue;
      const uint8_t* at = x + (size_t(r) * s.columns + c) * s.channels + from;
      for (int k = 0; k < inputs; k++) sum += (int32_t(at[k]) - s.source_zero_point) * w[k];
    }
  }
  return sum;
}

void convolution(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  const uint8_t *x = arena + s.source, *other = arena + s.other;
  uint8_t* y = arena + s.target;
  for (int row = 0; row < s.target_rows; row++) for (int column = 0; column < s.target_columns; column++)
    for (int o = 0; o < s.outputs; o++, y++, other++) {
      const float level = float(sum_at(s, x, row, column, o)) * s.factors[o];
      int found = byte(level, s.zero_point, s.slopes ? 255 : s.highest);
      if (s.slopes) {
        const float r = float(found - s.zero_point);
        found = byte(std::max(r, r * s.slopes[o]), s.zero_point, s.highest);
      }
      *y = s.adds ? summed(s, found, *other) : uint8_t(found);
    }
}

void embedding(const Layer& layer, uint8_t* arena, uint8_t*, float* out) {
  const Step& s = layer.step;
  std::vector<int32_t> sums(size_t(s.outputs));
  for (int o = 0; o < s.outputs; o++) sums[size_t(o)] = sum_at(s, arena + s.source, 0, 0, o);
  embed(layer, sums.data(), out);
}

size_t size_of_target(const Step& s) { return size_t(s.target_rows) * s.target_columns * s.outputs; }

void sum(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  for (size_t i = 0, n = size_of_target(s); i < n; i++)
    arena[s.target + i] = summed(s, arena[s.source + i], arena[s.other + i]);
}

void product(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  const size_t n = size_of_target(s), channels = size_t(s.outputs);
  for (size_t i = 0; i < n; i++) {
    const float left = float(arena[s.source + i] - s.source_zero_point);
    const float right = float(arena[s.other + (s.is_gate ? i % channels : i)] - s.other_zero_point);
    arena[s.target + i] = byte(left * right * s.factor + float(s.zero_point), 0);
  }
}

void maximum(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  const uint8_t *a = arena + s.source, *b = arena + s.other;
  uint8_t* y = arena + s.target;
  for (size_t i = 0, n = size_of_target(s); i < n; i++) y[i] = std::max(a[i], b[i]);
}

void look_up(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  const uint8_t* x = arena + s.source;
  uint8_t* y = arena + s.target;
  for (size_t i = 0, n = size_of_target(s); i < n; i++) y[i] = s.table[x[i]];
}

void mean(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  const int positions = s.rows * s.columns;
  for (int c = 0; c < s.channels; c++) {
    int64_t sum = -int64_t(positions) * s.source_zero_point;
    for (int p = 0; p < positions; p++) sum += arena[s.source + int64_t(p) * s.channels + c];
    arena[s.target + c] = byte(float(sum) * s.factor, s.zero_point);
  }
}

template <class Finish> void pool(const Step& s, const uint8_t* x, uint8_t* y, Finish finish) {
  for (int row = 0; row < s.target_rows; row++) for (int column = 0; column < s.target_columns; column++)
    for (int c = 0; c < s.channels; c++) {
      int largest = 0, inside = 0, counted = 0;
      float total = 0;
      for (int i = 0; i < s.kernel_rows; i++) for (int j = 0; j < s.kernel_columns; j++) {
        const int r = row * s.stride_rows - s.above + i * s.dilation_rows;
        const int k = column * s.stride_columns - s.before + j * s.dilation_columns;
        counted++;
        if (r < 0 || r >= s.rows || k < 0 || k >= s.columns) continue;
        const int level = x[(size_t(r) * s.columns + k) * s.channels + c];
        largest = std::max(largest, level);
        total += float(level - s.source_zero_point) * s.source_scale;
        inside++;
      }
      *y++ = finish(largest, total, float(s.counts_padding ? counted : inside));
    }
}

void max_pool(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  pool(s, arena + s.source, arena + s.target, [](int largest, float, float) { return uint8_t(largest); });
}

void average_pool(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  pool(s, arena + s.source, arena + s.target,
       [&s](int, float total, float count) { return byte(total / count / s.scale, s.zero_point); });
}

void fill(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  memset(arena + layer.step.target, layer.step.filling, size_of_target(layer.step));
}

// A block of a source, all or some of its channels, into a place of the target.
void copy(const Layer& layer, uint8_t* arena, uint8_t*, float*) {
  const Step& s = layer.step;
  const bool every = s.taken_channels == s.channels && layer.list.empty();
  for (int row = 0; row < s.block_rows; row++) for (int column = 0; column < s.block_columns; column++) {
    const int r = s.first_row + row * s.stride_rows, c = s.first_column + column * s.stride_columns;
    const uint8_t* x = arena + s.source + (size_t(r) * s.columns + c) * s.channels;
    uint8_t* y = arena + s.target + (size_t(s.at_row + row) * s.target_columns + s.at_column + column) * s.outputs
                 + s.first_channel;
    if (every) memcpy(y, x, size_t(s.channels));
    else for (int k = 0; k < s.taken_channels; k++) y[k] = x[s.list[k]];
  }
}

const Run RUNS[KINDS] = {convolution, embedding, sum, product, maximum, look_up, mean, max_pool, average_pool, fill, copy};

}  // namespace

void embed(const Layer& layer, const int32_t* sums, float* embedding) {
  double squares = 0;
  const int outputs = layer.step.outputs;
  for (int o = 0; o < outputs; o++) {
    embedding[o] = float(sums[o]) * layer.factors[size_t(o)];
    squares += double(embedding[o]) * double(embedding[o]);
  }
  const double length = squares > 0 ? std::sqrt(squares) : 1;
  for (int o = 0; o < outputs; o++) embedding[o] = float(double(embedding[o]) / length);
}

void prepare_plain(Layer& layer) { layer.run = RUNS[layer.step.kind]; }
