// Text for JSON.
#pragma once

#include <string>

namespace unetq {

// With quotation marks around it.
std::string quoted(const std::string& text);

}  // namespace unetq
