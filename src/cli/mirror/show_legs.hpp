// What `sluice mirror examine` tells of legs and of the array that they would make.
#pragma once

#include <string>
#include <vector>

#include "cli/show.hpp"
#include "image/mirror_leg.hpp"
#include "target/mirror/assembly.hpp"

namespace sluice::cli {

struct ExaminedLeg {
  std::string name;  // as on the command line
  image::MirrorLeg leg;
};

std::string leg_text(const ExaminedLeg& examined);
Json leg_json(const ExaminedLeg& examined);

std::string decision_text(const std::vector<ExaminedLeg>& legs, const mirror::Decision& decision);
Json decision_json(const std::vector<ExaminedLeg>& legs, const mirror::Decision& decision);

}  // namespace sluice::cli
