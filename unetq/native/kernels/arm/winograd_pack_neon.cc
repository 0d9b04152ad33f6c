// U = G g G^T in the layouts of the NEON kernels (winograd.h), 16 channels of 4 outputs at a time. |U| <= 127
// (winograd_allows), so sums modulo 256 do.
#include <arm_neon.h>

#include "../winograd.h"

namespace unetq {

namespace {

constexpr int kPanel = 256;     // channels expanded at once
constexpr int kPositions = 24;  // at most

inline int8x16_t twice(int8x16_t a) { return vaddq_s8(a, a); }

// kAxis2.g, with the last row's sign (kAxis2Folded).
template <bool FOLDED>
inline void weigh2(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t* to) {
  const int8x16_t ends = vaddq_s8(a, c), last = twice(c);
  to[0] = twice(a);
  to[1] = vaddq_s8(ends, b);
  to[2] = vsubq_s8(ends, b);
  to[3] = FOLDED ? vnegq_s8(last) : last;
}

// kAxis4.g.
inline void weigh4(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t* to) {
  const int8x16_t a2 = twice(a), b2 = twice(b), c2 = twice(c), c4 = twice(c2), ends = vaddq_s8(a2, c2),
                  far = vaddq_s8(a, c4);
  to[0] = vaddq_s8(twice(a2), a2);
  to[1] = vaddq_s8(ends, b2);
  to[2] = vsubq_s8(ends, b2);
  to[3] = vaddq_s8(far, b2);
  to[4] = vsubq_s8(far, b2);
  to[5] = vaddq_s8(c4, c2);
}

// U of one output, 16 channels, position after position.
template <int WIDE, bool FOLDED>
inline void transform(const int8_t* taps, ptrdiff_t tap, int8x16_t inside, int8_t (*u)[16]) {
  int8x16_t down[3][4];
#pragma GCC unroll 3
  for (int s = 0; s < 3; ++s) {
    int8x16_t g[3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) g[r] = vandq_s8(vld1q_s8(taps + (3 * r + s) * tap), inside);
    weigh2<FOLDED>(g[0], g[1], g[2], down[s]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    int8x16_t row[WIDE + 2];
    if constexpr (WIDE == 2) {
      weigh2<false>(down[0][i], down[1][i], down[2][i], row);
    } else {
      weigh4(down[0][i], down[1][i], down[2][i], row);
    }
#pragma GCC unroll 6
    for (int j = 0; j < WIDE + 2; ++j) vst1q_s8(u[i * (WIDE + 2) + j], row[j]);
  }
}

inline void put_two(int8_t* to, ptrdiff_t next, int32x4x2_t two) {
  vst1q_s8(to, vreinterpretq_s8_s32(two.val[0]));
  vst1q_s8(to + next, vreinterpretq_s8_s32(two.val[1]));
}

// One position of 4 outputs, in runs of RUN channels of each of 16 outputs.
template <int RUN>
inline void put_runs(const int8_t (*u)[kPositions][16], int position, int8_t* to) {
  int32x4_t from[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) from[k] = vreinterpretq_s32_s8(vld1q_s8(u[k][position]));
  if constexpr (RUN == 16) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) vst1q_s8(to + 16 * k, vreinterpretq_s8_s32(from[k]));
  } else if constexpr (RUN == 8) {
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      const int32x4_t a = from[2 * k], b = from[2 * k + 1];
      put_two(to + 16 * k, 128,
              {{vcombine_s32(vget_low_s32(a), vget_low_s32(b)), vcombine_s32(vget_high_s32(a), vget_high_s32(b))}});
    }
  } else {
    const int32x4x2_t even = vzipq_s32(from[0], from[2]), odd = vzipq_s32(from[1], from[3]);
    put_two(to, 64, vzipq_s32(even.val[0], odd.val[0]));
    put_two(to + 128, 64, vzipq_s32(even.val[1], odd.val[1]));
  }
}

// All taps of channels [first, first + n) of an output, n bytes a tap.
void expand(const WeightSource& source, int out, int first, int n, int8_t* to) {
  const size_t code = source.first + out * source.out_stride + first;
  if (n == source.channels) return unpack_codes(source, code, 9 * n, to);
  for (int tap = 0; tap < 9; ++tap, to += n) {
    unpack_codes(source, code + static_cast<size_t>(tap) * source.channels, n, to);
  }
}

// Returns the sums of U of position (1, 1).
template <int WIDE, int RUN>
void pack(const WeightSource& source, int first_out, int count, int8_t* to, int32_t* sums) {
  constexpr int kCentre = WIDE + 3;
  const auto position_bytes = static_cast<ptrdiff_t>(winograd_position_bytes(source.channels));
  alignas(16) static constexpr int8_t kEdge[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
  int8_t taps[4][9 * kPanel + 16] = {};  // loads reach beyond the last channel
  for (int lane = 0; lane < count; lane += 4) {
    const int lanes = count - lane < 4 ? count - lane : 4;
    int32x4_t centre[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int channel = 0; channel < source.channels; channel += kPanel) {
      const int left = source.channels - channel, n = left < kPanel ? left : kPanel;
      for (int k = 0; k < lanes; ++k) expand(source, first_out + lane + k, channel, n, taps[k]);
      for (int c = 0; c < n; c += 16) {
        alignas(16) int8_t u[4][kPositions][16];
        const int8x16_t inside = vld1q_s8(kEdge + (n - c < 16 ? 16 - (n - c) : 0));
        for (int k = 0; k < 4; ++k) {
          transform<WIDE, (RUN < 16)>(taps[k] + c, n, k < lanes ? inside : vdupq_n_s8(0), u[k]);
          centre[k] = vpadalq_s16(centre[k], vpaddlq_s8(vld1q_s8(u[k][kCentre])));
        }
        int8_t* at = to + (channel + c) * 16 + lane * RUN;
        for (int position = 0; position < 4 * (WIDE + 2); ++position, at += position_bytes) {
          put_runs<RUN>(u, position, at);
        }
      }
    }
    for (int k = 0; k < 4; ++k) {
      int32_t four[4];
      vst1q_s32(four, centre[k]);
      sums[lane + k] = four[0] + four[1] + four[2] + four[3];
    }
  }
}

}  // namespace

void pack_winograd_neon(const WeightSource& source, const Winograd& winograd, int first_out, int count, void* weights) {
  auto* const block = static_cast<uint8_t*>(weights);
  int32_t sums[16] = {};
  if (count <= 12) __builtin_memset(block, 0, winograd_block_bytes(winograd, source.channels, 0));
  const bool two = winograd.x->outputs == 2;
  const auto run = winograd.run == 4   ? (two ? pack<2, 4> : pack<4, 4>)
                   : winograd.run == 8 ? (two ? pack<2, 8> : pack<4, 8>)
                                       : (two ? pack<2, 16> : pack<4, 16>);
  run(source, first_out, count, reinterpret_cast<int8_t*>(block) + 64, sums);
  // The rows of B add up to 0, but for row 1: only there do offsets and zeros not cancel out.
  int down = 0, along = 0;
  for (int k = 0; k < 6; ++k) {
    down += winograd.y->b[1][k];
    along += winograd.x->b[1][k];
  }
  const int rest = winograd_offset(winograd, 1, 1, source.abits) + source.in_zero * down * along;
  for (int lane = 0; lane < 16; ++lane) {
    const uint32_t start = 0u - static_cast<uint32_t>(rest) * static_cast<uint32_t>(sums[lane]);
    __builtin_memcpy(block + 4 * lane, &start, 4);
  }
}

}  // namespace unetq
