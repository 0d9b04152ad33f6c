// Runs one row of the table a number of times on made-up numbers: what scripts/arm/count.py counts the instructions of.
//   count_kernel NAME WBITS ABITS IN OUT HEIGHT WIDTH REPEATS       a row of few outputs gets as many as it takes, as logits
//   count_kernel list                 a line for every convolution of the table that this CPU has: NAME:WBITS,ABITS,
//                                     the most bits that it takes whatever the weights
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

#include "../../unetq/native/src/cpu.h"
#include "../../unetq/native/src/trial.h"

using namespace unetq;

static bool here(const Kernel& kernel) {
  for (Isa isa : available_isas()) {
    if (isa == kernel.isa) return true;
  }
  return false;
}

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "list") == 0) {
    for (const Kernel& kernel : kernels()) {
      if (kernel.conv == nullptr || !here(kernel)) continue;
      BitPair most = {0, 0, false};
      for (const BitPair& pair : bit_pairs(kernel)) {
        if (!pair.checked && pair.wbits + pair.abits >= most.wbits + most.abits) most = pair;
      }
      std::printf("%s:%d,%d\n", kernel.name, most.wbits, most.abits);
    }
    return 0;
  }
  const Kernel* kernel = argc == 9 ? find_kernel(argv[1]) : nullptr;
  if (kernel == nullptr) {
    std::fprintf(stderr, "count_kernel NAME WBITS ABITS IN OUT HEIGHT WIDTH REPEATS, of a kernel in the table\n");
    return 2;
  }
  int n[9] = {};
  for (int i = 2; i < 9; ++i) n[i] = std::atoi(argv[i]);
  TrialSettings set;
  set.wbits = n[2];
  set.abits = n[3];
  set.hi = (1 << n[3]) - 1;
  set.ternary = n[2] == 2 && kernel->lowbit.codes == WeightCodes::kSigns ? 1 : 0;
  set.repeats = n[8];
  const bool head = n[5] > kernel->max_out;
  set.logits = head ? 1 : 0;
  const int in = n[4], out = head ? kernel->max_out : n[5], side = kernel->side != 0 ? kernel->side : 3;
  std::vector<int16_t> codes(static_cast<size_t>(in) * n[6] * n[7]);
  std::vector<int8_t> weights(static_cast<size_t>(out) * side * side * in);
  unsigned state = 1;
  const auto below = [&](int count) {
    state = state * 1664525u + 1013904223u;
    return static_cast<int>((state >> 8) % static_cast<unsigned>(count));
  };
  for (int16_t& code : codes) code = static_cast<int16_t>(below(1 << n[3]));
  for (int8_t& weight : weights) {
    const int half = 1 << (n[2] - 1);
    weight = static_cast<int8_t>(n[2] == 1 ? 2 * below(2) - 1 : set.ternary != 0 ? below(3) - 1 : below(2 * half) - half);
  }
  const std::vector<float> m(static_cast<size_t>(out), 0.01f), b(static_cast<size_t>(out), 0.5f);
  try {
    try_conv(*kernel, {codes.data(), nullptr, in, n[6], n[7]}, {weights.data(), out, side, m.data(), b.data()}, set);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  return 0;
}
