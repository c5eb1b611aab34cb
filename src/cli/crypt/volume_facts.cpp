#include "cli/crypt/volume_facts.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/crypt/luks2_metadata.hpp"

namespace sluice::cli {
namespace {

using crypt::Keyslot;
using crypt::Layout;
using crypt::Volume;

std::string safe(std::string_view text) { return printable(text, std::string::npos); }

std::string line_of(std::string_view name, std::string_view value) {
  return fmt::format("  {:<14} {}\n", name, value);
}

std::vector<std::string> token_types(const Volume& volume) {
  std::vector<std::string> types;
  for (const auto& token : crypt::tokens_of(volume.metadata())) types.push_back(token.type);
  return types;
}

std::string slot_text(const Keyslot& slot) {
  std::string text = slot.kdf.empty() ? "unknown" : safe(slot.kdf);
  if (slot.iterations != 0) text += fmt::format(", {} iterations", slot.iterations);
  if (slot.memory_bytes != 0) text += fmt::format(", {}", format_size(slot.memory_bytes));
  if (!slot.bound) text += ", of no data";
  if (slot.priority != 1) text += slot.priority == 0 ? ", only by number" : ", preferred";
  return text;
}

std::string size_text(const Layout& layout) {
  return layout.data_bytes ? format_size(*layout.data_bytes) : "up to the end";
}

Json slot_json(const Keyslot& slot) {
  return Json{{"keyslot", slot.number},        {"kdf", slot.kdf},
              {"iterations", slot.iterations}, {"memory_bytes", slot.memory_bytes},
              {"bound", slot.bound},           {"priority", slot.priority}};
}

}  // namespace

std::string volume_text(const std::string& name, const Volume& volume) {
  std::string text = fmt::format("{}:\n", safe(name));
  text += line_of("type", volume.type());
  text += line_of("uuid", safe(volume.uuid()));
  if (!volume.label().empty()) text += line_of("label", safe(volume.label()));
  text += line_of("cipher", safe(volume.cipher()));
  const auto layout = volume.layout();
  if (layout) {
    text += line_of("key", fmt::format("{} bits", 8 * layout->key_bytes));
    text += line_of("sectors", fmt::format("{} bytes", layout->sector_bytes));
    text += line_of("data", fmt::format("from {}, {}", layout->data_offset, size_text(*layout)));
    if (layout->allows_discards) text += line_of("flag", "allow-discards");
    for (const std::string& flag : layout->ignored_flags) {
      text += line_of("flag", fmt::format("{} (of dm-crypt, no effect here)", safe(flag)));
    }
  }
  for (const Keyslot& slot : volume.keyslots()) {
    text += line_of(fmt::format("keyslot {}", slot.number), slot_text(slot));
  }
  for (const auto& token : crypt::tokens_of(volume.metadata())) {
    text += line_of(fmt::format("token {}", safe(token.number)), safe(token.type));
  }
  for (const std::string& each : crypt::requirements_of(volume.metadata())) {
    text += line_of("requires", safe(each));
  }
  if (!volume.disagreement().empty()) text += line_of("headers", volume.disagreement());
  text += line_of("served", layout ? "yes" : fmt::format("no: {}", layout.error().text));
  return text;
}

Json volume_json(const std::string& name, const Volume& volume) {
  Json json = Json::object();
  json.set("volume", name);
  json.set("type", volume.type());
  json.set("uuid", volume.uuid());
  json.set("label", volume.label());
  json.set("cipher", volume.cipher());
  const auto layout = volume.layout();
  if (layout) {
    json.set("key_bits", 8 * layout->key_bytes);
    json.set("sector_bytes", layout->sector_bytes);
    json.set("data_offset", layout->data_offset);
    if (layout->data_bytes) json.set("data_bytes", *layout->data_bytes);
    json.set("allow_discards", layout->allows_discards);
    json.set("ignored_flags", layout->ignored_flags);
  }
  Json slots = Json::array();
  for (const Keyslot& slot : volume.keyslots()) slots.push_back(slot_json(slot));
  json.set("keyslots", slots);
  json.set("tokens", token_types(volume));
  json.set("requirements", crypt::requirements_of(volume.metadata()));
  if (!volume.disagreement().empty()) json.set("headers", volume.disagreement());
  json.set("served", layout.has_value());
  if (!layout) json.set("why_not", layout.error().text);
  return json;
}

}  // namespace sluice::cli
