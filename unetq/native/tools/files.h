// Reading and writing of plain and gzip files, with every error a sentence.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "study.h"

namespace unetq {

bool ends_with(const std::string& text, const std::string& end);
std::string lower(std::string text);

class Input {
 public:
  // `most_memory`: bytes that its contents may take once read.
  explicit Input(const std::string& path, uint64_t most_memory);
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  // All bytes, or a refusal of a file that is shorter.
  void read(void* to, size_t bytes);
  // Up to `bytes`; fewer at the end.
  size_t read_some(void* to, size_t bytes);
  // Reads on to the end: gzip's check sum comes last.
  void finish();
  // No file of this length can hold more.
  uint64_t most_bytes() const { return most_; }
  uint64_t most_memory() const { return most_memory_; }
  [[noreturn]] void damaged() const;

 private:
  const std::string path_;
  const bool packed_;
  const uint64_t most_memory_;
  std::FILE* file_ = nullptr;
  gzFile gz_ = nullptr;
  uint64_t most_ = 0;
};

// Writes under a temporary name in the same folder; commit() gives it its own.
class Output {
 public:
  explicit Output(const std::string& path);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(const void* from, size_t bytes);
  void commit();

 private:
  [[noreturn]] void fail() const;

  const std::string path_;
  std::string temporary_;
  std::FILE* file_ = nullptr;
  gzFile gz_ = nullptr;
};

}  // namespace unetq
