// What memory a step touches, checked once: kernels check nothing.
#include "layer.h"

namespace {

bool within(int64_t start, int64_t rows, int64_t columns, int64_t channels, size_t arena) {
  const int64_t limit = int64_t(1) << 40;
  if (start < 0 || rows < 1 || columns < 1 || channels < 1 || rows > limit / columns / channels) return false;
  return start <= int64_t(arena) && rows * columns * channels <= int64_t(arena) - start;
}

}  // namespace

bool is_sound(const Step& s, size_t arena) {
  if (s.kind < 0 || s.kind >= KINDS || !within(s.target, s.target_rows, s.target_columns, s.outputs, arena))
    return false;
  if (s.kind == FILL) return true;
  if (!within(s.source, s.rows, s.columns, s.channels, arena)) return false;
  const bool windows = s.kind == CONVOLUTION || s.kind == EMBEDDING || s.kind == MAX_POOL || s.kind == AVERAGE_POOL;
  if (windows) {
    const int limit = 1 << 16;
    for (int size : {s.kernel_rows, s.kernel_columns, s.stride_rows, s.stride_columns, s.dilation_rows, s.dilation_columns})
      if (size < 1 || size > limit) return false;
    for (int size : {s.above, s.before, s.below, s.behind}) if (size < 0 || size > limit) return false;
    const int64_t rows = int64_t(s.target_rows - 1) * s.stride_rows + int64_t(s.kernel_rows - 1) * s.dilation_rows + 1;
    const int64_t columns = int64_t(s.target_columns - 1) * s.stride_columns + int64_t(s.kernel_columns - 1) * s.dilation_columns + 1;
    if (rows > int64_t(s.rows) + s.above + s.below || columns > int64_t(s.columns) + s.before + s.behind) return false;
  }
  if (s.kind == CONVOLUTION || s.kind == EMBEDDING)
    return s.groups >= 1 && s.channels % s.groups == 0 && s.outputs % s.groups == 0 &&
           (s.kind == CONVOLUTION || (s.target_rows == 1 && s.target_columns == 1 && s.groups == 1)) &&
           (!s.adds || within(s.other, s.target_rows, s.target_columns, s.outputs, arena));
  if (s.kind == COPY)
    return s.first_row >= 0 && s.first_column >= 0 && s.at_row >= 0 && s.at_column >= 0 && s.first_channel >= 0 &&
           s.block_rows >= 1 && s.block_columns >= 1 && s.stride_rows >= 1 && s.stride_columns >= 1 &&
           int64_t(s.first_row) + int64_t(s.block_rows - 1) * s.stride_rows < s.rows &&
           int64_t(s.first_column) + int64_t(s.block_columns - 1) * s.stride_columns < s.columns &&
           int64_t(s.at_row) + s.block_rows <= s.target_rows && int64_t(s.at_column) + s.block_columns <= s.target_columns &&
           s.taken_channels >= 1 && int64_t(s.first_channel) + s.taken_channels <= s.outputs;
  if (s.channels != s.outputs) return false;
  if (s.kind == MEAN) return s.target_rows == 1 && s.target_columns == 1;
  if (s.kind == MAX_POOL || s.kind == AVERAGE_POOL) return true;
  if (s.rows != s.target_rows || s.columns != s.target_columns) return false;
  if (s.kind == TABLE) return true;
  const bool gate = s.kind == PRODUCT && s.is_gate;
  return within(s.other, gate ? 1 : s.rows, gate ? 1 : s.columns, s.channels, arena);
}
