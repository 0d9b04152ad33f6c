#include "tune.h"

#include <algorithm>
#include <cmath>

namespace unetq {

namespace {

constexpr int kScreenings = 3, kRounds = 11;
// What took this many times as long as the fastest when both were screened is not timed any further.
constexpr double kHopeless = 1.5;

// Other programs, interrupts and the clock's steps only ever add to a time, and on a shared machine to most of them. So
// the mean says how busy the machine was, and so does the median once half of the samples are disturbed. The minimum is
// no better: it is the one run that found caches and clock as no other did, and it goes on falling with the number of
// samples, of which candidates have different numbers. The lower quartile bears three disturbed samples of four and
// still rests on more than one.
double lower_quartile(std::vector<double> samples) {
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>((samples.size() - 1) / 4);
  std::nth_element(samples.begin(), at, samples.end());
  return *at;
}

struct Candidate {
  const Kernel* kernel;
  std::vector<double> ms;
};

struct Race {
  Layer layer;
  std::vector<const Kernel*> rows;
  std::vector<Candidate> candidates;
  std::vector<size_t> active;  // of the candidates
};

// Every run of the network is a sample of one candidate of each operation at once: candidates are interleaved, and each
// meets the caches, strips and neighbours that it has in use.
class Tuner {
 public:
  Tuner(Session* session, ImageSize size, const TuneProgress& progress)
      : session_(*session), size_(size), progress_(progress) {}

  Status run(Tuned* tuned) {
    if (Status status = enter(); !status.ok) return status;
    size_t most = 1;
    for (const Race& race : races_) most = std::max(most, race.candidates.size());
    const int screenings = kScreenings * static_cast<int>(most);
    total_ = screenings + kRounds * static_cast<int>(most);
    if (Status status = rounds(screenings); !status.ok) return status;
    most = 1;
    for (Race& race : races_) most = std::max(most, drop_hopeless(&race));
    total_ = screenings + kRounds * static_cast<int>(most);
    if (Status status = rounds(kRounds * static_cast<int>(most)); !status.ok) return status;
    conclude(tuned);
    return Status::fine();
  }

 private:
  Status enter() {
    session_.choose_by([this](const Layer& layer, const std::vector<const Kernel*>& rows) {
      // Under a memory limit several plans are made, of the same operations.
      for (const Race& race : races_) {
        if (race.layer.op == layer.op) return static_cast<const Kernel*>(nullptr);
      }
      Race race = {layer, rows, {}, {}};
      for (const Kernel* kernel : rows) {
        // The scalar rows are the definition, not a contender: where another one fits they only cost time.
        if (kernel->isa == Isa::kScalar && rows.front()->isa != Isa::kScalar) continue;
        race.active.push_back(race.candidates.size());
        race.candidates.push_back({kernel, {}});
      }
      races_.push_back(std::move(race));
      return static_cast<const Kernel*>(nullptr);
    });
    Plan plan;
    PlanSize size = {size_.height, size_.width};
    size.streams = true;
    return session_.plan(size, &plan);
  }

  // Any numbers will do: no kernel's time depends on them.
  void fill(float* image) const {
    const size_t pixels = static_cast<size_t>(size_.channels) * size_.height * size_.width;
    for (size_t i = 0; i < pixels; ++i) image[i] = static_cast<float>(i * 2654435761u >> 7 & 255) / 64.0f - 2.0f;
  }

  Status rounds(int count) {
    const Stream stream = {[this](float* image) { fill(image); }, [](const LogitRows&) {}};
    for (int round = 0; round < count; ++round) {
      session_.choose_by(
          [&](const Layer& layer, const std::vector<const Kernel*>&) { return candidate(layer.op, round)->kernel; });
      const auto note = [&](size_t op, double seconds) {
        if (Candidate* one = candidate(op, round); one != nullptr) one->ms.push_back(1e3 * seconds);
      };
      if (Status status = session_.run(stream, size_, {note}); !status.ok) return status;
      progress_(++done_, total_);
    }
    return Status::fine();
  }

  // Of a round; null for an operation without a kernel.
  Candidate* candidate(size_t op, int round) {
    const auto race = std::find_if(races_.begin(), races_.end(), [&](const Race& each) { return each.layer.op == op; });
    if (race == races_.end()) return nullptr;
    return &race->candidates[race->active[static_cast<size_t>(round) % race->active.size()]];
  }

  static size_t drop_hopeless(Race* race) {
    const auto best = [](const Candidate& one) { return *std::min_element(one.ms.begin(), one.ms.end()); };
    double limit = HUGE_VAL;
    for (const Candidate& one : race->candidates) limit = std::min(limit, kHopeless * best(one));
    std::vector<size_t> left;
    for (size_t i : race->active) {
      if (best(race->candidates[i]) <= limit) left.push_back(i);
    }
    race->active = std::move(left);
    return race->active.size();
  }

  // Operations that are alike for the key share their samples.
  void conclude(Tuned* tuned) {
    std::map<std::string, std::map<std::string, std::vector<double>>> samples;
    for (const Race& race : races_) {
      auto& row = samples[key(race)];
      for (const Candidate& one : race.candidates) {
        std::vector<double>& all = row[one.kernel->name];
        all.insert(all.end(), one.ms.begin(), one.ms.end());
      }
    }
    // A clock that did not move says "at once", and a file holds times above 0.
    constexpr double kLeast = 1e-6;
    for (const auto& [name, row] : samples) {
      for (const auto& [kernel, ms] : row) tuned->timings[name][kernel] = std::max(kLeast, lower_quartile(ms));
    }
    for (const Race& race : races_) {
      TunedLayer layer = {race.layer.op, race.rows.front(), fastest(tuned->timings, key(race), race.rows), {}};
      for (const Candidate& one : race.candidates) {
        layer.ms.emplace_back(one.kernel, tuned->timings[key(race)][one.kernel->name]);
      }
      tuned->layers.push_back(std::move(layer));
    }
  }

  std::string key(const Race& race) const { return layer_key(race.layer, session_.isa(), session_.threads()); }

  Session& session_;
  const ImageSize size_;
  const TuneProgress& progress_;
  std::vector<Race> races_;
  int done_ = 0, total_ = 0;
};

}  // namespace

Status tune(Session* session, ImageSize size, const TuneProgress& progress, Tuned* tuned) {
  *tuned = {};
  // Whatever happens, no chooser that points into the tuner stays behind.
  struct Restore {
    Session* session;
    Chooser choose;
    ~Restore() { session->choose_by(choose); }
  } restore = {session, session->chooser()};
  const Status status = Tuner(session, size, progress).run(tuned);
  if (status.ok) {
    restore.choose = fastest_by(std::make_shared<const Timings>(tuned->timings), session->isa(), session->threads());
  }
  return status;
}

}  // namespace unetq
