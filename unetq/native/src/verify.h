// From a parsed file to a Model that keeps the promises of model.h.
#pragma once

#include "gguf.h"

namespace unetq {

// `data` is the whole file, aligned to 64 bytes; the model points into it. Fills all of `model` but `bytes`.
Status verify_model(const uint8_t* data, size_t size, bool verify_hash, GgufFile file, Model* model);

}  // namespace unetq
