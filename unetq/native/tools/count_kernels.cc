// What scripts/count_instructions.py runs under callgrind: each convolution of the table that it can, once, on the same
// numbers every time. Prints a line for each call of `measured`.
#include <cstdio>
#include <cstring>
#include <vector>

#include "../kernels/winograd.h"
#include "../src/convolve.h"
#include "../src/cpu.h"

namespace {

using namespace unetq;  // NOLINT(google-build-using-namespace): this file is the program

constexpr int kHeight = 12, kWidth = 40, kChannels = 32;

// The instructions of what it calls are counted: weights expanded and rows made. Whatever stands behind the
// call keeps it from becoming a jump, after which callgrind would not see this function end.
__attribute__((noinline)) void measured(const Kernel& kernel, const ConvJob& job, const ConvPlace& place, Pool* pool) {
  run_conv(kernel, job, place, pool);
  __asm__ volatile("" ::: "memory");
}

// The widest numbers that a row takes, or where it is at home.
struct Widths {
  int wbits, abits;
};

Widths widths_of(const Kernel& kernel) {
  if (winograd_of(kernel.layout) != nullptr) {
    return {kernel.layout == Layout::kWinograd2x4 ? 3 : 4, kernel.layout == Layout::kWinograd2x4 ? 3 : 6};
  }
  if (kernel.lowbit.wbits < 8) return {kernel.lowbit.wbits, kernel.lowbit.abits};
  return kernel.bits >= 15 ? Widths{kernel.bits - 8, 8} : Widths{4, 6};
}

// A stream of bits of this many codes; any bits are codes, but a ternary code is never -2.
std::vector<uint8_t> weights(size_t codes, int bits, bool ternary) {
  std::vector<uint8_t> packed((codes * static_cast<size_t>(bits) + 7) / 8);
  uint32_t random = 1;
  for (uint8_t& byte : packed) {
    random = random * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(random >> 24);
    if (!ternary) continue;
    for (int at = 0; at < 8; at += 2) {
      if ((byte >> at & 3) == 2) byte = static_cast<uint8_t>(byte ^ (3 << at));
    }
  }
  // Some smallest codes would not let Winograd in: of 4 bits -8 becomes -7, of 3 bits any fit.
  if (bits != 4) return packed;
  for (uint8_t& byte : packed) {
    if ((byte & 0x0F) == 0x08) byte |= 0x01;
    if ((byte & 0xF0) == 0x80) byte |= 0x10;
  }
  return packed;
}

void count(const Kernel& kernel) {
  const Widths widths = widths_of(kernel);
  const bool transposed = kernel.op == OpKind::kTransposed;
  const int side = transposed ? 2 : (kernel.side == 0 ? 3 : kernel.side), scale = transposed ? 2 : 1;
  const int out = kernel.max_out < kChannels ? 2 : kChannels;
  constexpr ptrdiff_t kRow = ptrdiff_t{kWidth + 2} * kChannels;
  std::vector<uint8_t> in(kRow * (kHeight + 4) + size_t{kOverreadPixels} * kChannels + kOverreadBytes, 1);
  std::vector<uint8_t> to(static_cast<size_t>(scale) * static_cast<size_t>(scale) * in.size());
  const std::vector<float> m(kChannels, 0.0078125f), b(kChannels, 1.0f);
  ConvJob job;
  job.in = {in.data() + kRow + kChannels, kHeight, kWidth, kChannels, kRow, kChannels};
  job.out = {to.data(), scale * kHeight, scale * kWidth, out, scale * kRow, kChannels};
  job.transposed = transposed;
  job.side = side;
  job.wbits = widths.wbits;
  job.abits = widths.abits;
  job.binary = widths.wbits == 1;
  job.ternary = kernel.lowbit.codes == WeightCodes::kSigns && widths.wbits == 2;
  const std::vector<uint8_t> packed =
      weights(static_cast<size_t>(out) * side * side * kChannels, widths.wbits, job.ternary);
  job.packed = packed.data();
  job.packed_bytes = packed.size();
  job.m = m.data();
  job.b = b.data();
  job.hi = (1 << widths.abits) - 1;
  job.y1 = job.out.height;
  const WeightSource source = weight_source(job, 0, 0);
  if (!can(kernel, {kernel.op, side, widths.wbits, widths.abits, out, &source, job.m, job.b})) {
    std::printf("%s cannot\n", kernel.name);
    return;
  }
  const ConvScratch bytes = conv_scratch(kernel, {transposed ? 1 : side, kChannels, kChannels, 0, out}, false);
  std::vector<uint8_t> layer(bytes.shared + 64), thread(bytes.thread + 64);
  const auto aligned = [](std::vector<uint8_t>* memory) {
    return memory->data() + (64 - reinterpret_cast<uintptr_t>(memory->data()) % 64) % 64;
  };
  Pool pool(1);
  std::printf("%s W%dA%d\n", kernel.name, widths.wbits, widths.abits);
  measured(kernel, job, {aligned(&layer), aligned(&thread)}, &pool);
}

}  // namespace

int main() {
  const std::vector<Isa> isas = available_isas();
  for (const Kernel& kernel : kernels()) {
    bool here = false;
    for (Isa isa : isas) here = here || isa == kernel.isa;
    if (here && kernel.conv != nullptr) count(kernel);
  }
  return 0;
}
