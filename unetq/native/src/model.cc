#include "model.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>

#include "gguf.h"
#include "verify.h"

namespace unetq {

// The file is read, not mapped. A mapped file that is truncated or overwritten later would kill the process (SIGBUS) or
// change codes behind the verifier's back, and mapping would save nothing: the content hash touches every page anyway,
// and the weights are used whole.
struct Bytes {
  static constexpr std::align_val_t kAlign{64};
  uint8_t* const data;
  explicit Bytes(size_t size) : data(static_cast<uint8_t*>(::operator new(size, kAlign))) {}
  ~Bytes() { ::operator delete(data, kAlign); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
};

namespace {

constexpr uintmax_t kMaxFileBytes = uintmax_t{4} << 30;

Status open_owned(std::shared_ptr<const Bytes> bytes, size_t size, bool verify_hash, Model* model) {
  GgufFile file;
  if (Status status = parse_gguf(bytes->data, size, &file); !status.ok) return status;
  Model made;
  if (Status status = verify_model(bytes->data, size, verify_hash, std::move(file), &made); !status.ok) return status;
  made.bytes = std::move(bytes);
  *model = std::move(made);
  return Status::fine();
}

Status read_file(const std::string& path, std::shared_ptr<const Bytes>* bytes, size_t* size) {
  std::error_code error;
  const std::filesystem::file_status kind = std::filesystem::status(path, error);
  if (!std::filesystem::exists(kind)) return Status::fail("There is no such model file; check the path.");
  if (!std::filesystem::is_regular_file(kind)) {
    return Status::fail("This is not a file; give the path of a model file.");
  }
  const uintmax_t length = std::filesystem::file_size(path, error);
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream) return Status::fail("The model file cannot be read; check its permissions.");
  // The header first, so that a huge file of another kind costs nothing.
  char header[kGgufHeaderBytes];
  stream.read(header, sizeof(header));
  const size_t got = static_cast<size_t>(stream.gcount());
  if (Status status = check_gguf_header(reinterpret_cast<const uint8_t*>(header), got); !status.ok) return status;
  if (length < got || length > kMaxFileBytes) {
    return Status::fail("The model file is larger than 4 GiB; export a smaller network.");
  }
  auto made = std::make_shared<Bytes>(static_cast<size_t>(length));
  std::memcpy(made->data, header, got);
  const std::streamsize rest = static_cast<std::streamsize>(length - got);
  if (!stream.read(reinterpret_cast<char*>(made->data) + got, rest)) {
    return Status::fail("The model file could not be read to its end; copy it again.");
  }
  *bytes = std::move(made);
  *size = static_cast<size_t>(length);
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

Status open_model(const std::string& path, bool verify_hash, Model* model) {
  Status status = guarded([&] {
    std::shared_ptr<const Bytes> bytes;
    size_t size = 0;
    Status read = read_file(path, &bytes, &size);
    return read.ok ? open_owned(std::move(bytes), size, verify_hash, model) : read;
  });
  if (!status.ok) status.message = path + ": " + status.message;
  return status;
}

Status open_model_bytes(const uint8_t* data, size_t size, bool verify_hash, Model* model) {
  return guarded([&] {
    if (Status status = check_gguf_header(data, size); !status.ok) return status;
    auto bytes = std::make_shared<Bytes>(size);
    std::memcpy(bytes->data, data, size);
    return open_owned(std::move(bytes), size, verify_hash, model);
  });
}

}  // namespace unetq
