// Which instruction sets run on this CPU.
#include "sets.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if HAS_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif HAS_NEON
#include <sys/auxv.h>
#endif

namespace {

bool always() { return true; }
#if defined(__x86_64__)
// GCC 12's __builtin_cpu_supports knows no AVX-VNNI; the rest is asked as it asks (the system saves the registers, too).
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
}
#if HAS_AMX
// Its registers are asked for once for the process, all of its threads (Linux 5.16: Documentation/arch/x86/xstate.rst).
bool has_amx_int8() {
  constexpr long REQUEST = 0x1023, TILES = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a, b, c, d;
  const bool of_cpu = has_avx512_vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 25 & 1);
  static const bool given = of_cpu && !syscall(SYS_arch_prctl, REQUEST, TILES);
  return given;
}
#endif
#elif HAS_NEON
// HWCAP_ASIMDDP and HWCAP2_I8MM of Linux's asm/hwcap.h, which older systems' headers lack.
bool has_dotprod() { return getauxval(AT_HWCAP) >> 20 & 1; }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) >> 13 & 1); }
#endif

}  // namespace

const std::vector<Set> SETS = {
#if defined(__x86_64__)
#if HAS_AMX
  {"amx-int8", &AMX_INT8, has_amx_int8},
#endif
  {"avx512-vnni", &AVX512_VNNI, has_avx512_vnni},
  {"avx-vnni", &AVX_VNNI, has_avx_vnni},
  {"avx2", &AVX2, has_avx2},
  {"emulated512", &EMULATED512, has_avx2},  // for tests, as the next; never taken by themselves
  {"emulated-amx", &EMULATED_AMX, has_avx2},
#elif HAS_NEON
  {"neon-i8mm", &NEON_I8MM, has_i8mm},
  {"neon-dotprod", &NEON_DOTPROD, has_dotprod},
#endif
  {"plain", nullptr, always},
};
