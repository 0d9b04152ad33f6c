/* Two models in two threads, and one model in both: two_models MODEL MODEL. Each logit must be what one thread alone
 * gets, in less memory (packed skips, lower strips) as well, and a failure's sentence must stay in the thread that made
 * it. Also run under the sanitizers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unetq/runtime.h>

enum { kHeight = 137, kWidth = 41, kPixels = kHeight * kWidth, kRuns = 8 };

typedef struct {
  const char* path;
  unetq_model* shared;
  float *own, *common; /* logits of one thread alone: of the own model, of the shared one */
  int failures;
} job_t;

static void fill(float* image) {
  for (int i = 0; i < kPixels; ++i) image[i] = (float)(i * 37 % 101) / 16 - 3;
}

static float* run(unetq_model* model) {
  unetq_info_t info;
  float image[kPixels];
  fill(image);
  if (unetq_info(model, &info) != UNETQ_OK) return NULL;
  float* logits = calloc((size_t)info.out_channels * kPixels, sizeof(float));
  if (logits != NULL && unetq_run(model, image, 1, kHeight, kWidth, logits) == UNETQ_OK) return logits;
  free(logits);
  return NULL;
}

static int differs(unetq_model* model, const float* want) {
  unetq_info_t info;
  float* got = run(model);
  const int bad = got == NULL || unetq_info(model, &info) != UNETQ_OK ||
                  memcmp(got, want, (size_t)info.out_channels * kPixels * sizeof(float)) != 0;
  free(got);
  return bad;
}

static void* work(void* context) {
  job_t* job = context;
  for (int i = 0; i < kRuns; ++i) {
    unetq_model *model = NULL, *none = NULL;
    uint64_t bytes = 0;
    job->failures += unetq_open(job->path, 2, 1, &model) != UNETQ_OK || differs(model, job->own);
    job->failures += unetq_memory(model, kHeight, kWidth, &bytes) != UNETQ_OK ||
                     unetq_limit_memory(model, bytes - 1) != UNETQ_OK || differs(model, job->own);
    job->failures += unetq_open("no-such-model", 1, 1, &none) != UNETQ_BAD_MODEL || none != NULL;
    job->failures += strstr(unetq_last_error(), "no-such-model") == NULL;
    job->failures += differs(job->shared, job->common) || *unetq_last_error() != 0;
    unetq_close(model);
  }
  return NULL;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  unetq_model *shared = NULL, *other = NULL;
  if (unetq_open(argv[1], 2, 1, &shared) != UNETQ_OK || unetq_open(argv[2], 1, 1, &other) != UNETQ_OK) {
    fprintf(stderr, "%s\n", unetq_last_error());
    return 2;
  }
  float *first = run(shared), *second = run(other);
  job_t jobs[2] = {{argv[1], shared, first, first, 0}, {argv[2], shared, second, first, 0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) {
    if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) return 2;
  }
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  unetq_close(shared);
  unetq_close(other);
  free(first);
  free(second);
  printf("%d failures\n", jobs[0].failures + jobs[1].failures);
  return jobs[0].failures + jobs[1].failures == 0 ? 0 : 1;
}
