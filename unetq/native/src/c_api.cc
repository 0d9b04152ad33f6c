#include <exception>
#include <memory>
#include <new>
#include <string>

#include "cpu.h"
#include "execute.h"
#include "unetq/runtime.h"

struct unetq_model {
  std::unique_ptr<unetq::Session> session;
};

namespace {

thread_local std::string last_error;

unetq_code fail(unetq_code code, const char* message) noexcept {
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error.clear();  // the code has to do
  }
  return code;
}

// Turns whatever a call throws into a code.
template <typename Call>
unetq_code guarded(const Call& call) noexcept {
  try {
    last_error.clear();
    return call();
  } catch (const std::bad_alloc&) {
    return fail(UNETQ_FAILED, "There is not enough memory; use smaller tiles.");
  } catch (const std::exception& error) {
    return fail(UNETQ_FAILED, error.what());
  } catch (...) {
    return fail(UNETQ_FAILED, "The runtime failed for a reason that it does not know; please report this.");
  }
}

}  // namespace

unetq_code unetq_open(const char* path, int32_t threads, int32_t verify_hash, unetq_model** model) {
  return guarded([&] {
    if (path == nullptr || model == nullptr) return fail(UNETQ_BAD_ARGUMENT, "unetq_open got a null pointer.");
    *model = nullptr;
    auto made = std::make_unique<unetq_model>();
    const unetq::Status status = unetq::Session::open(path, threads, verify_hash != 0, &made->session);
    if (!status.ok) return fail(UNETQ_BAD_MODEL, status.message.c_str());
    *model = made.release();
    return UNETQ_OK;
  });
}

void unetq_close(unetq_model* model) { delete model; }

unetq_code unetq_run(unetq_model* model, const float* image, int32_t channels, int32_t height, int32_t width,
                     float* logits) {
  return guarded([&] {
    if (model == nullptr || image == nullptr || logits == nullptr) {
      return fail(UNETQ_BAD_ARGUMENT, "unetq_run got a null pointer.");
    }
    const unetq::Status status = model->session->run(image, {channels, height, width}, logits);
    return status.ok ? UNETQ_OK : fail(UNETQ_BAD_ARGUMENT, status.message.c_str());
  });
}

unetq_code unetq_limit_memory(unetq_model* model, uint64_t bytes) {
  return guarded([&] {
    if (model == nullptr) return fail(UNETQ_BAD_ARGUMENT, "unetq_limit_memory got a null pointer.");
    model->session->limit_memory(bytes);
    return UNETQ_OK;
  });
}

unetq_code unetq_memory(const unetq_model* model, int32_t height, int32_t width, uint64_t* bytes) {
  return guarded([&] {
    if (model == nullptr || bytes == nullptr) return fail(UNETQ_BAD_ARGUMENT, "unetq_memory got a null pointer.");
    unetq::Plan plan;
    const unetq::Status status = model->session->plan({height, width}, &plan);
    if (!status.ok) return fail(UNETQ_BAD_ARGUMENT, status.message.c_str());
    *bytes = model->session->bytes_of(plan);
    return UNETQ_OK;
  });
}

unetq_code unetq_info(const unetq_model* model, unetq_info_t* info) {
  return guarded([&] {
    if (model == nullptr || info == nullptr) return fail(UNETQ_BAD_ARGUMENT, "unetq_info got a null pointer.");
    const unetq::Session& session = *model->session;
    info->in_channels = session.in_channels();
    info->out_channels = session.out_channels();
    info->threads = session.threads();
    info->isa = unetq::isa_name(session.isa());
    info->content_hash = session.model().hash.c_str();
    info->weights_bytes = session.weights_bytes();
    return UNETQ_OK;
  });
}

const char* unetq_last_error(void) { return last_error.c_str(); }
