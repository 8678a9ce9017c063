#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define WITH_AVX2
#include "kernels.h"

const Kernels AVX2 = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding};
#endif
