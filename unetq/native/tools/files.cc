#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace unetq {

namespace {

constexpr size_t kChunk = size_t{1} << 20;  // fits zlib's int lengths
constexpr uint64_t kGzipRatio = 1040;       // no byte of DEFLATE makes more than 1032

}  // namespace

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

Input::Input(const std::string& path, uint64_t most_memory)
    : path_(path), packed_(ends_with(lower(path), ".gz")), most_memory_(most_memory) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) throw Refusal("There is no image file " + path + ".");
  const uintmax_t length = std::filesystem::file_size(path, error);
  file_ = std::fopen(path.c_str(), "rb");
  if (error || file_ == nullptr) throw Refusal("Cannot read " + path + ": " + std::strerror(errno) + ".");
  most_ = packed_ ? length * kGzipRatio : length;
  if (!packed_) return;
  gz_ = gzdopen(dup(fileno(file_)), "rb");
  std::fclose(file_);
  file_ = nullptr;
  if (gz_ == nullptr) throw std::bad_alloc();
  char first;
  // Whatever is no gzip file would be passed through as it is.
  if (gzread(gz_, &first, 1) != 1 || gzdirect(gz_) != 0 || gzrewind(gz_) != 0) {
    gzclose(gz_);
    damaged();
  }
}

Input::~Input() {
  if (file_ != nullptr) std::fclose(file_);
  if (gz_ != nullptr) gzclose(gz_);
}

void Input::damaged() const { throw Refusal(path_ + " is truncated or corrupt: copy it again from its source."); }

size_t Input::read_some(void* to, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    const size_t want = std::min(kChunk, bytes - done);
    uint8_t* const at = static_cast<uint8_t*>(to) + done;
    const int got =
        packed_ ? gzread(gz_, at, static_cast<unsigned>(want)) : static_cast<int>(std::fread(at, 1, want, file_));
    if (got < 0) damaged();
    done += static_cast<size_t>(got);
    if (static_cast<size_t>(got) < want) break;
  }
  return done;
}

void Input::read(void* to, size_t bytes) {
  if (read_some(to, bytes) != bytes) damaged();
}

void Input::finish() {
  if (!packed_) return;
  char rest[4096];
  while (read_some(rest, sizeof(rest)) == sizeof(rest)) {
  }
  int code = Z_OK;
  gzerror(gz_, &code);
  if (code != Z_OK && code != Z_STREAM_END) damaged();  // a file that was cut ends in Z_BUF_ERROR
}

Output::Output(const std::string& path) : path_(path) {
  const std::filesystem::path full(path);
  temporary_ = (full.parent_path() / ("." + std::to_string(getpid()) + "-" + full.filename().string())).string();
  const int file = open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (file < 0) {
    const std::string why = std::strerror(errno);
    temporary_.clear();
    throw Refusal("Cannot write " + path + ": " + why + ".");
  }
  if (ends_with(lower(path), ".gz")) {
    gz_ = gzdopen(dup(file), "wb6");
    close(file);
  } else {
    file_ = fdopen(file, "wb");
  }
  if (gz_ == nullptr && file_ == nullptr) fail();
}

Output::~Output() {
  if (file_ != nullptr) std::fclose(file_);
  if (gz_ != nullptr) gzclose(gz_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void Output::fail() const { throw Refusal("Cannot write " + path_ + ": " + std::strerror(errno) + "."); }

void Output::write(const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const size_t some = std::min(kChunk, bytes - done);
    const uint8_t* const at = static_cast<const uint8_t*>(from) + done;
    const size_t written = gz_ != nullptr
                               ? static_cast<size_t>(std::max(0, gzwrite(gz_, at, static_cast<unsigned>(some))))
                               : std::fwrite(at, 1, some, file_);
    if (written != some) fail();
    done += some;
  }
}

void Output::commit() {
  errno = 0;
  const bool flushed = gz_ != nullptr ? gzclose(gz_) == Z_OK : std::fclose(file_) == 0;
  gz_ = nullptr;
  file_ = nullptr;
  if (!flushed) fail();
  // A disk that fills up is noticed here, not after the rename.
  const int file = open(temporary_.c_str(), O_RDONLY | O_CLOEXEC);
  const bool kept = file >= 0 && fsync(file) == 0;
  if (file >= 0) close(file);
  if (!kept || std::rename(temporary_.c_str(), path_.c_str()) != 0) fail();
  temporary_.clear();
}

}  // namespace unetq
