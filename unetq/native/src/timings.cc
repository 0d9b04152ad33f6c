#include "timings.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "cpu.h"
#include "sha256.h"

namespace unetq {

namespace {

namespace fs = std::filesystem;

constexpr const char* kTitle = "unetq timings 1";
// A few hundred layers take a few hundred KiB; what is longer is not ours, and is not read.
constexpr uintmax_t kMaxBytes = uintmax_t{4} << 20;
// Of an image in a key of the cache.
constexpr long kMaxSide = 999'999'999;
// A kernel has to win by this before it displaces the table's choice, which noise alone would otherwise do where two
// are as fast as each other, and the table's order has more measurements behind it.
constexpr double kMargin = 0.97;
// Times of a layer with so many times the pixels, or as few, are taken where there are none of its own size.
constexpr double kLikeSize = 4;

std::string sum_of(const std::string& text) {
  Sha256 sum;
  sum.update(text.data(), text.size());
  return sum.hex();
}

// The value behind "name : " in /proc/cpuinfo, of the first CPU that has it.
std::string cpuinfo(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, name.size(), name) != 0) continue;
    if (line.find_first_not_of(" \t", name.size()) != colon) continue;
    const size_t first = line.find_first_not_of(" \t", colon + 1);
    return first == std::string::npos ? "" : line.substr(first);
  }
  return "";
}

// Everything that decides what the kernels of this program are: a row that is new, gone or elsewhere changes it, and so
// does the compiler, which two builds on one machine need not share.
std::string build_name() {
  std::string rows;
  for (const Kernel& kernel : kernels()) rows += std::string(kernel.name) + "\n";
  return std::string(UNETQ_VERSION) + " " + sum_of(rows).substr(0, 16) + " " + __VERSION__;
}

std::string header() { return std::string(kTitle) + "\ncpu " + cpu_model() + "\nbuild " + build_name() + "\n"; }

const char* weights_name(WeightKind kind) {
  static constexpr const char* kNames[] = {"none", "twos", "ternary", "binary"};
  return kNames[static_cast<int>(kind)];
}

// The lines between header and sum; false where one is none of ours.
bool parse_layers(const std::string& text, Timings* timings) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, word;
    for (int i = 0; i < 7 && words >> word; ++i) key += (i > 0 ? " " : "") + word;
    std::map<std::string, double> row;
    for (double ms = 0; words >> word;) {
      if (!(words >> ms) || !(ms > 0)) return false;
      row[word] = ms;
    }
    if (row.empty()) return false;
    (*timings)[key] = std::move(row);
  }
  return true;
}

// Empty where there is no file, or none of a size that ours have.
std::string read_text(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kMaxBytes || error) return "";
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string text_of(const Timings& timings) {
  std::string text = header();
  for (const auto& [key, row] : timings) {
    text += key;
    for (const auto& [kernel, ms] : row) {
      char number[32];
      std::snprintf(number, sizeof(number), " %.6g", ms);
      text += " " + kernel + number;
    }
    text += '\n';
  }
  return text + "sum " + sum_of(text) + "\n";
}

// One writer at a time, where the file system can do that: by a lock on the folder, which leaves nothing behind.
class Lock {
 public:
  explicit Lock(const fs::path& folder) : file_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (file_ >= 0) flock(file_, LOCK_EX);
  }
  ~Lock() {
    if (file_ >= 0) close(file_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  const int file_;
};

// Under another name until it is whole.
bool replace_file(const fs::path& path, const std::string& text) {
  std::string temporary = path.string() + ".XXXXXX";
  const int file = mkstemp(temporary.data());
  if (file < 0) return false;
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = write(file, text.data() + done, text.size() - done);
    if (wrote <= 0) break;
    done += static_cast<size_t>(wrote);
  }
  const bool whole = done == text.size() && fsync(file) == 0;
  if (close(file) == 0 && whole && std::rename(temporary.c_str(), path.c_str()) == 0) return true;
  unlink(temporary.c_str());
  return false;
}

// What stands before the size in a key, and behind it.
std::string key_head(const Layer& layer) {
  static constexpr const char* kKinds[] = {"quantize", "conv",     "transposed", "maxpool",
                                           "nearest",  "bilinear", "concat"};
  const auto number = [](int value) { return std::to_string(value); };
  const std::string side = number(layer.side);
  return std::string(kKinds[static_cast<int>(layer.kind)]) + (layer.side > 0 ? side + "x" + side : "") + " w" +
         number(layer.wbits) + "a" + number(layer.abits) + " " + weights_name(layer.weights) + " " +
         number(layer.in_channels) + "/" + number(layer.in_pixel) +
         (layer.doubled > 0 ? "/" + number(layer.doubled) + "x2" : "") + ">" + number(layer.out_channels) + " ";
}

std::string key_tail(Isa isa, int threads) { return " " + std::string(isa_name(isa)) + " " + std::to_string(threads); }

// How many times as many pixels the larger of two sizes has, and as long rows: strips are cut by their length. 0: too
// far apart.
double distance(const Layer& layer, int height, int width) {
  const auto ratio = [](double a, double b) { return std::max(a, b) / std::min(a, b); };
  const double pixels = ratio(static_cast<double>(layer.height) * layer.width, static_cast<double>(height) * width);
  return pixels > kLikeSize ? 0 : pixels * ratio(layer.width, width);
}

}  // namespace

std::string layer_key(const Layer& layer, Isa isa, int threads) {
  return key_head(layer) + std::to_string(layer.height) + "x" + std::to_string(layer.width) + key_tail(isa, threads);
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::string name = cpuinfo(text, "model name");
  if (name.empty()) {  // an ARM core has numbers in place of a name
    for (const char* part : {"CPU implementer", "CPU variant", "CPU part"}) {
      name += (name.empty() ? "" : " ") + cpuinfo(text, part);
    }
  }
  utsname system = {};
  if (name.find_first_not_of(' ') == std::string::npos) name = uname(&system) == 0 ? system.machine : "unknown";
  return name;
}

std::string default_timings_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string given = variable("UNETQ_TIMINGS"), home = variable("HOME"), cache = variable("XDG_CACHE_HOME");
  if (!given.empty()) return given == "off" ? "" : given;
  // A home that several machines share has a file for each kind of them.
  const std::string name = "unetq/timings-" + sum_of(header()).substr(0, 12) + ".txt";
  if (!cache.empty() && cache[0] == '/') return cache + "/" + name;
  return home.empty() ? "" : home + "/.cache/" + name;
}

std::shared_ptr<const Timings> read_timings(const std::string& path, std::string* why) {
  auto timings = std::make_shared<Timings>();
  const std::string text = path.empty() ? "" : read_text(path), first = header();
  const size_t end = text.rfind("sum ");
  const auto none = [&](const char* reason) {
    if (why != nullptr) *why = reason;
    return std::make_shared<const Timings>();
  };
  if (text.empty()) return none("");
  if (end == std::string::npos || text.substr(end) != "sum " + sum_of(text.substr(0, end)) + "\n") {
    return none("was damaged");
  }
  if (text.compare(0, first.size(), first) != 0) return none("was of another CPU or another build of unetq");
  if (!parse_layers(text.substr(first.size(), end - first.size()), timings.get())) return none("was damaged");
  return timings;
}

Status add_timings(const std::string& path, const Timings& timings) {
  const fs::path place = path.empty() ? fs::path() : fs::absolute(path);
  std::error_code error;
  if (!path.empty()) fs::create_directories(place.parent_path(), error);
  if (path.empty() || error || fs::is_directory(place, error)) {
    return Status::fail(path.empty() ? "There is no place for the timings: name a file."
                                     : "The timings cannot be written to " + path + "; name another file.");
  }
  const Lock lock(place.parent_path());
  Timings all = *read_timings(path);
  for (const auto& [key, row] : timings) all[key] = row;
  if (!replace_file(place, text_of(all))) {
    return Status::fail("The timings cannot be written to " + path + "; check the folder's permissions.");
  }
  return Status::fine();
}

std::string nearest_key(const Timings& timings, const Layer& layer, Isa isa, int threads) {
  std::string best = layer_key(layer, isa, threads);
  if (timings.count(best) > 0) return best;
  best.clear();
  const std::string head = key_head(layer), tail = key_tail(isa, threads);
  double least = 0;
  for (auto at = timings.lower_bound(head); at != timings.end() && at->first.compare(0, head.size(), head) == 0; ++at) {
    const std::string& key = at->first;
    char* rest = nullptr;
    const long height = std::strtol(key.c_str() + head.size(), &rest, 10);
    const long width = *rest == 'x' ? std::strtol(rest + 1, &rest, 10) : 0;
    if (height < 1 || height > kMaxSide || width < 1 || width > kMaxSide || rest != tail) continue;
    const double far = distance(layer, static_cast<int>(height), static_cast<int>(width));
    if (far == 0 || (!best.empty() && far >= least)) continue;
    best = key;
    least = far;
  }
  return best;
}

const Kernel* fastest(const Timings& timings, const std::string& key, const std::vector<const Kernel*>& rows) {
  const auto found = timings.find(key);
  if (found == timings.end()) return nullptr;
  const auto ms = [&](const Kernel* kernel) {
    const auto row = found->second.find(kernel->name);
    return row == found->second.end() ? 0.0 : row->second;
  };
  const Kernel* best = nullptr;
  for (const Kernel* kernel : rows) {
    if (ms(kernel) > 0 && (best == nullptr || ms(kernel) < ms(best))) best = kernel;
  }
  const double first = ms(rows.front());
  return first > 0 && ms(best) > kMargin * first ? rows.front() : best;
}

Chooser fastest_by(std::shared_ptr<const Timings> timings, Isa isa, int threads) {
  if (timings->empty()) return nullptr;
  return [timings = std::move(timings), isa, threads](const Layer& layer, const std::vector<const Kernel*>& rows) {
    return fastest(*timings, nearest_key(*timings, layer, isa, threads), rows);
  };
}

}  // namespace unetq
