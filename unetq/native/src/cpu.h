// Which instruction sets this CPU has, and how many cores.
#pragma once

#include <string>
#include <vector>

#include "../kernels/kernel.h"
#include "model.h"

namespace unetq {

const char* isa_name(Isa isa);

// What this CPU and this build can run, best last.
std::vector<Isa> available_isas();

// The best one, or what the environment variable UNETQ_ISA forces.
Status choose_isa(Isa* isa);

// Physical cores that this process may use, at least 1.
int physical_cores();

}  // namespace unetq
