#include "layer.h"
#if HAS_NEON
#pragma GCC target("arch=armv8.2-a+dotprod")
#define WITH_NEON_DOTPROD
#include "kernels.h"

const Kernels NEON_DOTPROD = {LANES, NR, MR, SATURATES, dense, depthwise, whole, embedding, FLIP};
#endif
