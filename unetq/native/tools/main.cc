// unetq-run: the standalone command. A study in, a mask of its geometry out, without Python.
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#include "../src/cpu.h"
#include "../src/tune.h"
#include "check.h"
#include "files.h"
#include "memory.h"
#include "segment.h"
#include "text.h"

namespace {

using namespace unetq;  // NOLINT(google-build-using-namespace): this file is the program

constexpr const char* kUsage =
    "unetq-run MODEL IN OUT [--threads N] [--tile PIXELS] [--spacing MM] [--max-memory SIZE] [--tune] [--json]\n"
    "unetq-run --self-test [--json]\n"
    "\n"
    "Segments a study: IN and OUT are .nii, .nii.gz, .npy or .pgm, both of one kind; OUT gets the geometry of IN.\n"
    "\n"
    "  --threads N        threads; 0 (the default) = the physical cores\n"
    "  --tile PIXELS      side of a tile, in place of the model's own\n"
    "  --spacing MM       mm of a pixel in a slice, in place of what the file says\n"
    "  --max-memory SIZE  what the process may take, like 256M or 1G; the mask stays the same, or it refuses\n"
    "  --tune             time the kernels first; this run and later ones of its size and threads take the fastest\n"
    "  --self-test        checks every kernel on this CPU against the reference; exit code 1 where one differs\n"
    "  --json             the result as JSON on standard output; progress and errors are on standard error\n";

struct Options {
  std::string model, in, out;
  long threads = 0, tile = 0;
  double spacing = 0;
  uint64_t max_memory = 0;  // 0: no limit
  bool json = false, help = false, self_test = false, tune = false;
};

long whole_number(const std::string& name, const char* text) {
  char* end = nullptr;
  const long value = text == nullptr ? -1 : std::strtol(text, &end, 10);
  if (text == nullptr || *text == 0 || *end != 0 || value < 0) throw Refusal(name + " needs a whole number from 0 up.");
  return value;
}

double millimetres(const char* text) {
  char* end = nullptr;
  const double value = text == nullptr ? 0 : std::strtod(text, &end);
  if (text == nullptr || *end != 0 || !(value > 0 && std::isfinite(value))) {
    throw Refusal("--spacing needs a number of mm above 0.");
  }
  return value;
}

// "256M" in bytes.
uint64_t bytes_of(const char* text) {
  char* end = nullptr;
  const double value = text == nullptr ? 0 : std::strtod(text, &end);
  const std::string unit = end != nullptr && value > 0 && value < 1e9 ? lower(end) : "";
  const int shift = unit == "k" ? 10 : unit == "m" ? 20 : unit == "g" ? 30 : 0;
  if (shift == 0) throw Refusal("--max-memory needs a size like 256M or 1G.");
  return static_cast<uint64_t>(value * static_cast<double>(uint64_t{1} << shift));
}

Options parse(int argc, char** argv) {
  Options options;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* next = i + 1 < argc ? argv[i + 1] : nullptr;
    if (word == "--json") {
      options.json = true;
    } else if (word == "--help") {
      options.help = true;
    } else if (word == "--self-test") {
      options.self_test = true;
    } else if (word == "--tune") {
      options.tune = true;
    } else if (word == "--threads") {
      options.threads = whole_number(word, next);
      ++i;
    } else if (word == "--tile") {
      options.tile = whole_number(word, next);
      ++i;
    } else if (word == "--spacing") {
      options.spacing = millimetres(next);
      ++i;
    } else if (word == "--max-memory") {
      options.max_memory = bytes_of(next);
      ++i;
    } else if (word.size() > 1 && word[0] == '-') {
      throw Refusal("Unknown option " + word + "; unetq-run --help lists them.");
    } else {
      names.push_back(word);
    }
  }
  if (options.help) return options;
  if (options.self_test && names.empty()) return options;
  if (names.size() != 3) throw Refusal("Give a model, an input and an output: unetq-run MODEL IN OUT.");
  options.model = names[0];
  options.in = names[1];
  options.out = names[2];
  return options;
}

void check_output(const std::string& in, const std::string& out) {
  namespace fs = std::filesystem;
  if (format_of(in) != format_of(out)) {
    throw Refusal("The mask of " + in + " cannot be written to " + out + ": name a file of the same kind.");
  }
  std::error_code error;
  const fs::path folder = fs::path(out).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, error)) {
    throw Refusal("There is no folder " + folder.string() + " for " + out + ": make it first.");
  }
  if (fs::is_directory(out, error)) throw Refusal("Cannot write " + out + ": it is a folder.");
  if (fs::equivalent(in, out, error)) {
    throw Refusal("The output " + out + " is the input itself: name another file, or the study would be lost.");
  }
}

void show_progress(const char* what, int64_t done, int64_t total) {
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r%s %lld of %lld%s", what, static_cast<long long>(done), static_cast<long long>(total),
                 done == total ? "\n" : "");
  } else if (done == total || done * 10 / total != (done - 1) * 10 / total) {
    std::fprintf(stderr, "%s %lld of %lld\n", what, static_cast<long long>(done), static_cast<long long>(total));
  }
}

struct Report {
  double seconds = 0;
  uint64_t peak = 0;
  std::vector<int64_t> voxels;  // by label
  std::vector<double> layers;   // seconds of each operation, over all tiles
};

void print_json(const Options& options, const Session& session, const Report& report) {
  std::printf("{\n \"input\": %s,\n \"output\": %s,\n \"seconds\": %.3f,\n \"peak_rss_bytes\": %llu,\n",
              quoted(options.in).c_str(), quoted(options.out).c_str(), report.seconds,
              static_cast<unsigned long long>(report.peak));
  std::printf(" \"voxels_per_label\": {");
  for (size_t k = 1; k < report.voxels.size(); ++k) {
    std::printf("%s\"%zu\": %lld", k > 1 ? ", " : "", k, static_cast<long long>(report.voxels[k]));
  }
  std::printf("},\n \"isa\": %s,\n \"threads\": %d,\n \"layers\": [", quoted(isa_name(session.isa())).c_str(),
              session.threads());
  for (size_t i = 0; i < report.layers.size(); ++i) {
    std::printf("%s\n  {\"name\": %s, \"kernel\": %s, \"ms\": %.3f}", i > 0 ? "," : "",
                quoted(session.model().ops[i].name).c_str(), quoted(session.kernel_name(i)).c_str(),
                report.layers[i] * 1e3);
  }
  std::printf("\n ]\n}\n");
}

void print_text(const Options& options, const Report& report) {
  std::fprintf(stderr, "%s: %.1f s, peak memory %.1f MiB", options.out.c_str(), report.seconds,
               static_cast<double>(report.peak) / (1 << 20));
  for (size_t k = 1; k < report.voxels.size(); ++k) {
    std::fprintf(stderr, ", label %zu: %lld voxels", k, static_cast<long long>(report.voxels[k]));
  }
  std::fprintf(stderr, "\n");
}

std::unique_ptr<Session> open(const Options& options) {
  std::unique_ptr<Session> session;
  if (options.threads > 256) throw Refusal("--threads is at most 256.");
  const Status status = Session::open(options.model, static_cast<int>(options.threads), true, &session);
  if (!status.ok) throw Refusal(status.message);
  if (session->in_channels() != 1) {
    throw Refusal(options.model + " wants " + std::to_string(session->in_channels()) +
                  " channels, but an image file holds one.");
  }
  if (session->out_channels() > 256) throw Refusal(options.model + " has more classes than a mask can tell apart.");
  return session;
}

Prep preparation(const Options& options, const Model& model) {
  Prep prep = prep_of(model);
  int level = 0;
  for (const Tensor& tensor : model.tensors) level = std::max(level, tensor.level);
  if (options.tile > 16384) throw Refusal("--tile is at most 16384 pixels.");
  if (options.tile > 0) prep.tile = static_cast<int>(options.tile);
  if (prep.tile % (1 << level) != 0) {
    throw Refusal("The tile of " + std::to_string(prep.tile) + " pixels does not fit this network: use a multiple of " +
                  std::to_string(1 << level) + ".");
  }
  return prep;
}

void tune_to(const Study& study, const Job& job) {
  const std::string path = default_timings_path();
  if (path.empty()) {
    throw Refusal("--tune has no place for its times: set HOME or XDG_CACHE_HOME, or name a file in UNETQ_TIMINGS.");
  }
  std::string why;
  read_timings(path, &why);
  if (!why.empty()) std::fprintf(stderr, "%s %s and begins anew\n", path.c_str(), why.c_str());
  Tuned tuned;
  const TuneProgress progress = [](int done, int total) { show_progress("timing run", done, total); };
  Status status = tune(job.session, tile_size(study, job), progress, &tuned);
  if (status.ok) status = add_timings(path, tuned.timings);
  if (!status.ok) throw Refusal(status.message);
}

void run(const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  check_output(options.in, options.out);
  const std::unique_ptr<Session> session = open(options);
  Report report;
  report.layers.resize(session->model().ops.size());
  Job job;
  job.session = session.get();
  job.prep = preparation(options, session->model());
  job.on_tile = [](int64_t done, int64_t total) { show_progress("tile", done, total); };
  job.on_layer = [&](size_t op, double seconds) { report.layers[op] += seconds; };
  if (options.max_memory > 0) session->drop_weights();  // all were read to be verified
  Study study = read_study(options.in, room_for_study(options.max_memory));
  if (options.spacing > 0) {
    study.spacing[0] = study.spacing[1] = options.spacing;
    study.knows_spacing = true;
  }
  fit_memory(study, job, options.max_memory);
  if (options.tune) tune_to(study, job);
  const std::unique_ptr<uint8_t[]> mask = segment(study, job);
  write_mask(mask.get(), study, options.out);
  report.voxels.resize(static_cast<size_t>(std::max(2, session->out_channels())));
  for (int64_t i = 0; i < study.count(); ++i) ++report.voxels[mask[static_cast<size_t>(i)]];
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report.peak = proc_bytes("/proc/self/status", "VmHWM:");
  if (options.json) {
    print_json(options, *session, report);
  } else {
    print_text(options, report);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    if (options.help) {
      std::fputs(kUsage, stdout);
    } else if (options.self_test) {
      if (!check_kernels(options.json)) return 1;
    } else {
      run(options);
    }
    return std::fflush(stdout) == 0 ? 0 : 2;
  } catch (const std::bad_alloc&) {
    std::fputs("There is not enough memory; use a smaller --tile.\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 2;
}
