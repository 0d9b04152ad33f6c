// The multiplication of AVX-VNNI: the 32-byte form of AVX-512's vpdpbusd, in an encoding of its own.
// UNETQ_AVXVNNI_BY_EVEX encodes it as AVX-512 does, to test the kernels on a processor that has only that.
// Static: each file has its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

#ifdef UNETQ_AVXVNNI_BY_EVEX
#define UNETQ_VPDPBUSD "vpdpbusd"
#else
#define UNETQ_VPDPBUSD "%{vex%} vpdpbusd"
#endif

namespace unetq {

// 4 neighbouring bytes, broadcast, times the weights of twice 8 outputs. In assembly, because gcc 12 hoists the
// broadcasts and then keeps accumulators in memory.
static inline void dot_avxvnni(const uint8_t* from, __m256i w0, __m256i w1, __m256i* acc0, __m256i* acc1) {
  using Four [[gnu::may_alias]] = int32_t;
  __m256i bytes;
  __asm__("vpbroadcastd %3, %2\n\t" UNETQ_VPDPBUSD " %4, %2, %0\n\t" UNETQ_VPDPBUSD " %5, %2, %1"
          : "+x"(*acc0), "+x"(*acc1), "=&x"(bytes)
          : "m"(*reinterpret_cast<const Four*>(from)), "x"(w0), "x"(w1));
}

}  // namespace unetq
