// How many multiply-accumulates of bytes an instruction set could do, if there were nothing else to do: what a kernel's
// speed is a share of. Registers only, no memory.
#pragma once

#include "kernel.h"

namespace unetq {

// Runs some rounds; gives the multiply-accumulates that they were.
using PeakFn = double (*)(int rounds);

// For the CPUs that have an instruction set; null where nothing was written for it.
PeakFn peak_of(Isa isa);

double peak_avx2(int rounds);        // vpmaddubsw, vpmaddwd, vpaddd: 32 exact products
double peak_avxvnni(int rounds);     // vpdpbusd of half the width: 32
double peak_avx512vnni(int rounds);  // vpdpbusd: 64
double peak_avx512amx(int rounds);   // tdpbusd: 16384

}  // namespace unetq
