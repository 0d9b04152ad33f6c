// Operations without weights for NEON.
#include "../maps_vector.h"

namespace unetq {

void quantize_neon(const MapRows& job) { quantize_rows(job); }
void maxpool_neon(const MapRows& job) { maxpool_rows<16>(job); }
void nearest_neon(const MapRows& job) { nearest_rows<16>(job); }
void bilinear_neon(const MapRows& job) { bilinear_rows<32>(job); }
void copy_neon(const MapRows& job) { copy_rows<16>(job); }

}  // namespace unetq
