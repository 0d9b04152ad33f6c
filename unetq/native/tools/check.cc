#include "check.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "../src/cpu.h"
#include "../src/self_test.h"
#include "../src/sha256.h"
#include "study.h"
#include "text.h"

namespace unetq {

namespace {

constexpr int kCases = 40;  // random ones a kernel; its extremes come on top

// Of the running file itself: which build said so.
std::string program_hash() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  Sha256 hash;
  std::array<char, 65536> bytes;
  while (file.read(bytes.data(), bytes.size()), file.gcount() > 0) {
    hash.update(bytes.data(), static_cast<size_t>(file.gcount()));
  }
  return hash.hex();
}

// "Cortex-A72" where the system names it, else the numbers of maker and part (0x41 0xd08), or the architecture.
std::string cpu_name() {
  std::string name, maker, part;
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.rfind("model name", 0) == 0) name = value;
    if (line.rfind("CPU implementer", 0) == 0) maker = value;
    if (line.rfind("CPU part", 0) == 0) part = value;
  }
  if (name.empty() && !part.empty()) name = "maker " + maker + ", part " + part;
  return name.empty() ? "unknown" : name;
}

std::string now() {
  char text[32];
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

const char* verdict_of(const RowResult& row) {
  if (row.cases == 0 && row.failure.empty()) return "not on this CPU";
  return row.failure.empty() ? "equal" : "DIFFERS";
}

void print_row(const RowResult& row) {
  std::printf("%-42s %-15s %5d cases  %s\n", row.kernel->name, isa_name(row.kernel->isa), row.cases, verdict_of(row));
  if (!row.failure.empty()) std::printf("  %s\n", row.failure.c_str());
  std::fflush(stdout);  // a kernel that kills the program is the one behind the last line
}

std::vector<std::pair<std::string, std::string>> circumstances() {
  utsname system{};
  uname(&system);
  std::string isas;
  for (Isa isa : available_isas()) isas += (isas.empty() ? "" : " ") + std::string(isa_name(isa));
  return {{"time", now()},
          {"machine", std::string(system.machine) + ", " + system.sysname + " " + system.release},
          {"cpu", cpu_name()},
          {"instruction_sets", isas},
          {"program_sha256", program_hash()}};
}

void print_json(const std::vector<RowResult>& rows, bool passed) {
  std::printf("{\n \"passed\": %s,\n", passed ? "true" : "false");
  for (const auto& [key, value] : circumstances()) std::printf(" \"%s\": %s,\n", key.c_str(), quoted(value).c_str());
  std::printf(" \"kernels\": [");
  for (size_t i = 0; i < rows.size(); ++i) {
    std::printf("%s\n  {\"name\": %s, \"isa\": \"%s\", \"cases\": %d, \"verdict\": \"%s\", \"failure\": %s}",
                i > 0 ? "," : "", quoted(rows[i].kernel->name).c_str(), isa_name(rows[i].kernel->isa), rows[i].cases,
                verdict_of(rows[i]), quoted(rows[i].failure).c_str());
  }
  std::printf("\n ]\n}\n");
}

}  // namespace

bool check_kernels(bool json) {
  const auto print = [](const RowResult& row) { print_row(row); };
  const std::vector<RowResult> rows = json ? self_test(kCases) : self_test(kCases, print);
  int cases = 0, equal = 0, different = 0, absent = 0;
  for (const RowResult& row : rows) {
    cases += row.cases;
    const bool failed = !row.failure.empty();
    ++(failed ? different : row.cases == 0 ? absent : equal);
  }
  const bool passed = different == 0 && equal > 0;
  if (json) {
    print_json(rows, passed);
    return passed;
  }
  for (const auto& [key, value] : circumstances()) std::printf("%-17s %s\n", key.c_str(), value.c_str());
  std::printf("%s: %d kernels equal the scalar reference bit for bit in %d cases, %d differ, %d are for other CPUs.\n",
              passed ? "PASSED" : "FAILED", equal, cases, different, absent);
  return passed;
}

}  // namespace unetq
