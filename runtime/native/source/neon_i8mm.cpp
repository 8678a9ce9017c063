#include "layer.h"
#if HAS_NEON
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")
#define WITH_NEON_I8MM
#include "kernels.h"

const Kernels NEON_I8MM = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding, FLIP};
#endif
