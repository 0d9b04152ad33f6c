// What was measured on this machine (tune.h), kept in a file: milliseconds of the kernels of a layer.
//
//   unetq timings 1
//   cpu AMD EPYC 9R14
//   build 0.1.0 5f0c... GNU 12.2.0                     version, hash of the kernel table, compiler
//   conv3x3 w4a6 twos 64/64>64 512x512 avx512vnni 1 winograd2x2_conv3x3_w7a6_avx512vnni 3.21 direct_... 6.5
//   sum 0f5e...                                        SHA-256 of all lines before
//
// A file only picks among kernels that give the same result, so one that lies makes a run slow, never wrong. One of
// another CPU or build says nothing about this one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plan.h"

namespace unetq {

// Milliseconds of each kernel that was measured, by name, of each layer, by its key.
using Timings = std::map<std::string, std::map<std::string, double>>;

// What the timings of a layer are filed under.
std::string layer_key(const Layer& layer, Isa isa, int threads);

// The CPU's own name, for a sentence and for the file.
std::string cpu_model();

// Where the timings of this CPU and build are: UNETQ_TIMINGS names a file, or "off"; else a file below $XDG_CACHE_HOME
// or ~/.cache. Empty: nowhere.
std::string default_timings_path();

// Of a file; none where there is no such file, or it is damaged or of another CPU or build, and then `why` is a clause
// that says so. Never throws for what a file holds.
std::shared_ptr<const Timings> read_timings(const std::string& path, std::string* why = nullptr);

// Adds timings to what the file holds, or begins it anew where that is nothing for this machine. A reader, or a second
// writer, at the same time sees a whole file.
Status add_timings(const std::string& path, const Timings& timings);

// The key of the layer, or where that was not measured of one that differs in nothing but its size: of those with a
// quarter to four times its pixels the nearest. Kernels that are good at a size are good at sizes like it, and a viewer
// has as many sizes as there are studies. Empty: nothing was measured.
std::string nearest_key(const Timings& timings, const Layer& layer, Isa isa, int threads);

// The fastest row by its timings; null where nothing was measured.
const Kernel* fastest(const Timings& timings, const std::string& key, const std::vector<const Kernel*>& rows);

// Picks by timings.
Chooser fastest_by(std::shared_ptr<const Timings> timings, Isa isa, int threads);

}  // namespace unetq
