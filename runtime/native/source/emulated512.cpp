#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define WITH_EMULATED512
#include "kernels.h"

const Kernels EMULATED512 = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding};
#endif
