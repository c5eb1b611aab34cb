// `sluice crypt`.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "cli/command.hpp"
#include "cli/crypt/cipher_speed.hpp"
#include "cli/crypt/volume_facts.hpp"
#include "image/open_disk.hpp"
#include "spec/shown.hpp"
#include "target/crypt/options.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

constexpr std::string_view kInfoAction = "info";
constexpr double kBenchSeconds = 0.2;  // of each cipher and direction
constexpr std::string_view kBenchAction = "bench";

void declare_crypt(CommandLine& line, std::span<const std::string>) {
  line.add_word("info|bench");
  line.add_word("SPEC");
  line.add({.name = "json", .help = "print all values as JSON"});
}

// Of crypt(...) the header, which needs no passphrase.
Result<Spec> holder_of(const Spec& spec) {
  if (spec.target != "crypt") return spec;
  if (!spec.has("header")) return spec.children.front();
  return crypt::read_header_spec(spec.text("header"));
}

Outcome<void> run_info(const CommandLine& line, const Streams& streams) {
  if (line.words().size() < 2) return usage("'sluice crypt info' needs a SPEC");
  const std::string& word = line.words()[1];
  const auto spec = parse_spec(word, target_vocabulary());
  if (!spec) return failed(spec.error());
  spdlog::set_level(spdlog::level::warn);  // not how the files are opened
  const auto holder = holder_of(*spec);
  if (!holder) return failed(holder.error());
  auto disk = image::OpenDisk::open(*holder, {.name = word, .unlocked = true});
  if (!disk) return failed(disk.error());
  const uint64_t size = (*disk)->size_bytes() / (*disk)->block_bytes() * (*disk)->block_bytes();
  const auto volume = crypt::Volume::load(
      {.name = word, .size_bytes = size, .read = [&](uint64_t offset, std::span<std::byte> bytes) {
         return (*disk)->read(offset, bytes);
       }});
  if (!volume) return failed(volume.error());
  streams.out << (line.has("json") ? written(volume_json(word, **volume))
                                   : volume_text(word, **volume));
  return {};
}

Outcome<void> run_bench(const CommandLine& line, const Streams& streams) {
  if (line.words().size() > 1) return usage("'sluice crypt bench' takes no SPEC");
  const auto speeds = measure_ciphers(kBenchSeconds);
  if (!speeds) return failed(speeds.error());
  streams.out << (line.has("json") ? written(speeds_json(*speeds)) : speeds_text(*speeds));
  return {};
}

Outcome<void> run_crypt(const CommandLine& line, const Streams& streams) {
  const std::string action = line.word().value_or("");
  if (action == kInfoAction) return run_info(line, streams);
  if (action == kBenchAction) return run_bench(line, streams);
  if (action.empty()) return usage("'sluice crypt' needs an action: info or bench");
  return usage(fmt::format("'sluice crypt' has no action {}: give info or bench", shown(action)));
}

}  // namespace

constinit const Command kCryptCommand = {
    .name = "crypt",
    .synopsis =
        "info [--json] SPEC\n"
        "bench [--json]",
    .summary = "Show what the header of an encrypted volume says, or how fast ciphers are.",
    .declare = declare_crypt,
    .run = run_crypt,
    .has_state = false};

}  // namespace sluice::cli
