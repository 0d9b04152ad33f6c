// How much memory a study may take: what the machine has free, and what --max-memory allows.
#pragma once

#include <cstdint>

#include "segment.h"

namespace unetq {

// A value in KiB of a file of /proc, in bytes; 0 where there is none.
uint64_t proc_bytes(const char* file, const char* name);

// Bytes that voxels may take; `allowed` is of the whole process, 0 = no limit.
uint64_t room_for_study(uint64_t allowed);

// Limits the network to what is left of `allowed`, or refuses with what would fit: a tile that is smaller makes another
// mask, so it is the user's to choose. Refuses also what the machine has not free.
void fit_memory(const Study& study, const Job& job, uint64_t allowed);

}  // namespace unetq
