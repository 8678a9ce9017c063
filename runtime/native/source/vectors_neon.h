// 128-bit vectors of ARM, chosen by a macro: WITH_NEON_DOTPROD or WITH_NEON_I8MM. Included by `vectors.h`.
#pragma once
#include <arm_neon.h>

constexpr int LANES = 4, NR = 4, MR = 6;
constexpr bool SATURATES = false;
typedef int32x4_t vi;
typedef float32x4_t vf;

INLINE uint8x16_t bytes(vi a) { return vreinterpretq_u8_s32(a); }
INLINE uint16x8_t halves(vi a) { return vreinterpretq_u16_s32(a); }
INLINE int16x8_t signed_halves(vi a) { return vreinterpretq_s16_s32(a); }
INLINE vi vector(uint8x16_t a) { return vreinterpretq_s32_u8(a); }
INLINE vi vector(uint16x8_t a) { return vreinterpretq_s32_u16(a); }
INLINE vi vector(int16x8_t a) { return vreinterpretq_s32_s16(a); }

INLINE vi load(const void* p) { return vector(vld1q_u8(static_cast<const uint8_t*>(p))); }
INLINE void store(void* p, vi v) { vst1q_u8(static_cast<uint8_t*>(p), bytes(v)); }
INLINE vf load_float(const float* p) { return vld1q_f32(p); }
INLINE vf fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf set_float(float x) { return vdupq_n_f32(x); }
// Once, for `dot_four`; GCC 12 copies what its intrinsics load.
typedef int32_t any_four __attribute__((may_alias, aligned(1)));
INLINE vi four(const uint8_t* p) { vi a; asm("ldr %s0, %1" : "=w"(a) : "m"(*reinterpret_cast<const any_four*>(p))); return a; }
INLINE vi set32(int x) { return vdupq_n_s32(x); }
INLINE vi set16(int x) { return vector(vdupq_n_s16(int16_t(x))); }
INLINE vi set8(int x) { return vector(vdupq_n_u8(uint8_t(x))); }
INLINE vi zero() { return set32(0); }

#if defined(WITH_NEON_I8MM)
constexpr uint8_t FLIP = 0;
INLINE vi dot(vi sum, vi u, vi s) { return vusdotq_s32(sum, bytes(u), vreinterpretq_s8_s32(s)); }
INLINE vi dot_four(vi sum, vi u, vi s) { return vsudotq_laneq_s32(sum, vreinterpretq_s8_s32(s), bytes(u), 0); }
#else
constexpr uint8_t FLIP = 128;  // products are of signed bytes: u - 128, whose 128 * sum(s) the bias adds
INLINE vi dot(vi sum, vi u, vi s) { return vdotq_s32(sum, vreinterpretq_s8_s32(u), vreinterpretq_s8_s32(s)); }
INLINE vi dot_four(vi sum, vi u, vi s) { return vdotq_laneq_s32(sum, vreinterpretq_s8_s32(s), vreinterpretq_s8_s32(u), 0); }
#endif
INLINE vi flipped(vi a) { return FLIP ? vector(veorq_u8(bytes(a), vdupq_n_u8(FLIP))) : a; }

INLINE vf to_float(vi a) { return vcvtq_f32_s32(a); }
INLINE vi to_int(vf a) { return vcvtnq_s32_f32(a); }  // half to even
INLINE vf mul(vf a, vf b) { return vmulq_f32(a, b); }
INLINE vf max(vf a, vf b) { return vmaxq_f32(a, b); }
INLINE vf nearest(vf a) { return vrndnq_f32(a); }
INLINE vi packs32(vi a, vi b) { return vector(vqmovn_high_s32(vqmovn_s32(a), b)); }
INLINE vi packus16(vi a, vi b) { return vector(vqmovun_high_s16(vqmovun_s16(signed_halves(a)), signed_halves(b))); }
INLINE vi adds16(vi a, vi b) { return vector(vqaddq_s16(signed_halves(a), signed_halves(b))); }
INLINE vi min8(vi a, vi b) { return vector(vminq_u8(bytes(a), bytes(b))); }
INLINE vi add32(vi a, vi b) { return vaddq_s32(a, b); }
INLINE vi between32(vi a, vi most) { return vmaxq_s32(vminq_s32(a, most), zero()); }
INLINE vi low8(vi a, vi b) { return vector(vzip1q_u8(bytes(a), bytes(b))); }
INLINE vi high8(vi a, vi b) { return vector(vzip2q_u8(bytes(a), bytes(b))); }
INLINE vi low16(vi a, vi b) { return vector(vzip1q_u16(halves(a), halves(b))); }
INLINE vi high16(vi a, vi b) { return vector(vzip2q_u16(halves(a), halves(b))); }
