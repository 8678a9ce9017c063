// Vectors of one instruction set, chosen by a macro: WITH_AVX2, WITH_AVX_VNNI, WITH_AVX512_VNNI or WITH_EMULATED512; those
// of ARM are in `vectors_neon.h`.
// A float product and its sum are two roundings unless `fma` is written.
#pragma once
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))

#if defined(WITH_NEON_DOTPROD) || defined(WITH_NEON_I8MM)
#include "vectors_neon.h"
#else
#include <immintrin.h>

#if defined(WITH_AVX512_VNNI)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own headers
#pragma GCC diagnostic ignored "-Wuninitialized"
constexpr int LANES = 16, NR = 4, MR = 6;
constexpr bool SATURATES = false;
typedef __m512i vi;
typedef __m512 vf;
INLINE vi load(const void* p) { return _mm512_loadu_si512(p); }
INLINE void store(void* p, vi v) { _mm512_storeu_si512(p, v); }
INLINE vf load_float(const float* p) { return _mm512_loadu_ps(p); }
INLINE vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf set_float(float x) { return _mm512_set1_ps(x); }
INLINE vi four(const uint8_t* p) { int32_t x; memcpy(&x, p, 4); return _mm512_set1_epi32(x); }
// GCC 12 copies every sum around the intrinsic.
INLINE vi dot(vi sum, vi u, vi s) { asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "vm"(s)); return sum; }
INLINE vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE vi to_int(vf a) { return _mm512_cvtps_epi32(a); }
INLINE vf mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf nearest(vf a) { return _mm512_roundscale_ps(a, 8); }
INLINE vi packs32(vi a, vi b) { return _mm512_packs_epi32(a, b); }
INLINE vi packus16(vi a, vi b) { return _mm512_packus_epi16(a, b); }
INLINE vi adds16(vi a, vi b) { return _mm512_adds_epi16(a, b); }
INLINE vi min8(vi a, vi b) { return _mm512_min_epu8(a, b); }
INLINE vi set16(int x) { return _mm512_set1_epi16((short)x); }
INLINE vi set8(int x) { return _mm512_set1_epi8((char)x); }
INLINE vi add32(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi set32(int x) { return _mm512_set1_epi32(x); }
INLINE vi low8(vi a, vi b) { return _mm512_unpacklo_epi8(a, b); }
INLINE vi high8(vi a, vi b) { return _mm512_unpackhi_epi8(a, b); }
INLINE vi low16(vi a, vi b) { return _mm512_unpacklo_epi16(a, b); }
INLINE vi high16(vi a, vi b) { return _mm512_unpackhi_epi16(a, b); }
INLINE vi between32(vi a, vi most) { return _mm512_max_epi32(_mm512_min_epi32(a, most), _mm512_setzero_si512()); }
INLINE vi zero() { return _mm512_setzero_si512(); }

#elif defined(WITH_EMULATED512)
// 512-bit vectors as two of 256 bits, lane for lane, so that their layout is tested on any x86 CPU; products are exact.
constexpr int LANES = 16, NR = 4, MR = 4;
constexpr bool SATURATES = false;
struct vi { __m256i l, h; };
struct vf { __m256 l, h; };
#define ONE(T, name, A, f) INLINE T name(A a) { return {f(a.l), f(a.h)}; }
#define TWO(T, name, A, f) INLINE T name(A a, A b) { return {f(a.l, b.l), f(a.h, b.h)}; }
INLINE vi load(const void* p) { return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)}; }
INLINE void store(void* p, vi v) { _mm256_storeu_si256((__m256i*)p, v.l); _mm256_storeu_si256((__m256i*)p + 1, v.h); }
INLINE vf load_float(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE vf fma(vf a, vf b, vf c) { return {_mm256_fmadd_ps(a.l, b.l, c.l), _mm256_fmadd_ps(a.h, b.h, c.h)}; }
INLINE vf set_float(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vi four(const uint8_t* p) { int32_t x; memcpy(&x, p, 4); return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE __m256i half_dot(__m256i sum, __m256i u, __m256i s) {  // by the even and the odd bytes, in 16 bits
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
INLINE vi dot(vi sum, vi u, vi s) { return {half_dot(sum.l, u.l, s.l), half_dot(sum.h, u.h, s.h)}; }
ONE(vf, to_float, vi, _mm256_cvtepi32_ps) ONE(vi, to_int, vf, _mm256_cvtps_epi32)
TWO(vf, mul, vf, _mm256_mul_ps) TWO(vf, max, vf, _mm256_max_ps)
INLINE vf nearest(vf a) { return {_mm256_round_ps(a.l, 8), _mm256_round_ps(a.h, 8)}; }
TWO(vi, packs32, vi, _mm256_packs_epi32) TWO(vi, packus16, vi, _mm256_packus_epi16) TWO(vi, adds16, vi, _mm256_adds_epi16)
TWO(vi, add32, vi, _mm256_add_epi32) TWO(vi, min8, vi, _mm256_min_epu8)
TWO(vi, low8, vi, _mm256_unpacklo_epi8) TWO(vi, high8, vi, _mm256_unpackhi_epi8)
TWO(vi, low16, vi, _mm256_unpacklo_epi16) TWO(vi, high16, vi, _mm256_unpackhi_epi16)
INLINE vi set16(int x) { return {_mm256_set1_epi16((short)x), _mm256_set1_epi16((short)x)}; }
INLINE vi set8(int x) { return {_mm256_set1_epi8((char)x), _mm256_set1_epi8((char)x)}; }
INLINE vi set32(int x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE vi zero() { return set32(0); }
INLINE __m256i half_between(__m256i a, __m256i most) { return _mm256_max_epi32(_mm256_min_epi32(a, most), _mm256_setzero_si256()); }
TWO(vi, between32, vi, half_between)

#else  // WITH_AVX2, WITH_AVX_VNNI
constexpr int LANES = 8, NR = 2;
typedef __m256i vi;
typedef __m256 vf;
INLINE vi load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
INLINE void store(void* p, vi v) { _mm256_storeu_si256((__m256i*)p, v); }
INLINE vf load_float(const float* p) { return _mm256_loadu_ps(p); }
INLINE vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf set_float(float x) { return _mm256_set1_ps(x); }
INLINE vi four(const uint8_t* p) { int32_t x; memcpy(&x, p, 4); return _mm256_set1_epi32(x); }
#if defined(WITH_AVX_VNNI)
constexpr int MR = 6;
constexpr bool SATURATES = false;
INLINE vi dot(vi sum, vi u, vi s) { asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(u), "xm"(s)); return sum; }
#else
constexpr int MR = 4;
constexpr bool SATURATES = true;
INLINE vi products(vi u, vi s, vi weight) { return _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), weight); }
INLINE vi dot(vi sum, vi u, vi s) { return _mm256_add_epi32(sum, products(u, s, _mm256_set1_epi16(1))); }
// two products in 16 bits, which fit (`pair_up` in prepare.cpp)
INLINE vi dot_pair(vi sum, vi u, vi s, vi u2, vi s2) {
  const vi both = _mm256_add_epi16(_mm256_maddubs_epi16(u, s), _mm256_maddubs_epi16(u2, s2));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(both, _mm256_set1_epi16(1)));
}
// halves of weights and what is left of them
INLINE vi wide_dot(vi sum, vi u, vi halves, vi rest) {
  return _mm256_add_epi32(sum, _mm256_add_epi32(products(u, halves, _mm256_set1_epi16(2)), products(u, rest, _mm256_set1_epi16(1))));
}
#endif
INLINE vf to_float(vi a) { return _mm256_cvtepi32_ps(a); }
INLINE vi to_int(vf a) { return _mm256_cvtps_epi32(a); }
INLINE vf mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf nearest(vf a) { return _mm256_round_ps(a, 8); }
INLINE vi packs32(vi a, vi b) { return _mm256_packs_epi32(a, b); }
INLINE vi packus16(vi a, vi b) { return _mm256_packus_epi16(a, b); }
INLINE vi adds16(vi a, vi b) { return _mm256_adds_epi16(a, b); }
INLINE vi min8(vi a, vi b) { return _mm256_min_epu8(a, b); }
INLINE vi set16(int x) { return _mm256_set1_epi16((short)x); }
INLINE vi set8(int x) { return _mm256_set1_epi8((char)x); }
INLINE vi add32(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi set32(int x) { return _mm256_set1_epi32(x); }
INLINE vi low8(vi a, vi b) { return _mm256_unpacklo_epi8(a, b); }
INLINE vi high8(vi a, vi b) { return _mm256_unpackhi_epi8(a, b); }
INLINE vi low16(vi a, vi b) { return _mm256_unpacklo_epi16(a, b); }
INLINE vi high16(vi a, vi b) { return _mm256_unpackhi_epi16(a, b); }
INLINE vi between32(vi a, vi most) { return _mm256_max_epi32(_mm256_min_epi32(a, most), _mm256_setzero_si256()); }
INLINE vi zero() { return _mm256_setzero_si256(); }
#endif
constexpr uint8_t FLIP = 0;  // not 0 where bytes of sources are `flipped` to signed ones
INLINE vi flipped(vi a) { return a; }
INLINE vi dot_four(vi sum, vi u, vi s) { return dot(sum, u, s); }  // of four bytes for all lanes
#endif
#if !defined(WITH_AVX2)
INLINE vi dot_pair(vi sum, vi u, vi s, vi u2, vi s2) { return dot(dot(sum, u, s), u2, s2); }  // not used
INLINE vi wide_dot(vi sum, vi u, vi halves, vi rest) { return dot(dot(dot(sum, u, halves), u, halves), u, rest); }  // not used
#endif

constexpr int TILE = NR * LANES;    // outputs that a dense kernel computes at once
constexpr int GROUP = 4 * LANES;    // channels whose four vectors of sums are one vector of bytes

// `sums[n]`: 32-bit levels of a tile for pixels one and two -> bytes; the second may be the first.
#if !defined(WITH_AVX2) && !defined(WITH_AVX_VNNI)
struct Pixels { vi one, two; };
INLINE vi bytes_of(const vi* q, vi zero_points) {
  return packus16(adds16(packs32(q[0], q[1]), zero_points), adds16(packs32(q[2], q[3]), zero_points));
}
INLINE Pixels two_pixels(const vi* one, const vi* two, vi zero_points, vi most) {
  return {min8(bytes_of(one, zero_points), most), min8(bytes_of(two, zero_points), most)};
}
INLINE void store_tile(uint8_t* y, vi v) { store(y, v); }
INLINE void unpack_tile(const uint8_t* x, vi* r) {
  vi b = load(x), l = low8(b, zero()), h = high8(b, zero());
  r[0] = low16(l, zero()); r[1] = high16(l, zero()); r[2] = low16(h, zero()); r[3] = high16(h, zero());
}
#else
struct Pixels { __m128i one, two; };
INLINE Pixels two_pixels(const vi* one, const vi* two, vi zero_points, vi most) {
  vi both = packus16(adds16(packs32(one[0], one[1]), zero_points), adds16(packs32(two[0], two[1]), zero_points));
  both = _mm256_permute4x64_epi64(min8(both, most), 0xD8);
  return {_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)};
}
INLINE void store_tile(uint8_t* y, __m128i v) { _mm_storeu_si128((__m128i*)y, v); }
INLINE void unpack_tile(const uint8_t* x, vi* r) {
  vi b = _mm256_permute4x64_epi64(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)x)), 0x10);
  vi l = low8(b, zero());
  r[0] = low16(l, zero()); r[1] = high16(l, zero());
}
#endif
