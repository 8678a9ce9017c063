#if defined(__x86_64__)
#pragma GCC target("avx2,fma,avxvnni")
#define WITH_AVX_VNNI
#include "kernels.h"

const Kernels AVX_VNNI = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding};
#endif
