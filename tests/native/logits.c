/* The logits of a picture, for comparison between machines: logits MODEL CHANNELS HEIGHT WIDTH THREADS [RUNS] <image >logits
 * Both are float32, [channels][height][width]. RUNS, 1 if left out: for those who count what one run takes. */
#include <stdio.h>
#include <stdlib.h>
#include <unetq/runtime.h>

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) return 2;
  const int runs = argc == 7 ? atoi(argv[6]) : 1;
  const int channels = atoi(argv[2]), height = atoi(argv[3]), width = atoi(argv[4]);
  unetq_model* model = NULL;
  unetq_info_t info;
  int code = unetq_open(argv[1], atoi(argv[5]), 1, &model);
  if (code == UNETQ_OK) code = unetq_info(model, &info);
  if (code == UNETQ_OK) {
    const size_t pixels = (size_t)height * width, in = pixels * channels, out = pixels * info.out_channels;
    float* image = calloc(in, sizeof(float));
    float* logits = calloc(out, sizeof(float));
    if (image == NULL || logits == NULL || fread(image, sizeof(float), in, stdin) != in) return 2;
    for (int i = 0; i < runs && code == UNETQ_OK; ++i) code = unetq_run(model, image, channels, height, width, logits);
    if (code == UNETQ_OK && fwrite(logits, sizeof(float), out, stdout) != out) return 2;
    free(image);
    free(logits);
  }
  if (code != UNETQ_OK) fprintf(stderr, "%s\n", unetq_last_error());
  unetq_close(model);
  return code == UNETQ_OK ? 0 : 1;
}
