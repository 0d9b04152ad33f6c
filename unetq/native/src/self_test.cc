#include "self_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "../kernels/winograd.h"
#include "cpu.h"
#include "trial.h"

namespace unetq {

namespace {

// xorshift64*: the same numbers on every machine, which the standard library's distributions do not promise.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}

  // Of [low, high].
  int whole(int low, int high) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    const uint64_t bits = (state_ * 2685821657736338717u) >> 33;
    return low + static_cast<int>(bits % (static_cast<uint64_t>(high) - low + 1));
  }
  float real(float low, float high) { return low + (high - low) * static_cast<float>(whole(0, 1 << 20)) / (1 << 20); }
  template <typename T, size_t N>
  const T& of(const T (&items)[N]) {
    return items[whole(0, static_cast<int>(N) - 1)];
  }

 private:
  uint64_t state_;
};

struct Shape {
  int in, out, height, width;
};

// Channels: one, odd, below and above all vectors' widths, several blocks. Sizes: one, odd, more than a block of tiles.
constexpr int kChannels[][2] = {{1, 16}, {1, 1},   {2, 3},   {3, 8},   {4, 5},   {5, 17},
                                {8, 24}, {16, 16}, {17, 40}, {32, 33}, {48, 16}, {70, 64}};
constexpr int kSizes[][2] = {{1, 1}, {1, 7}, {5, 1}, {3, 13}, {7, 25}, {9, 50}};
enum class Fill { kRandom, kCorners, kHigh, kHighNegative, kLow };
enum class Kind { kUnsigned, kSigned, kTernary };

// Input channels, those that are doubled, and outputs; sizes that can be.
constexpr int kDoubled[][3] = {{8, 4, 5}, {48, 32, 16}, {40, 8, 17}, {70, 64, 33}, {136, 128, 20}, {512, 260, 40}};
constexpr int kEvenSizes[][2] = {{2, 2}, {4, 6}, {6, 28}, {10, 50}};

// Numbers of one convolution.
struct Numbers {
  Shape shape = {};
  int side = 0;
  TrialSettings set;
  std::vector<int16_t> codes;
  std::vector<int8_t> weights;
  std::vector<float> m, b;

  TrialInput input() const { return {codes.data(), nullptr, shape.in, shape.height, shape.width}; }
  TrialWeights taps() const { return {weights.data(), shape.out, side, m.data(), b.data()}; }
};

// Output codes of any width and zero, in a place inside a wider buffer or not.
void choose_target(Random& random, const Shape& shape, TrialSettings* set) {
  const int kinds[][3] = {{0, (1 << random.whole(1, 8)) - 1, 0}, {-1, 1, 1}, {-128, 127, 128}};
  const int* kind = kinds[std::max(0, random.whole(-2, 2))];
  set->lo = kind[0];
  set->hi = kind[1];
  set->out_zero = kind[2];
  set->threads = random.whole(1, 3);
  if (random.whole(0, 1) == 0) return;
  set->out_offset = random.whole(0, 23);
  set->out_stride = set->out_offset + shape.out + random.whole(0, 23);
  set->in_offset = random.whole(0, 23);
  set->in_stride = set->in_offset + (shape.in + 3) / 4 * 4 + random.whole(0, 23);
}

Numbers make_numbers(const Kernel& kernel, Random& random, const Shape& shape, const BitPair& bits, Fill fill,
                     Kind kind) {
  Numbers made;
  made.shape = shape;
  made.shape.out = std::min(shape.out, kernel.max_out);
  const int sides[] = {1, 3, 3, 5, 7};
  made.side = kernel.side != 0 ? kernel.side : random.of(sides);
  const int wbits = bits.wbits, abits = kind == Kind::kTernary ? 2 : bits.abits;
  TrialSettings& set = made.set;
  set.wbits = wbits;
  set.abits = abits;
  set.ternary = wbits == 2 && kernel.lowbit.codes == WeightCodes::kSigns ? 1 : 0;
  set.in_zero = kind == Kind::kUnsigned ? 0 : (kind == Kind::kSigned ? 1 << (abits - 1) : 1);
  choose_target(random, made.shape, &set);
  if (kernel.op == OpKind::kTransposed) {
    set.out_height = std::max(1, 2 * shape.height - random.whole(0, 1));
    set.out_width = std::max(1, 2 * shape.width - random.whole(0, 1));
  }
  const int low = -set.in_zero, high = kind == Kind::kTernary ? 1 : low + (1 << abits) - 1;
  int least = wbits == 1 || set.ternary != 0 ? -1 : -(1 << (wbits - 1)), most = wbits == 1 ? 1 : (1 << (wbits - 1)) - 1;
  if (bits.checked) {  // whatever they are, transforms of these stay in 8 bits
    const int limit = winograd_limit(*winograd_of(kernel.layout));
    least = std::max(least, -limit);
    most = std::min(most, limit);
  }
  made.codes.resize(static_cast<size_t>(shape.in) * shape.height * shape.width);
  for (int16_t& code : made.codes) {
    const bool up = fill == Fill::kCorners ? random.whole(0, 1) == 1 : fill != Fill::kLow;
    code = static_cast<int16_t>(fill == Fill::kRandom ? random.whole(low, high) : (up ? high : low));
  }
  made.weights.resize(static_cast<size_t>(made.shape.out) * made.side * made.side * shape.in);
  for (int8_t& weight : made.weights) {
    const bool corner = wbits == 1 || fill == Fill::kCorners, up = random.whole(0, 1) == 1;
    int value = corner ? (up ? most : least) : random.whole(least, most);
    if (fill == Fill::kHigh || fill == Fill::kLow) value = std::max(1, most);
    if (fill == Fill::kHighNegative) value = least;
    weight = static_cast<int8_t>(value);
  }
  const double spread = std::ldexp(std::sqrt(static_cast<double>(shape.in) * made.side * made.side), wbits + abits);
  for (int o = 0; o < made.shape.out; ++o) {
    made.m.push_back(random.real(-1, 4) * 64.0f / static_cast<float>(spread));
    made.b.push_back(random.real(-40, 80));
  }
  return made;
}

std::string text_of(const Numbers& numbers) {
  const Shape& shape = numbers.shape;
  return std::to_string(shape.in) + " to " + std::to_string(shape.out) + " channels, side " +
         std::to_string(numbers.side) + ", " + std::to_string(shape.height) + " x " + std::to_string(shape.width) +
         " pixels, W" + std::to_string(numbers.set.wbits) + "A" + std::to_string(numbers.set.abits);
}

// Codes and logits as the scalar row makes them; a sentence if not.
std::string compare(const Kernel& kernel, const Kernel& scalar, Numbers numbers) {
  for (int logits = 0; logits < 2; ++logits) {
    numbers.set.logits = logits;
    TrialSettings plain = numbers.set;
    plain.threads = 1;
    plain.in_stride = plain.in_offset = plain.out_stride = plain.out_offset = plain.doubled = plain.low = 0;
    const TrialResult want = try_conv(scalar, numbers.input(), numbers.taps(), plain);
    const TrialResult got = try_conv(kernel, numbers.input(), numbers.taps(), numbers.set);
    const bool same = got.codes == want.codes && got.logits.size() == want.logits.size() &&
                      (logits == 0 || std::memcmp(got.logits.data(), want.logits.data(), 4 * got.logits.size()) == 0);
    if (!same) return std::string(logits == 0 ? "Codes" : "Logits") + " differ for " + text_of(numbers) + ".";
  }
  return "";
}

class RowTest {
 public:
  RowTest(const Kernel& kernel, const Kernel& scalar) : scalar_(scalar), random_(7) { result_.kernel = &kernel; }

  RowResult run(int cases) {
    try {
      if (result_.kernel->conv != nullptr) {
        convolutions(cases);
      } else {
        for (int i = 0; i < cases && result_.failure.empty(); ++i) map();
      }
    } catch (const std::exception& error) {
      result_.failure = error.what();
    }
    return result_;
  }

 private:
  void check(const Numbers& numbers) {
    const Kernel& kernel = *result_.kernel;
    if (!result_.failure.empty() || !trial_fits(kernel, numbers.input(), numbers.taps(), numbers.set)) return;
    result_.failure = compare(kernel, scalar_, numbers);
    ++result_.cases;
  }

  void convolutions(int cases) {
    const Kernel& kernel = *result_.kernel;
    const std::vector<BitPair> pairs = bit_pairs(kernel);
    for (int i = 0; i < cases; ++i) {
      const auto& channels = random_.of(kChannels);
      const auto& size = random_.of(kSizes);
      const BitPair& bits = pairs[static_cast<size_t>(random_.whole(0, static_cast<int>(pairs.size()) - 1))];
      const Kind kind =
          bits.abits == 1 ? Kind::kUnsigned : static_cast<Kind>(random_.whole(0, bits.abits == 2 ? 2 : 1));
      check(make_numbers(kernel, random_, {channels[0], channels[1], size[0], size[1]}, bits, Fill::kRandom, kind));
    }
    for (const BitPair& bits : pairs) {
      for (Fill fill : {Fill::kHigh, Fill::kHighNegative, Fill::kLow, Fill::kCorners}) {
        const Kind kind = bits.abits > 1 && random_.whole(0, 3) == 0 ? Kind::kSigned : Kind::kUnsigned;
        check(make_numbers(kernel, random_, {37, 20, 3, 9}, bits, fill, kind));
      }
    }
    // Deep enough that every narrow accumulator is emptied on the way, and more weights than a panel of scratch holds.
    for (Fill fill : {Fill::kCorners, Fill::kHigh, Fill::kHighNegative}) {
      check(make_numbers(kernel, random_, {260, 70, 2, 5}, pairs.back(), fill, Kind::kUnsigned));
    }
    if (kernel.op == OpKind::kConv) doubled(cases, pairs);
    extremes(pairs.front());
  }

  // As behind a nearest upsampling.
  void doubled(int cases, const std::vector<BitPair>& pairs) {
    for (int i = 0; i < cases / 4 + 8; ++i) {
      const auto& channels = random_.of(kDoubled);
      const auto& size = random_.of(kEvenSizes);
      const BitPair& bits = pairs[static_cast<size_t>(random_.whole(0, static_cast<int>(pairs.size()) - 1))];
      const Fill fill = i < 8 ? Fill::kCorners : Fill::kRandom;
      const Kind kind = bits.abits > 1 && random_.whole(0, 2) == 0 ? Kind::kSigned : Kind::kUnsigned;
      Numbers numbers =
          make_numbers(*result_.kernel, random_, {channels[0], channels[2], size[0], size[1]}, bits, fill, kind);
      numbers.set.doubled = channels[1];
      if (makes_use_of_doubled(result_.kernel->layout) && channels[1] % 64 == 0) numbers.set.low = random_.whole(0, 1);
      for (int c = 0; c < channels[1]; ++c) {
        for (int y = 0; y < size[0]; ++y) {
          for (int x = 0; x < size[1]; ++x) {
            int16_t* plane = numbers.codes.data() + static_cast<size_t>(c) * size[0] * size[1];
            plane[y * size[1] + x] = plane[y / 2 * 2 * size[1] + x / 2 * 2];
          }
        }
      }
      check(numbers);
    }
  }

  // Half to even, and sums far beyond what an int32 can hold after scaling.
  void extremes(const BitPair& bits) {
    Numbers numbers = make_numbers(*result_.kernel, random_, {8, 20, 6, 11}, bits, Fill::kRandom, Kind::kUnsigned);
    for (float& m : numbers.m) m = 0.5f;
    for (float& b : numbers.b) b = 0.5f * static_cast<float>(random_.whole(-3, 3));
    check(numbers);
    const float huge[] = {-3e38f, -1e30f, 1e30f, 3e38f};
    const float tiny[] = {1e-40f, -1e-45f, 1e-38f, 0.0f};  // denormal numbers: NEON of 32 bits takes them for 0
    for (float& m : numbers.m) m = random_.of(huge);
    check(numbers);
    for (float& m : numbers.m) m = random_.of(tiny);
    check(numbers);
    for (float& b : numbers.b) b = random_.of(tiny);
    check(numbers);
  }

  void map() {
    const Kernel& kernel = *result_.kernel;
    const int channels = random_.whole(0, 2) == 0 ? random_.whole(1, 4) : random_.whole(1, 131);
    const int height = random_.whole(1, 9),
              width = random_.whole(0, 3) == 0 ? random_.whole(17, 35) : random_.whole(1, 9);
    TrialSettings set;
    const int zeros[] = {0, 0, 1, 128};
    set.in_zero = set.out_zero = random_.of(zeros);
    set.threads = random_.whole(1, 3);
    if (kernel.op == OpKind::kNearest || kernel.op == OpKind::kBilinear) {
      set.out_height = 2 * height - random_.whole(0, 1);
      set.out_width = 2 * width - random_.whole(0, 1);
    }
    std::vector<int16_t> codes(static_cast<size_t>(channels) * height * width);
    std::vector<float> image(codes.size());
    const float hard[] = {3e38f, -3e38f, 0.5f, 1.5f, -2.5f, -0.0f, 127.5f, -128.5f, 1e-40f};
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<int16_t>(random_.whole(-set.in_zero, set.in_zero == 1 ? 1 : 255 - set.in_zero));
      image[i] = random_.whole(0, 4) == 0 ? random_.of(hard) : random_.real(-9, 9);
    }
    float m = 1.0f;
    if (kernel.op == OpKind::kQuantize) {
      set.lo = -128;
      set.hi = 127;
      set.out_zero = 128;
      const float steps[] = {0.5f, 1.0f, 31.7f, 3e5f};
      m = random_.of(steps);
    }
    TrialSettings placed = set;
    if (random_.whole(0, 2) != 0) {
      placed.in_offset = random_.whole(0, 19);
      placed.in_stride = placed.in_offset + channels + random_.whole(0, 19);
      placed.out_offset = random_.whole(0, 19);
      placed.out_stride = placed.out_offset + channels + random_.whole(0, 19);
    }
    if (kernel.op == OpKind::kArgmax && random_.whole(0, 1) == 0) {  // ties
      for (float& value : image) value = static_cast<float>(random_.whole(-1, 1)) * 1e-40f;
    }
    const TrialInput in = {codes.data(), image.data(), channels, height, width};
    const bool same = try_map(kernel, in, m, placed).codes == try_map(scalar_, in, m, set).codes;
    ++result_.cases;
    if (same) return;
    result_.failure = "Codes differ for " + std::to_string(channels) + " channels, " + std::to_string(height) + " x " +
                      std::to_string(width) + " pixels.";
  }

  const Kernel& scalar_;
  Random random_;
  RowResult result_;
};

}  // namespace

std::vector<RowResult> self_test(int cases, const std::function<void(const RowResult&)>& done) {
  const std::vector<Isa> isas = available_isas();
  std::vector<RowResult> results;
  for (const Kernel& kernel : kernels()) {
    RowResult result;
    result.kernel = &kernel;
    if (std::find(isas.begin(), isas.end(), kernel.isa) != isas.end()) {
      const auto scalar = std::find_if(kernels().begin(), kernels().end(), [&](const Kernel& other) {
        return other.isa == Isa::kScalar && other.op == kernel.op;
      });
      result = RowTest(kernel, *scalar).run(cases);
    }
    if (done) done(result);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace unetq
