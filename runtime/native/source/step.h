// A step as runtime/native/library.py describes it: plain numbers and pointers, the same in Python and here.
#pragma once
#include <cstdint>

enum Kind : int32_t {
  CONVOLUTION, EMBEDDING, SUM, PRODUCT, MAXIMUM, TABLE, MEAN, MAX_POOL, AVERAGE_POOL, FILL, COPY, KINDS
};

struct Step {
  int32_t kind;
  int32_t rows, columns, channels;             // of the source
  int32_t target_rows, target_columns, outputs;  // of the target
  int32_t kernel_rows, kernel_columns, stride_rows, stride_columns, dilation_rows, dilation_columns;
  int32_t above, before, below, behind, groups;
  int32_t source_zero_point, other_zero_point, zero_point;
  int32_t highest, sum_highest;                // bytes end here, before and behind a convolution's sum
  int32_t adds;                                // a convolution's sum: 0 none, 1 it is the sum's source, 2 its other
  int32_t is_gate, counts_padding, filling;
  int32_t first_row, first_column, block_rows, block_columns, at_row, at_column, first_channel, taken_channels;
  float ratio, other_ratio, fixed, factor, source_scale, scale;
  int64_t source, other, target;               // bytes from the start of the arena
  const int8_t* weights;                       // (outputs, rows, columns, inputs of a group)
  const int32_t* bias;
  const float* factors;
  const float* slopes;                         // or null
  const uint8_t* table;
  const int32_t* list;                         // channels of a COPY
};
