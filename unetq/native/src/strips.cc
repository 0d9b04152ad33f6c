#include "strips.h"

#include <algorithm>

#include "plan.h"

namespace unetq {

namespace {

// A strip is work enough for several threads, and the second-level cache still holds a good part of it.
constexpr int kStripPixels = 8192;
constexpr int kMinRows = 8, kMaxRows = 16, kMinPixels = 1024;
// Weights that cannot stay expanded from strip to strip: expanding one takes about as long as 200 multiplications, so
// with so many pixels a strip it is 1 % of the time.
constexpr int64_t kKeptWeights = int64_t{2} << 20;
constexpr int kRepackPixels = 20480;
// The two largest levels run strip by strip together where their weights can stay expanded meanwhile: what lies between
// them is then not whole either. Further down a pair's own rolling buffers would cost more than that saves.
constexpr int64_t kPairWeights = int64_t{1} << 20;
// Kernels work on blocks of up to 4 rows; a strip that ends inside one would compute some of it in vain.
constexpr int kUnit = 4;

int round_up(int rows, int unit) { return (rows + unit - 1) / unit * unit; }

bool upsamples(OpKind kind) {
  return kind == OpKind::kNearest || kind == OpKind::kBilinear || kind == OpKind::kTransposed;
}

// Rows of the input, from the first on, that the first `n` rows of the output need, whatever lies beyond the edge.
int rows_read(const Op& op, int n) {
  switch (op.kind) {
    case OpKind::kConv:
      return n + op.kernel / 2;
    case OpKind::kMaxpool:
      return 2 * n;
    case OpKind::kBilinear:
      return n / 2 + 1;
    case OpKind::kNearest:
    case OpKind::kTransposed:
      return (n + 1) / 2;
    case OpKind::kQuantize:
    case OpKind::kConcat:
    case OpKind::kArgmax:
      break;
  }
  return n;
}

// First row of the input that row `y` of the output and those behind it read.
int first_read(const Op& op, int y) {
  switch (op.kind) {
    case OpKind::kConv:
      return std::max(0, y - op.kernel / 2);
    case OpKind::kMaxpool:
      return 2 * y;
    case OpKind::kBilinear:
      return std::max(0, y / 2 - 1);
    case OpKind::kNearest:
    case OpKind::kTransposed:
      return y / 2;
    case OpKind::kQuantize:
    case OpKind::kConcat:
    case OpKind::kArgmax:
      break;
  }
  return y;
}

class Schedule {
 public:
  Schedule(const Model& model, int height, int width, int strip_rows)
      : model_(model), height_(height), width_(width), strip_rows_(strip_rows) {
    last_use_.assign(model.tensors.size(), -1);
    for (size_t i = 0; i < model.ops.size(); ++i) {
      for (int input : {model.ops[i].input_a, model.ops[i].input_b}) {
        if (input >= 0) last_use_[input] = static_cast<int>(i);
      }
    }
  }

  // Of the operations' largest output.
  int level(int first, int last) const {
    int level = out(first).level;
    for (int i = first; i <= last; ++i) level = std::min(level, out(i).level);
    return level;
  }

  int64_t weights(int first, int last) const {
    int64_t weights = 0;
    for (int i = first; i <= last; ++i) {
      const Op& op = model_.ops[i];
      weights += int64_t{op.kernel} * op.kernel * model_.tensors[op.input_a].channels * out(i).channels;
    }
    return weights;
  }

  Group make(int first, int last) const {
    Group group;
    group.first = first;
    group.last = last;
    const int level = this->level(first, last);
    const int height = level_size(height_, level), width = level_size(width_, level);
    int rows = round_up(std::clamp((kStripPixels + width - 1) / width, kMinRows, kMaxRows), kUnit), unit = kUnit;
    rows = std::max(rows, round_up(kMinPixels / width, kUnit));
    if (weights(first, last) > kKeptWeights)
      rows = std::max(rows, round_up((kRepackPixels + width - 1) / width, kUnit));
    if (strip_rows_ > 0) {
      rows = std::max(1, strip_rows_ >> level);
      unit = 1;
    } else if (2 * rows > height) {
      rows = height;
    }
    for (int64_t done = rows; done < height; done += rows) {
      group.rows.push_back(step(group, level, static_cast<int>(done), unit));
    }
    std::vector<int> all;
    all.reserve(static_cast<size_t>(last) - static_cast<size_t>(first) + 1);
    for (int i = first; i <= last; ++i) all.push_back(level_size(height_, out(i).level));
    group.rows.push_back(std::move(all));
    return group;
  }

 private:
  const Tensor& out(int op) const { return model_.tensors[model_.ops[op].output]; }

  // From the last operation back: what others need of each, so that `done` rows of the group's level come out.
  std::vector<int> step(const Group& group, int level, int done, int unit) const {
    std::vector<int> rows(static_cast<size_t>(group.last - group.first + 1));
    for (int i = group.last; i >= group.first; --i) {
      const int height = level_size(height_, out(i).level);
      const int output = model_.ops[i].output;
      int& need = rows[i - group.first];
      if (last_use_[output] < 0 || last_use_[output] > group.last)
        need = std::max(need, done >> (out(i).level - level));
      need = std::min(height, round_up(need, unit));
      for (int input : {model_.ops[i].input_a, model_.ops[i].input_b}) {
        for (int k = group.first; k < i; ++k) {
          if (model_.ops[k].output != input) continue;
          rows[k - group.first] = std::max(rows[k - group.first], rows_read(model_.ops[i], need));
        }
      }
    }
    return rows;
  }

  const Model& model_;
  const int height_, width_, strip_rows_;
  std::vector<int> last_use_;
};

// Where operation `i` of a group stands before a step.
int done_before(const Group& group, int i, size_t step) {
  return step == 0 ? 0 : group.rows[step - 1][i - group.first];
}

Roll make_roll(const Model& model, const Plan& plan, const Group& group, int buffer) {
  Roll roll;
  roll.buffer = buffer;
  const auto inside = [&](int tensor) { return tensor >= 0 && plan.tensors[tensor].buffer == buffer; };
  for (size_t step = 0; step < group.rows.size(); ++step) {
    int low = plan.buffers[buffer].height, high = 0;
    for (int i = group.first; i <= group.last; ++i) {
      const Op& op = model.ops[i];
      const int done = done_before(group, i, step);
      if (inside(op.output)) {
        low = std::min(low, done);
        high = std::max(high, group.rows[step][i - group.first]);
      }
      if (inside(op.input_a) || inside(op.input_b)) low = std::min(low, first_read(op, done));
      // A convolution may read what its input is an upsampling of (Step::low).
      const Op* upsampling = upsampling_of(model, op);
      if (upsampling != nullptr && inside(upsampling->input_a)) low = std::min(low, std::max(0, done / 2 - 1));
    }
    roll.low.push_back(low);
    roll.high.push_back(high);
  }
  return roll;
}

}  // namespace

const Op* upsampling_of(const Model& model, const Op& conv) {
  const auto maker = [&](int tensor) {
    const auto found =
        std::find_if(model.ops.begin(), model.ops.end(), [&](const Op& op) { return op.output == tensor; });
    return found == model.ops.end() ? nullptr : &*found;
  };
  if (conv.kind != OpKind::kConv) return nullptr;
  const Op* from = maker(conv.input_a);
  if (from != nullptr && from->kind == OpKind::kConcat) from = maker(from->input_a);
  return from != nullptr && from->kind == OpKind::kNearest ? from : nullptr;
}

std::vector<Group> make_groups(const Model& model, int height, int width, int strip_rows) {
  const Schedule schedule(model, height, width, strip_rows);
  std::vector<Group> groups;
  const int count = static_cast<int>(model.ops.size());
  for (int first = 0; first < count;) {
    int last = first;
    while (last + 1 < count && model.ops[last].kind != OpKind::kMaxpool && !upsamples(model.ops[last + 1].kind)) ++last;
    groups.push_back(schedule.make(first, last));
    first = last + 1;
  }
  for (size_t i = 0; i + 1 < groups.size(); ++i) {
    const Group a = groups[i], b = groups[i + 1];
    const bool largest = schedule.level(a.first, b.last) == 0;
    if (!largest || !a.strips() || !b.strips() || schedule.weights(a.first, b.last) > kPairWeights) continue;
    groups[i] = schedule.make(a.first, b.last);
    groups.erase(groups.begin() + static_cast<ptrdiff_t>(i) + 1);
  }
  return groups;
}

void make_rolls(const Model& model, Plan* plan) {
  constexpr int kNone = -1, kSeveral = -2;
  std::vector<int> home(plan->buffers.size(), kNone);
  for (size_t g = 0; g < plan->groups.size(); ++g) {
    for (int i = plan->groups[g].first; i <= plan->groups[g].last; ++i) {
      const Op& op = model.ops[i];
      const int tensors[3] = {op.input_a, op.input_b, op.output};
      for (int k = 0; k < 3; ++k) {
        const int buffer = tensors[k] < 0 ? -1 : plan->tensors[tensors[k]].buffer;
        if (buffer < 0 || (k < 2 && plan->steps[i].unpacks[k])) continue;
        home[buffer] = home[buffer] == kNone || home[buffer] == static_cast<int>(g) ? static_cast<int>(g) : kSeveral;
      }
    }
  }
  for (size_t b = 0; b < home.size(); ++b) {
    if (home[b] < 0 || !plan->groups[home[b]].strips()) continue;
    Group& group = plan->groups[home[b]];
    Roll roll = make_roll(model, *plan, group, static_cast<int>(b));
    int held = 1;
    for (size_t step = 0; step < roll.low.size(); ++step) held = std::max(held, roll.high[step] - roll.low[step]);
    plan->buffers[b].rows = held;
    group.rolls.push_back(std::move(roll));
  }
}

}  // namespace unetq
