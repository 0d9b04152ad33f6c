#include "memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace unetq {

namespace {

// Pages of the program that are touched later, stacks, rows of a slice and what zlib takes to write.
constexpr uint64_t kReserve = uint64_t{1} << 20;
constexpr int kLeastTile = 32;

std::string mebibytes(uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

uint64_t held() { return proc_bytes("/proc/self/status", "VmRSS:") + kReserve; }

int stride_of(const Model& model) {
  int level = 0;
  for (const Tensor& tensor : model.tensors) level = std::max(level, tensor.level);
  return 1 << level;
}

// "--tile 128 needs 40 MiB", or that no tile does.
std::string advice(const Study& study, Job job, uint64_t before, uint64_t allowed) {
  const int stride = stride_of(job.session->model());
  for (int tile = job.prep.tile / 2; tile >= kLeastTile; tile /= 2) {
    job.prep.tile = tile / stride * stride;
    if (job.prep.tile < kLeastTile) break;
    const Need need = needed_bytes(study, job);
    const uint64_t bytes = before + need.around + need.weights + need.least;
    if (bytes <= allowed) return "--tile " + std::to_string(job.prep.tile) + " needs " + mebibytes(bytes) + ".";
  }
  return "no tile is small enough; allow more, or cut the study.";
}

}  // namespace

uint64_t proc_bytes(const char* file, const char* name) {
  std::ifstream lines(file);
  const std::string wanted(name);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, wanted.size(), wanted) == 0) return std::stoull(line.substr(wanted.size())) << 10;
  }
  return 0;
}

uint64_t room_for_study(uint64_t allowed) {
  if (allowed == 0) return std::numeric_limits<uint64_t>::max();
  const uint64_t now = held();
  return allowed > now ? allowed - now : 0;
}

void fit_memory(const Study& study, const Job& job, uint64_t allowed) {
  const Need need = needed_bytes(study, job);
  if (allowed > 0) {
    job.session->drop_weights();
    const uint64_t before = held(), least = before + need.around + need.weights + need.least;
    if (least > allowed) {
      throw Refusal("The study needs " + mebibytes(least) + " of memory in tiles of " + std::to_string(job.prep.tile) +
                    " pixels, but --max-memory allows " + std::to_string(allowed >> 20) +
                    " MiB: " + advice(study, job, before, allowed));
    }
    job.session->limit_memory(allowed - before - need.around - need.weights);
  }
  const uint64_t free = proc_bytes("/proc/meminfo", "MemAvailable:");
  const uint64_t network = allowed > 0 ? need.least : need.network;
  if (free == 0 || need.around + network <= free) return;
  throw Refusal("The study needs " + mebibytes(need.around + network) + " of memory, but " +
                std::to_string(free >> 20) + " MiB are free: use a smaller --tile.");
}

}  // namespace unetq
