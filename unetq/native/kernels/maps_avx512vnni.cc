// Operations without weights for AVX-512.
#include "maps_vector.h"

namespace unetq {

void quantize_avx512vnni(const MapRows& job) { quantize_rows(job); }
void maxpool_avx512vnni(const MapRows& job) { maxpool_rows<64>(job); }
void nearest_avx512vnni(const MapRows& job) { nearest_rows<64>(job); }
void bilinear_avx512vnni(const MapRows& job) { bilinear_rows<64>(job); }
void copy_avx512vnni(const MapRows& job) { copy_rows<64>(job); }
void argmax_avx512vnni(const MapRows& job) { argmax_rows<16>(job); }

}  // namespace unetq
