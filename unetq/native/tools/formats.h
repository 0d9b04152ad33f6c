// The three kinds of files. A reader checks every number of a header before it is used; a mask's head is all that
// stands before its voxels.
#pragma once

#include "files.h"
#include "study.h"

namespace unetq {

// Checks the size against the file's length, then reads; `swap`: the file has the other byte order.
void read_voxels(Input& input, Study* study, bool swap, const std::string& path);

Study read_nifti(Input& input, const std::string& path);
Study read_numpy(Input& input, const std::string& path);
Study read_pgm(Input& input, const std::string& path);

std::vector<uint8_t> nifti_mask_head(const Study& like);
std::vector<uint8_t> numpy_mask_head(const Study& like);
std::vector<uint8_t> pgm_mask_head(const Study& like);

}  // namespace unetq
