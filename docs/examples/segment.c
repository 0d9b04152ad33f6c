/* Segments one picture: segment MODEL HEIGHT WIDTH <pixels >mask.pgm
 * pixels: float32, row by row, prepared as the model wants them. The mask holds 255 where the first class wins. */
#include <stdio.h>
#include <stdlib.h>
#include <unetq/runtime.h>

static int fail(const char* why) {
  fprintf(stderr, "%s\n", why);
  return 2;
}

int main(int argc, char** argv) {
  if (argc != 4) return fail("Give a model, a height and a width.");
  const int height = atoi(argv[2]), width = atoi(argv[3]);
  unetq_model* model = NULL;
  if (unetq_open(argv[1], 0, 1, &model) != UNETQ_OK) return fail(unetq_last_error());
  unetq_limit_memory(model, 256 << 20);
  unetq_info_t info;
  uint64_t bytes = 0;
  if (unetq_info(model, &info) != UNETQ_OK || unetq_memory(model, height, width, &bytes) != UNETQ_OK)
    return fail(unetq_last_error());
  fprintf(stderr, "%s, %d threads, %.1f MiB\n", info.isa, (int)info.threads, bytes / 1048576.0);
  const size_t pixels = (size_t)height * width, classes = info.out_channels;
  float* image = malloc(pixels * sizeof(float));
  float* logits = malloc(pixels * classes * sizeof(float));
  if (!image || !logits || fread(image, sizeof(float), pixels, stdin) != pixels) return fail("The picture is short.");
  if (unetq_run(model, image, 1, height, width, logits) != UNETQ_OK) return fail(unetq_last_error());
  printf("P5\n%d %d\n255\n", width, height);
  for (size_t i = 0; i < pixels; ++i) putchar(logits[i] > (classes > 1 ? logits[pixels + i] : 0) ? 255 : 0);
  free(image);
  free(logits);
  unetq_close(model);
  return 0;
}
