#include "ring/ring_local.hpp"

#include "core/lowest_free.hpp"

namespace sluice {

RingLocalNumber::RingLocalNumber() : value_(numbers_of_all<RingLocalNumber>().take()) {}

RingLocalNumber::~RingLocalNumber() { numbers_of_all<RingLocalNumber>().give_back(value_); }

}  // namespace sluice
