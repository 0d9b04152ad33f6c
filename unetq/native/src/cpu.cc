#include "cpu.h"

#include <sched.h>
#ifdef UNETQ_X86
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

namespace unetq {

namespace {

constexpr Isa kAll[] = {Isa::kScalar,    Isa::kAvx2,  Isa::kAvxVnni, Isa::kAvx512Vnni, Isa::kAvx512Icelake,
                        Isa::kAvx512Amx, Isa::kArmv7, Isa::kNeon,    Isa::kDotprod,    Isa::kI8mm};

#if defined(UNETQ_ARM64) || defined(UNETQ_ARM32)
// Bits of the words that Linux hands to each process (arch/arm64 and arch/arm, uapi/asm/hwcap.h).
bool hardware(unsigned long word, unsigned bit) {
#ifdef __linux__
  return (getauxval(word) >> bit & 1) != 0;
#else
  return false;
#endif
}
#endif

#ifdef UNETQ_X86
bool has_avxvnni() {
#ifdef UNETQ_AVXVNNI_BY_EVEX  // kernels/dot_avxvnni.h
  return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
  unsigned a = 0, b = 0, c = 0, d = 0;  // not a name that every compiler's __builtin_cpu_supports knows
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
#endif
}

// Linux gives the tiles' registers, 8 KiB of state, only to a process that asks for them.
bool has_amx() {
#ifdef __linux__
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 3) != 3) return false;  // AMX-TILE and AMX-INT8
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM (arch/x86/include/uapi/asm/prctl.h)
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}
#endif

bool has(Isa isa) {
  if (isa == Isa::kScalar) return true;
#ifdef UNETQ_X86
  // These ask the operating system too, whether it saves the wide registers.
  const bool avx2 = __builtin_cpu_supports("avx2");
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvxVnni) return avx2 && has_avxvnni();
  const bool vnni = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vnni");
  if (isa == Isa::kAvx512Vnni) return vnni;
  const bool icelake = vnni && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vbmi");
  if (isa == Isa::kAvx512Icelake) return icelake;
  return isa == Isa::kAvx512Amx && icelake && has_amx();
#elif defined(UNETQ_ARM64)
  const bool dotprod = hardware(AT_HWCAP, 20);
  if (isa == Isa::kDotprod) return dotprod;
  if (isa == Isa::kI8mm) return dotprod && hardware(AT_HWCAP2, 13);
  return isa == Isa::kNeon;  // part of the architecture
#elif defined(UNETQ_ARM32)
  return isa == Isa::kArmv7 && hardware(AT_HWCAP, 12);
#else
  return false;
#endif
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kAvx512Icelake:
      return "avx512icelake";
    case Isa::kAvx512Amx:
      return "avx512amx";
    case Isa::kArmv7:
      return "armv7";
    case Isa::kNeon:
      return "neon";
    case Isa::kDotprod:
      return "dotprod";
    case Isa::kI8mm:
      return "i8mm";
    default:
      return "scalar";
  }
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (Isa isa : kAll) {
    if (has(isa)) isas.push_back(isa);
  }
  return isas;
}

Status choose_isa(Isa* isa) {
  const std::vector<Isa> available = available_isas();
  *isa = available.back();
  const char* forced = std::getenv("UNETQ_ISA");
  if (forced == nullptr || *forced == '\0') return Status::fine();
  std::string names;
  for (Isa one : available) {
    if (isa_name(one) == std::string(forced)) {
      *isa = one;
      return Status::fine();
    }
    names += (names.empty() ? "" : ", ") + std::string(isa_name(one));
  }
  const bool known =
      std::any_of(std::begin(kAll), std::end(kAll), [&](Isa one) { return isa_name(one) == std::string(forced); });
  return Status::fail("UNETQ_ISA is \"" + std::string(forced) + "\", " +
                      (known ? "but this CPU does not have it" : "which is no instruction set of unetq") +
                      "; use one of: " + names + ".");
}

int physical_cores() {
  std::set<std::pair<int, int>> cores;
#ifdef __linux__
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &mask)) continue;
      const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      int package = 0, core = cpu;  // where the system does not say, each is a core
      std::ifstream(folder + "physical_package_id") >> package;
      if (!(std::ifstream(folder + "core_id") >> core)) core = cpu;
      cores.insert({package, core});
    }
  }
#endif
  if (cores.empty()) return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return static_cast<int>(cores.size());
}

}  // namespace unetq
