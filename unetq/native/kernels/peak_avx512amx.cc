// The peak of AMX: products of whole tiles, two chains and two tiles of each kind.
#include "peak.h"
#include "tiles_amx.h"

namespace unetq {

double peak_avx512amx(int rounds) {
  shape_tiles(16);  // all tiles 0
  for (int round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return 4.0 * 16 * 16 * 64 * rounds;
}

}  // namespace unetq
