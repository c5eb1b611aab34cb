// Parses any bytes as a spec: they are refused with one printable sentence, or give a Spec that
// passes the check and survives being written and read again in both notations.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../unit/spec/spec_vocabulary.hpp"
#include "spec/shown.hpp"
#include "spec/spec.hpp"

namespace {

using sluice::test::kVocabulary;

void require(bool holds, const char* what, const std::string& detail) {
  if (holds) return;
  std::fprintf(stderr, "spec_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

void read_back(const std::string& written, const sluice::Spec& spec) {
  const sluice::Result<sluice::Spec> read = sluice::parse_spec(written, kVocabulary);
  require(read.has_value(), "a written form is refused", written);
  require(*read == spec, "a written form means something else", written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const sluice::Result<sluice::Spec> spec = sluice::parse_spec(text, kVocabulary);
  if (!spec) {
    const std::string& sentence = spec.error().text;
    require(spec.error().error > 0 && !sentence.empty(), "no reason is given", sentence);
    require(sluice::is_utf8(sentence) && sentence.find_first_of("\n\x1b") == std::string::npos,
            "a sentence is not printable", sentence);
    require(sentence.size() < 2000, "a sentence is long", sentence);
    return 0;
  }
  require(sluice::check_spec(*spec, kVocabulary).has_value(), "the check refuses it",
          sluice::to_text(*spec, kVocabulary));
  read_back(sluice::to_text(*spec, kVocabulary), *spec);
  read_back(sluice::to_json(*spec, kVocabulary), *spec);
  return 0;
}
