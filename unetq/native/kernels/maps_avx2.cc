// Operations without weights for AVX2.
#include "maps_vector.h"

namespace unetq {

void quantize_avx2(const MapRows& job) { quantize_rows(job); }
void maxpool_avx2(const MapRows& job) { maxpool_rows<32>(job); }
void nearest_avx2(const MapRows& job) { nearest_rows<32>(job); }
void bilinear_avx2(const MapRows& job) { bilinear_rows<32>(job); }
void copy_avx2(const MapRows& job) { copy_rows<32>(job); }
void argmax_avx2(const MapRows& job) { argmax_rows<8>(job); }

}  // namespace unetq
