/* C interface of the unetq runtime. No exception leaves it: a call that fails returns a code and keeps a sentence.
 * Any thread may call anything: models share nothing, calls of one model wait for each other. A whole program is
 * docs/examples/segment.c.
 */
#ifndef UNETQ_RUNTIME_H
#define UNETQ_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define UNETQ_API __declspec(dllexport)
#else
#define UNETQ_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct unetq_model unetq_model;

typedef enum {
  UNETQ_OK = 0,
  UNETQ_BAD_ARGUMENT = 1, /* a null pointer, or an image that cannot be run */
  UNETQ_BAD_MODEL = 2,    /* no file, no model file, or a model that was changed */
  UNETQ_FAILED = 3        /* no memory for the call itself, or a fault of the runtime */
} unetq_code;

typedef struct {
  int32_t in_channels, out_channels;
  int32_t threads;
  const char* isa;          /* lives as long as the process */
  const char* content_hash; /* SHA-256, hexadecimal; lives as long as the model */
  uint64_t weights_bytes;   /* packed weights and their scales */
} unetq_info_t;

/* Opens and verifies a model file. threads: 0 = one a physical core. verify_hash: also compare the content hash. */
UNETQ_API unetq_code unetq_open(const char* path, int32_t threads, int32_t verify_hash, unetq_model** model);

/* Frees the model; null is allowed. */
UNETQ_API void unetq_close(unetq_model* model);

/* image: float32 [channels][height][width]; logits: float32 [out_channels][height][width], both of the caller.
 * Several threads may call it for one model; they wait for each other. */
UNETQ_API unetq_code unetq_run(unetq_model* model, const float* image, int32_t channels, int32_t height, int32_t width,
                               float* logits);

/* What a run may take for its tensors and expanded weights, image and logits apart; 0, the default, is no limit. An
 * image that does not fit has its skips packed at their own bits, then runs in lower strips, with the same logits; one
 * that does not fit then is refused, with a sentence. */
UNETQ_API unetq_code unetq_limit_memory(unetq_model* model, uint64_t bytes);

/* What unetq_run would take for an image of this size, within the limit; it also refuses what unetq_run would refuse.
 */
UNETQ_API unetq_code unetq_memory(const unetq_model* model, int32_t height, int32_t width, uint64_t* bytes);

UNETQ_API unetq_code unetq_info(const unetq_model* model, unetq_info_t* info);

/* Why the last call of this thread failed: one sentence, until the thread's next call. */
UNETQ_API const char* unetq_last_error(void);

#ifdef __cplusplus
}
#endif

#endif /* UNETQ_RUNTIME_H */
