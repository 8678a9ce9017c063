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

// Bytes of the rows of a target before `row`.
size_t place_of(const Step& s, size_t row) { return row * size_t(s.target_columns) * size_t(s.outputs); }

void convolution(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  const Step& s = layer.step;
  const uint8_t *x = call.arena + s.source, *other = call.arena + s.other + place_of(s, first);
  uint8_t* y = call.arena + s.target + place_of(s, first);
  for (int row = int(first); row < int(end); row++) for (int column = 0; column < s.target_columns; column++)
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

void embedding(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  int32_t* sums = reinterpret_cast<int32_t*>(call.shared);
  for (size_t o = first; o < end; o++) sums[o] = sum_at(layer.step, call.arena + layer.step.source, 0, 0, int(o));
}

void sum(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  for (size_t i = place_of(s, first), n = place_of(s, end); i < n; i++)
    arena[s.target + i] = summed(s, arena[s.source + i], arena[s.other + i]);
}

void product(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  const size_t channels = size_t(s.outputs);
  for (size_t i = place_of(s, first), n = place_of(s, end); i < n; i++) {
    const float left = float(arena[s.source + i] - s.source_zero_point);
    const float right = float(arena[s.other + (s.is_gate ? i % channels : i)] - s.other_zero_point);
    arena[s.target + i] = byte(left * right * s.factor + float(s.zero_point), 0);
  }
}

void maximum(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  const uint8_t *a = arena + s.source, *b = arena + s.other;
  uint8_t* y = arena + s.target;
  for (size_t i = place_of(s, first), n = place_of(s, end); i < n; i++) y[i] = std::max(a[i], b[i]);
}

void look_up(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  const uint8_t* x = arena + s.source;
  uint8_t* y = arena + s.target;
  for (size_t i = place_of(s, first), n = place_of(s, end); i < n; i++) y[i] = s.table[x[i]];
}

void mean(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  const int positions = s.rows * s.columns;
  for (int c = int(first); c < int(end); c++) {
    int64_t sum = -int64_t(positions) * s.source_zero_point;
    for (int p = 0; p < positions; p++) sum += arena[s.source + int64_t(p) * s.channels + c];
    arena[s.target + c] = byte(float(sum) * s.factor, s.zero_point);
  }
}

template <class Finish> void pool(const Step& s, uint8_t* arena, size_t first, size_t end, Finish finish) {
  const uint8_t* x = arena + s.source;
  uint8_t* y = arena + s.target + place_of(s, first);
  for (int row = int(first); row < int(end); row++) for (int column = 0; column < s.target_columns; column++)
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

void max_pool(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  pool(s, arena, first, end, [](int largest, float, float) { return uint8_t(largest); });
}

void average_pool(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  pool(s, arena, first, end,
       [&s](int, float total, float count) { return byte(total / count / s.scale, s.zero_point); });
}

void fill(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  memset(arena + s.target + place_of(s, first), s.filling, place_of(s, end - first));
}

// A block of a source, all or some of its channels, into a place of the target.
void copy(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  uint8_t* arena = call.arena;
  const Step& s = layer.step;
  const bool every = s.taken_channels == s.channels && layer.list.empty();
  for (int row = int(first); row < int(end); row++) for (int column = 0; column < s.block_columns; column++) {
    const int r = s.first_row + row * s.stride_rows, c = s.first_column + column * s.stride_columns;
    const uint8_t* x = arena + s.source + (size_t(r) * s.columns + c) * s.channels;
    uint8_t* y = arena + s.target + (size_t(s.at_row + row) * s.target_columns + s.at_column + column) * s.outputs
                 + s.first_channel;
    if (every) memcpy(y, x, size_t(s.channels));
    else for (int k = 0; k < s.taken_channels; k++) y[k] = x[s.list[k]];
  }
}

constexpr size_t PLAIN_CHANNELS = 64;  // of a cache line
const Run RUNS[KINDS] = {convolution, embedding, sum, product, maximum, look_up, mean, max_pool, average_pool, fill, copy};

}  // namespace

void embed(const Layer& layer, const Call& call, uint8_t*, size_t, size_t) {
  const int32_t* sums = reinterpret_cast<const int32_t*>(call.shared);
  float* embedding = call.embedding;
  double squares = 0;
  const int outputs = layer.step.outputs;
  for (int o = 0; o < outputs; o++) {
    embedding[o] = float(sums[o]) * layer.factors[size_t(o)];
    squares += double(embedding[o]) * double(embedding[o]);
  }
  const double length = squares > 0 ? std::sqrt(squares) : 1;
  for (int o = 0; o < outputs; o++) embedding[o] = float(double(embedding[o]) / length);
}

void prepare_plain(Layer& layer) {
  const Step& s = layer.step;
  const bool channels = s.kind == MEAN || s.kind == EMBEDDING;
  const int32_t units = channels ? s.outputs : s.kind == COPY ? s.block_rows : s.target_rows;
  layer.work = {RUNS[s.kind], size_t(units), s.kind == MEAN ? PLAIN_CHANNELS : 1};
  if (s.kind != EMBEDDING) return;
  layer.after = {embed};
  layer.shared = size_t(s.outputs) * sizeof(int32_t);
}
