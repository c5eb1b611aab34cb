// Both written forms of any Spec are read back as the same Spec. Random specs; the seed is printed,
// and SLUICE_TEST_SEED repeats a run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "spec/size.hpp"
#include "spec/spec.hpp"
#include "unit/spec/spec_vocabulary.hpp"

namespace sluice::test {
namespace {

class SpecMaker {
 public:
  explicit SpecMaker(uint64_t seed) : random_(seed) {}

  Spec make(size_t levels_left) {
    const TargetSyntax& target = pick(levels_left);
    Spec spec{.target = std::string(target.name)};
    std::vector<OptionSyntax> options(target.options.begin(), target.options.end());
    std::shuffle(options.begin(), options.end(), random_);
    for (const OptionSyntax& option : options) {
      if (option.required || below(2) == 0) spec.set(option.name, make_value(option));
    }
    const uint64_t most = std::min<uint64_t>(target.children_maximum, 4);
    const uint64_t count = target.children_minimum + below(most - target.children_minimum + 1);
    for (uint64_t child = 0; child < count; ++child) spec.children.push_back(make(levels_left - 1));
    return spec;
  }

 private:
  uint64_t below(uint64_t limit) { return random_() % limit; }

  const TargetSyntax& pick(size_t levels_left) {
    for (;;) {
      const TargetSyntax& target = kVocabulary[below(kVocabulary.size())];
      if (target.children_minimum == 0 || levels_left > 1) return target;
    }
  }

  OptionValue make_value(const OptionSyntax& option) {
    switch (option.kind) {
      case OptionKind::size:
        return make_number(option.minimum, std::min(option.maximum, kSizeMax));
      case OptionKind::count:
        return make_number(option.minimum, option.maximum);
      case OptionKind::flag:
        return below(2) == 0;
      case OptionKind::text:
      case OptionKind::path:
      case OptionKind::spec:
        break;
    }
    return make_text(option.kind == OptionKind::path);
  }

  uint64_t make_number(uint64_t minimum, uint64_t maximum) {
    const uint64_t number = (random_() >> below(64)) << below(20);
    return std::clamp(number, minimum, maximum);
  }

  std::string make_text(bool is_path) {
    static constexpr std::string_view kPieces[] = {
        "a",  "disk", ".img", "/", ":", "\"", "\\", ",", "(",    ")",         "=",    " ",
        "\t", "\n",   "{",    "}", "'", "~",  "%",  "-", "null", "read_only", "file", "\xC3\xBC",
    };
    std::string text = below(4) == 0 ? "net://" : "";
    for (uint64_t piece = below(8); piece > 0; --piece) {
      if (below(12) == 0) {
        text += static_cast<char>(below(256));
      } else {
        text += kPieces[below(std::size(kPieces))];
      }
    }
    if (is_path) std::erase(text, '\0');
    return is_path && text.empty() ? "x" : text;
  }

  std::mt19937_64 random_;
};

uint64_t choose_seed() {
  const char* given = std::getenv("SLUICE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device()();
}

void expect_read_back(const std::string& written, const Spec& spec) {
  const Result<Spec> read = parse_spec(written, kVocabulary);
  ASSERT_TRUE(read.has_value()) << written << "\n" << read.error().text;
  ASSERT_EQ(*read, spec) << written;
}

TEST(SpecRoundTrip, KeepsRandomSpecs) {
  const uint64_t seed = choose_seed();
  std::cout << "SLUICE_TEST_SEED=" << seed << "\n";
  SpecMaker maker(seed);
  for (int round = 0; round < 3000 && !HasFatalFailure(); ++round) {
    const Spec spec = maker.make(1 + static_cast<size_t>(round) % 5);
    const Result<void> checked = check_spec(spec, kVocabulary);
    ASSERT_TRUE(checked.has_value()) << checked.error().text;
    expect_read_back(to_text(spec, kVocabulary), spec);
    expect_read_back(to_json(spec, kVocabulary), spec);
  }
}

}  // namespace
}  // namespace sluice::test
