// The dense kernel on tiles of AMX. Included behind `kernels.h`, whose vectors of 512 bits finish the sums.
#include "amx.h"

static_assert(LANES * 4 == TILE_BYTES && NR == 4, "a tile of sums has a row of 16, and a unit four of them");

namespace {

constexpr size_t BLOCK = 2 * TILE_ROWS;  // pixels of a unit

// Sums of one or two tiles of pixels for the unit's outputs, [pixel][TILE]. `one`, `two`: where the first window of each begins.
template <bool TWO>
INLINE void multiply(Tiles& tiles, const uint8_t* one, const uint8_t* two, size_t pixel, const Weights& t,
                     int32_t* sums) {
  (void)tiles;  // named by what emulates them only
  for (size_t half = 0; half < 2; half++, sums += 2 * LANES) {
    const int8_t* w = t.w + half * 2 * TILE_BYTES;
    TILE_ZERO(0);
    TILE_ZERO(1);
    if (TWO) { TILE_ZERO(2); TILE_ZERO(3); }
    for (size_t k = 0; k < t.fours; k += TILE_ROWS, w += TILE_ROWS * TILE * 4) {
      TILE_LOAD(4, w, TILE * 4);
      TILE_LOAD(6, one + t.offsets[k], pixel);
      TILE_DOT(0, 6, 4);
      TILE_LOAD(5, w + TILE_BYTES, TILE * 4);
      TILE_DOT(1, 6, 5);
      if (TWO) { TILE_LOAD(7, two + t.offsets[k], pixel); TILE_DOT(2, 7, 4); TILE_DOT(3, 7, 5); }
    }
    TILE_STORE(0, sums, TILE * 4);
    TILE_STORE(1, sums + LANES, TILE * 4);
    if (TWO) { TILE_STORE(2, sums + TILE_ROWS * TILE, TILE * 4); TILE_STORE(3, sums + TILE_ROWS * TILE + LANES, TILE * 4); }
  }
}

template <int M, bool SLOPES, bool ADDS>
INLINE void finish_from(const int32_t* sums, const Dense& d, const Ending& e, size_t position, size_t start) {
  vi q[M][NR];
#pragma GCC unroll 8
  for (int m = 0; m < M; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NR; n++) q[m][n] = add32(load(sums + m * TILE + n * LANES), load(e.bias + start + n * LANES));
  finish<M, SLOPES, ADDS>(q, d, e, position, start);
}

// What of `count` pixels from `at` on, in lines, is of the target.
template <bool SLOPES, bool ADDS>
INLINE void finish_lines(const int32_t* sums, const Dense& d, const Ending& e, const Lines& lines, size_t at, size_t count, size_t start) {
  size_t row = at / lines.line, column = at % lines.line;
  for (const size_t end = std::min(at + count, lines.count()); at < end; row++, column = 0) {
    const size_t next = std::min(end, (row + 1) * lines.line);
    const size_t used = column < lines.columns ? std::min(next - at, lines.columns - column) : 0;
    const size_t position = row * lines.columns + column;
    size_t i = 0;
    for (; i + 4 <= used; i += 4) finish_from<4, SLOPES, ADDS>(sums + i * TILE, d, e, position + i, start);
    for (; i < used; i++) finish_from<1, SLOPES, ADDS>(sums + i * TILE, d, e, position + i, start);
    sums += (next - at) * TILE;
    at = next;
  }
}

// Each unit's sums are finished while the tiles are at the next one's: `sums` has room for two.
template <bool SLOPES, bool ADDS>
void tiled_units(const Dense& d, const Ending& e, const Lines& lines, int32_t* sums, size_t first, size_t end) {
  Tiles tiles;
  for (size_t unit = first; unit <= end; unit++) {
    int32_t *mine = sums + unit % 2 * BLOCK * TILE, *before = sums + (unit + 1) % 2 * BLOCK * TILE;
    if (unit < end) {
      const size_t start = unit / d.blocks * TILE, at = unit % d.blocks * BLOCK, second = at + TILE_ROWS;
      const Weights w = weights_of<false>(d.layer, d.fours, start);
      const uint8_t *x = d.x + lines.place(at, d.next, d.pixel), *x2 = d.x + lines.place(second, d.next, d.pixel);
      if (second < lines.count()) multiply<true>(tiles, x, x2, d.pixel, w, mine);
      else multiply<false>(tiles, x, x2, d.pixel, w, mine);
    }
    if (unit > first)
      finish_lines<SLOPES, ADDS>(before, d, e, lines, (unit - 1) % d.blocks * BLOCK, BLOCK, (unit - 1) / d.blocks * TILE);
  }
}

void tiled(const Layer& layer, const Call& call, uint8_t* own, size_t first, size_t end) {
  const Step& s = layer.step;
  const Lines lines = lines_of(s, TILE_ROWS);
  Dense d = dense_of(layer, call, fours_of(s, TILE_ROWS));
  d.blocks = lines.blocks(BLOCK);
  const Ending e = ending_of(layer, call.arena);
  int32_t* sums = reinterpret_cast<int32_t*>(own);
  switch ((s.slopes ? 2 : 0) + (s.adds ? 1 : 0)) {
    case 0: return tiled_units<false, false>(d, e, lines, sums, first, end);
    case 1: return tiled_units<false, true>(d, e, lines, sums, first, end);
    case 2: return tiled_units<true, false>(d, e, lines, sums, first, end);
    default: return tiled_units<true, true>(d, e, lines, sums, first, end);
  }
}

const Tiling TILING = {tiled, TILE_ROWS, TILE_ROWS, BLOCK, 2 * BLOCK * TILE * sizeof(int32_t)};

}  // namespace
