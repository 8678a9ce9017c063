#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vnni")
#define WITH_AVX512_VNNI
#include "kernels.h"

const Kernels AVX512_VNNI = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding};
#endif
