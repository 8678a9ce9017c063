// The kernels of one instruction set; `vectors.h` says which. Included once by each file that is named after one.
#include <algorithm>

#include "layer.h"
#include "vectors.h"

namespace {

// What becomes of a layer's sums.
struct Ending {
  const int32_t* bias;
  const float *factors, *slopes;
  const uint8_t* other;
  vf lowest, ratio, other_ratio, fixed;
  vi zero_points, zero_points32, highest, highest32, sum_highest;
  bool is_source;
};

Ending ending_of(const Layer& layer, const uint8_t* arena) {
  const Step& s = layer.step;
  return {layer.packed_bias.get(), layer.packed_factors.get(), layer.packed_slopes.get(), arena + s.other,
          set_float(float(-s.zero_point)), set_float(s.ratio), set_float(s.other_ratio), set_float(s.fixed),
          set16(s.zero_point), set32(s.zero_point), set8(s.highest), set32(s.highest), set8(s.sum_highest), s.adds != 2};
}

// Levels without their zero point: one rounding, and with slopes a second one of max(r, r * slope).
template <bool SLOPES> INLINE vi level(vi sum, const Ending& e, int place) {
  const vf f = mul(to_float(sum), load_float(e.factors + place));
  if (!SLOPES) return to_int(f);
  const vf r = nearest(max(f, e.lowest));
  return to_int(max(r, mul(r, load_float(e.slopes + place))));
}

INLINE vi summed(vi mine, vi other, const Ending& e) {
  const vf a = to_float(between32(add32(mine, e.zero_points32), e.highest32)), b = to_float(other);
  return to_int(e.is_source ? fma(a, e.ratio, fma(b, e.other_ratio, e.fixed)) : fma(b, e.ratio, fma(a, e.other_ratio, e.fixed)));
}

// A tile's weights: `fours` times four inputs at `offsets`, the first `pairs` of them two by two.
struct Weights { const int8_t* w; const int32_t* offsets; size_t pairs, fours; };

// `x[m]`: where pixel m's window begins.
template <int M, bool WIDE> INLINE void add_all(vi (&sums)[M][NR], const uint8_t* const (&x)[M], const Weights& t) {
  const int8_t* w = t.w;
  size_t k = 0;
  if (SATURATES && !WIDE) for (; k < t.pairs; k += 2, w += TILE * 8) {
    const ptrdiff_t one = t.offsets[k], two = t.offsets[k + 1];
    vi a[NR], b[NR];
#pragma GCC unroll 8
    for (int n = 0; n < NR; n++) { a[n] = load(w + n * LANES * 4); b[n] = load(w + (NR + n) * LANES * 4); }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      const vi u = four(x[m] + one), v = four(x[m] + two);
#pragma GCC unroll 8
      for (int n = 0; n < NR; n++) sums[m][n] = dot_pair(sums[m][n], u, a[n], v, b[n]);
    }
  }
  for (; k < t.fours; k++, w += TILE * 4 * (WIDE ? 2 : 1)) {
    const ptrdiff_t at = t.offsets[k];
    vi a[NR], b[NR];
#pragma GCC unroll 8
    for (int n = 0; n < NR; n++) { a[n] = load(w + n * LANES * 4); if (WIDE) b[n] = load(w + (NR + n) * LANES * 4); }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      const vi v = four(x[m] + at);
#pragma GCC unroll 8
      for (int n = 0; n < NR; n++) sums[m][n] = WIDE ? wide_dot(sums[m][n], v, a[n], b[n]) : dot_four(sums[m][n], v, a[n]);
    }
  }
}

// A dense layer's input, with its edges: `pixel` bytes from one output column to the next, `next` from row to row.
struct Dense { const Layer& layer; const uint8_t* x; uint8_t* y; size_t columns, pixel, next, fours, outputs, positions, blocks; };

template <bool WIDE> INLINE Weights weights_of(const Layer& layer, size_t fours, size_t start) {
  const size_t tile = start / TILE;
  return {layer.packed_weights.get() + start * fours * 4 * (WIDE ? 2 : 1), layer.offsets.get() + tile * fours,
          size_t(layer.pairs[tile]), fours};
}

// The sums of M pixels that lie one behind the other, the first at `position`, to bytes of the target; the first `done` of
// them are another unit's, which may be another thread's.
template <int M, bool SLOPES, bool ADDS>
INLINE void finish(vi (&sums)[M][NR], const Dense& d, const Ending& e, size_t position, size_t start, int done = 0) {
#pragma GCC unroll 8
  for (int n = 0; n < NR; n++)
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) sums[m][n] = level<SLOPES>(sums[m][n], e, int(start) + n * LANES);
  if (ADDS) {
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      vi other[NR];
      unpack_tile(e.other + (position + size_t(m)) * d.outputs + start, other);
#pragma GCC unroll 8
      for (int n = 0; n < NR; n++) sums[m][n] = summed(sums[m][n], other[n], e);
    }
  }
  uint8_t* y = d.y + position * d.outputs + start;
  const size_t used = d.outputs - start;
#pragma GCC unroll 8
  for (int m = 0; m < M; m += 2) {
    const int second = m + 1 < M ? m + 1 : m;
    const Pixels p = two_pixels(sums[m], sums[second], ADDS ? zero() : e.zero_points, ADDS ? e.sum_highest : e.highest);
    if (used < TILE) {
      alignas(64) uint8_t bytes[2 * TILE];
      store_tile(bytes, p.one);
      store_tile(bytes + TILE, p.two);
      if (m >= done) memcpy(y + size_t(m) * d.outputs, bytes, used);
      if (second >= done) memcpy(y + size_t(second) * d.outputs, bytes + TILE, used);
    } else {
      if (m >= done) store_tile(y + size_t(m) * d.outputs, p.one);
      if (second != m && second >= done) store_tile(y + size_t(second) * d.outputs, p.two);
    }
  }
}

template <int M, bool WIDE, bool SLOPES, bool ADDS>
INLINE void tile(const Dense& d, const Ending& e, size_t position, size_t start, int done = 0) {
  const uint8_t* x[M];
  size_t row = position / d.columns, column = position % d.columns;
#pragma GCC unroll 8
  for (int m = 0; m < M; m++) {
    x[m] = d.x + row * d.next + column * d.pixel;
    if (++column == d.columns) { column = 0; row++; }
  }
  vi sums[M][NR];
#pragma GCC unroll 8
  for (int n = 0; n < NR; n++) {
    const vi b = load(e.bias + start + n * LANES);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) sums[m][n] = b;
  }
  add_all<M, WIDE>(sums, x, weights_of<WIDE>(d.layer, d.fours, start));
  finish<M, SLOPES, ADDS>(sums, d, e, position, start, done);
}

// Units from the first tile of outputs to the last, each of all its pixels.
template <bool WIDE, bool SLOPES, bool ADDS> void dense_units(const Dense& d, const Ending& e, size_t first, size_t end) {
  for (size_t start = first / d.blocks * TILE, block = first % d.blocks; first < end; start += TILE, block = 0)
    for (; block < d.blocks && first < end; block++, first++) {
      if (d.positions < MR) { tile<1, WIDE, SLOPES, ADDS>(d, e, block, start); continue; }
      const size_t position = std::min(block * MR, d.positions - MR);
      tile<MR, WIDE, SLOPES, ADDS>(d, e, position, start, int(block * MR - position));
    }
}

// The source, or the copy of it that was made before.
const uint8_t* source_of(const Layer& layer, const Call& call) {
  return layer.before.run ? call.shared + layer.copy : call.arena + layer.step.source;
}

Dense dense_of(const Layer& layer, const Call& call, size_t fours) {
  const Step& s = layer.step;
  const size_t columns = size_t(s.target_columns), positions = size_t(s.target_rows) * columns;
  return {layer, source_of(layer, call), call.arena + s.target,
          is_pointwise(s) ? positions : columns, size_t(s.stride_columns) * size_t(s.channels),
          width_of(s) * size_t(s.stride_rows), fours, size_t(s.outputs), positions, blocks_of(s, MR)};
}

void dense(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  const Step& s = layer.step;
  const Dense d = dense_of(layer, call, fours_of(s));
  const Ending e = ending_of(layer, call.arena);
  const int form = (layer.wide ? 4 : 0) + (s.slopes ? 2 : 0) + (s.adds ? 1 : 0);
  switch (form) {
    case 0: return dense_units<false, false, false>(d, e, first, end);
    case 1: return dense_units<false, false, true>(d, e, first, end);
    case 2: return dense_units<false, true, false>(d, e, first, end);
    case 3: return dense_units<false, true, true>(d, e, first, end);
    case 4: return dense_units<SATURATES, false, false>(d, e, first, end);
    case 5: return dense_units<SATURATES, false, true>(d, e, first, end);
    case 6: return dense_units<SATURATES, true, false>(d, e, first, end);
    default: return dense_units<SATURATES, true, true>(d, e, first, end);
  }
}

void embedding(const Layer& layer, const Call& call, uint8_t*, size_t first, size_t end) {
  const size_t fours = fours_of(layer.step);
  int32_t* ordered = reinterpret_cast<int32_t*>(call.shared);
  for (size_t start = first * TILE; start < end * TILE; start += TILE) {
    vi sums[1][NR];
    for (int n = 0; n < NR; n++) sums[0][n] = load(layer.packed_bias.get() + start + size_t(n) * LANES);
    const uint8_t* const x[1] = {source_of(layer, call)};
    if (layer.wide) add_all<1, SATURATES>(sums, x, weights_of<SATURATES>(layer, fours, start));
    else add_all<1, false>(sums, x, weights_of<false>(layer, fours, start));
    alignas(64) int32_t found[TILE];
    for (int n = 0; n < NR; n++) store(found + n * LANES, sums[0][n]);
    for (int n = 0; n < NR; n++) for (int i = 0; i < LANES; i++)
      ordered[start + size_t(i / 4 * 4 * NR + n * 4 + i % 4)] = found[n * LANES + i];
  }
}

INLINE void store_group(uint8_t* y, vi v, size_t left) {
  if (left >= GROUP) { store(y, v); return; }
  alignas(64) uint8_t bytes[GROUP];
  store(bytes, v);
  memcpy(y, bytes, left);
}

// Four positions' bytes of a group of channels -> four vectors of fours.
INLINE void interleave(const uint8_t* a, const uint8_t* b, const uint8_t* c, const uint8_t* d, vi* into) {
  const vi one = flipped(load(a)), two = flipped(load(b)), three = flipped(load(c)), fourth = flipped(load(d));
  const vi l0 = low8(one, two), h0 = high8(one, two), l1 = low8(three, fourth), h1 = high8(three, fourth);
  into[0] = low16(l0, l1); into[1] = high16(l0, l1); into[2] = low16(h0, h1); into[3] = high16(h0, h1);
}

INLINE vi group_bytes(const vi* q, const Ending& e) {
  return min8(packus16(adds16(packs32(q[0], q[1]), e.zero_points), adds16(packs32(q[2], q[3]), e.zero_points)), e.highest);
}

// A row of pixels -> for every second column (stride 2: output column) its neighbours from one before to two behind.
void to_quads(const Step& s, size_t quads, const uint8_t* row, const uint8_t* edge, uint8_t* q) {
  for (size_t j = 0; j < quads; j++, q += GROUP * 4) {
    const uint8_t* p[4];
    for (size_t i = 0; i < 4; i++) {
      const size_t c = 2 * j + i;  // counted from the edge in front
      p[i] = c >= 1 && c <= size_t(s.columns) ? row + (c - 1) * size_t(s.channels) : edge;
    }
    vi v[4];
    interleave(p[0], p[1], p[2], p[3], v);
    for (int n = 0; n < 4; n++) store(q + n * LANES * 4, v[n]);
  }
}

template <bool WIDE> INLINE vi dot_at(vi sum, const uint8_t* x, const int8_t* w) {
  return WIDE ? wide_dot(sum, load(x), load(w), load(w + LANES * 4)) : dot(sum, load(x), load(w));
}

// Of the group of channels from `g` on: one row of the target.
template <bool WIDE, bool SLOPES, int STRIDE>
void depthwise_row(const Layer& layer, const Ending& e, size_t g, size_t quads, const uint8_t* const* rows, uint8_t* y) {
  const size_t channels = size_t(layer.step.channels), columns = size_t(layer.step.target_columns);
  constexpr size_t ROW = LANES * 4 * (WIDE ? 2 : 1);
  const int8_t* weights = layer.packed_weights.get() + g * 24 * (WIDE ? 2 : 1);
  for (size_t j = 0; j < quads; j++) {
#pragma GCC unroll 2
    for (size_t shift = 0; shift < 3 - STRIDE; shift++) {
      const size_t c = STRIDE == 2 ? j : 2 * j + shift;
      if (c >= columns) break;
      vi q[4];
#pragma GCC unroll 4
      for (size_t v = 0; v < 4; v++) {
        const int8_t* w = weights + (v * 2 + shift) * 3 * ROW;
        vi sum = load(e.bias + g + v * LANES);
        for (size_t r = 0; r < 3; r++) sum = dot_at<WIDE>(sum, rows[r] + j * GROUP * 4 + v * LANES * 4, w + r * ROW);
        q[v] = level<SLOPES>(sum, e, int(g + v * LANES));
      }
      store_group(y + c * channels, group_bytes(q, e), channels - g);
    }
  }
}

// Rows of the target, from the first group of channels to the last.
template <bool WIDE, bool SLOPES, int STRIDE>
void depthwise_rows(const Layer& layer, const Call& call, uint8_t* own, size_t first, size_t end) {
  const Step& s = layer.step;
  const size_t channels = size_t(s.channels), target_rows = size_t(s.target_rows);
  const size_t quads = size_t(STRIDE == 2 ? s.target_columns : (s.columns + 1) / 2), line = quads * GROUP * 4;
  uint8_t *edge = own, *ring = own + GROUP;  // four rows, and one of edges
  memset(edge, s.source_zero_point, GROUP);
  memset(ring + 4 * line, s.source_zero_point ^ FLIP, line);
  const Ending e = ending_of(layer, call.arena);
  for (size_t g = first / target_rows * GROUP, row = first % target_rows; first < end; g += GROUP, row = 0) {
    const uint8_t* x = call.arena + s.source + g;
    uint8_t* y = call.arena + s.target + g;
    int done = row ? int(row) * STRIDE - 1 : 0;
    for (; row < target_rows && first < end; row++, first++) {
      const int middle = int(row) * STRIDE;
      for (; done < s.rows && done <= middle + 1; done++)
        to_quads(s, quads, x + size_t(done) * size_t(s.columns) * channels, edge, ring + size_t(done % 4) * line);
      const uint8_t* rows[3];
      for (int i = 0; i < 3; i++) {
        const int r = middle - 1 + i;
        rows[i] = ring + (r < 0 || r >= s.rows ? 4 : size_t(r % 4)) * line;
      }
      depthwise_row<WIDE, SLOPES, STRIDE>(layer, e, g, quads, rows, y + row * size_t(s.target_columns) * channels);
    }
  }
}

void depthwise(const Layer& layer, const Call& call, uint8_t* own, size_t first, size_t end) {
  const int form = (layer.wide ? 4 : 0) + (layer.step.slopes ? 2 : 0) + (layer.step.stride_rows - 1);
  switch (form) {
    case 0: return depthwise_rows<false, false, 1>(layer, call, own, first, end);
    case 1: return depthwise_rows<false, false, 2>(layer, call, own, first, end);
    case 2: return depthwise_rows<false, true, 1>(layer, call, own, first, end);
    case 3: return depthwise_rows<false, true, 2>(layer, call, own, first, end);
    case 4: return depthwise_rows<SATURATES, false, 1>(layer, call, own, first, end);
    case 5: return depthwise_rows<SATURATES, false, 2>(layer, call, own, first, end);
    case 6: return depthwise_rows<SATURATES, true, 1>(layer, call, own, first, end);
    default: return depthwise_rows<SATURATES, true, 2>(layer, call, own, first, end);
  }
}

template <bool WIDE> void whole_map(const Layer& layer, uint8_t* arena, const uint8_t* edge, size_t first, size_t end) {
  const Step& s = layer.step;
  const size_t channels = size_t(s.channels), positions = size_t(s.rows) * size_t(s.columns);
  const Ending e = ending_of(layer, arena);
  const int8_t* w = layer.packed_weights.get() + first * rounded_up(positions, 4) * GROUP * (WIDE ? 2 : 1);
  for (size_t g = first * GROUP; g < end * GROUP; g += GROUP) {
    vi sums[4];
    for (size_t v = 0; v < 4; v++) sums[v] = load(e.bias + g + v * LANES);
    for (size_t p = 0; p < positions; p += 4) {
      const uint8_t* x[4];
      for (size_t i = 0; i < 4; i++) x[i] = p + i < positions ? arena + s.source + (p + i) * channels + g : edge;
      vi q[4];
      interleave(x[0], x[1], x[2], x[3], q);
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++, w += LANES * 4 * (WIDE ? 2 : 1))
        sums[v] = WIDE ? wide_dot(sums[v], q[v], load(w), load(w + LANES * 4)) : dot(sums[v], q[v], load(w));
    }
    for (size_t v = 0; v < 4; v++) sums[v] = level<false>(sums[v], e, int(g + v * LANES));
    store_group(arena + s.target + g, group_bytes(sums, e), channels - g);
  }
}

void whole(const Layer& layer, const Call& call, uint8_t* own, size_t first, size_t end) {
  memset(own, 0, GROUP);
  if (layer.wide) whole_map<SATURATES>(layer, call.arena, own, first, end);
  else whole_map<false>(layer, call.arena, own, first, end);
}

}  // namespace
