// A study through the network, slice by slice and tile by tile.
#pragma once

#include <functional>
#include <memory>

#include "../src/execute.h"
#include "prep.h"

namespace unetq {

struct Job {
  Session* session = nullptr;
  Prep prep;
  std::function<void(int64_t done, int64_t total)> on_tile;
  Observer on_layer;
};

// Bytes that `segment` takes beside the study.
struct Need {
  uint64_t around = 0;   // mask, and of slices that are tiled or resampled the slice and its logits
  uint64_t network = 0;  // the network's own with its image, as it would be planned without a limit
  uint64_t least = 0;    // and where memory is limited as far as can be
  uint64_t weights = 0;  // what then is in memory of them at a time
};
Need needed_bytes(const Study& study, const Job& job);

// What the network gets to see at a time.
ImageSize tile_size(const Study& study, const Job& job);

// Labels, x fastest, on the grid of the study itself.
std::unique_ptr<uint8_t[]> segment(const Study& study, const Job& job);

}  // namespace unetq
