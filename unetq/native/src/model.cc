#include "model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <new>

#include "gguf.h"
#include "verify.h"

namespace unetq {

// A file is mapped: its weights are used where they lie, and the system can drop and reload pages of them. Private and
// read-only, so a file that is replaced (unetq writes by rename) goes on as it was; one that is cut short while it is
// in use ends the process, as with every mapped file. Bytes that are handed over are copied.
struct Bytes {
  static constexpr std::align_val_t kAlign{64};
  const uint8_t* data = nullptr;
  size_t size = 0;
  bool mapped = false;

  Bytes(const uint8_t* from, size_t bytes) : size(bytes) {
    auto* copy = static_cast<uint8_t*>(::operator new(bytes, kAlign));
    std::memcpy(copy, from, bytes);
    data = copy;
  }
  // Null data where the system cannot map it.
  Bytes(int file, size_t bytes) : size(bytes), mapped(true) {
    void* const at = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
    if (at != MAP_FAILED) data = static_cast<const uint8_t*>(at);
  }
  ~Bytes() {
    if (mapped) {
      if (data != nullptr) munmap(const_cast<uint8_t*>(data), size);
    } else {
      ::operator delete(const_cast<uint8_t*>(data), kAlign);
    }
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
};

namespace {

constexpr uintmax_t kMaxFileBytes = uintmax_t{4} << 30;

Status open_owned(std::shared_ptr<const Bytes> bytes, bool verify_hash, Model* model) {
  const size_t size = bytes->size;
  GgufFile file;
  if (Status status = parse_gguf(bytes->data, size, &file); !status.ok) return status;
  Model made;
  if (Status status = verify_model(bytes->data, size, verify_hash, std::move(file), &made); !status.ok) return status;
  made.bytes = std::move(bytes);
  *model = std::move(made);
  return Status::fine();
}

// An open file, closed at the end.
struct File {
  const int number;
  explicit File(const std::string& path) : number(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (number >= 0) close(number);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
};

Status map_file(const std::string& path, std::shared_ptr<const Bytes>* bytes) {
  std::error_code error;
  const std::filesystem::file_status kind = std::filesystem::status(path, error);
  if (!std::filesystem::exists(kind)) return Status::fail("There is no such model file; check the path.");
  if (!std::filesystem::is_regular_file(kind)) {
    return Status::fail("This is not a file; give the path of a model file.");
  }
  const File file(path);
  struct stat about = {};
  uint8_t header[kGgufHeaderBytes];
  const ssize_t got = file.number < 0 ? -1 : pread(file.number, header, sizeof(header), 0);
  if (got < 0 || fstat(file.number, &about) != 0) {
    return Status::fail("The model file cannot be read; check its permissions.");
  }
  // The header first, so that a huge file of another kind costs nothing.
  if (Status status = check_gguf_header(header, static_cast<size_t>(got)); !status.ok) return status;
  if (static_cast<uintmax_t>(about.st_size) > kMaxFileBytes) {
    return Status::fail("The model file is larger than 4 GiB; export a smaller network.");
  }
  auto made = std::make_shared<Bytes>(file.number, static_cast<size_t>(about.st_size));
  if (made->data == nullptr) {
    return Status::fail("The model file cannot be mapped into memory; copy it to a local disk.");
  }
  *bytes = std::move(made);
  return Status::fine();
}

// No exception leaves this file; what can throw is the allocation of what the file asks for.
template <typename F>
Status guarded(F body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Status::fail("There is not enough memory for the model; close other programs.");
  } catch (const std::exception& error) {
    return Status::fail(std::string("The model could not be opened: ") + error.what() + ".");
  }
}

}  // namespace

int Tensor::lo() const {
  if (kind == TensorKind::kSigned) return -(1 << (bits - 1));
  return kind == TensorKind::kTernary ? -1 : 0;
}

int Tensor::hi() const {
  switch (kind) {
    case TensorKind::kUnsigned:
      return (1 << bits) - 1;
    case TensorKind::kSigned:
      return (1 << (bits - 1)) - 1;
    case TensorKind::kTernary:
      return 1;
    case TensorKind::kFloat:
      break;
  }
  return 0;
}

int Tensor::zero() const { return -lo(); }

void drop_pages(const Model& model) {
  const Bytes& bytes = *model.bytes;
  if (bytes.mapped) madvise(const_cast<uint8_t*>(bytes.data), bytes.size, MADV_DONTNEED);
}

Status open_model(const std::string& path, bool verify_hash, Model* model) {
  Status status = guarded([&] {
    std::shared_ptr<const Bytes> bytes;
    Status mapped = map_file(path, &bytes);
    return mapped.ok ? open_owned(std::move(bytes), verify_hash, model) : mapped;
  });
  if (!status.ok) status.message = path + ": " + status.message;
  return status;
}

Status open_model_bytes(const uint8_t* data, size_t size, bool verify_hash, Model* model) {
  return guarded([&] {
    if (Status status = check_gguf_header(data, size); !status.ok) return status;
    return open_owned(std::make_shared<Bytes>(data, size), verify_hash, model);
  });
}

}  // namespace unetq
