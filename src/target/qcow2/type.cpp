// qcow2: opens an image with all that it needs.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/descriptor.hpp"
#include "core/log.hpp"
#include "spec/joined.hpp"
#include "spec/shown.hpp"
#include "target/crypt/image_cipher.hpp"
#include "target/crypt/option_table.hpp"
#include "target/crypt/options.hpp"
#include "target/open.hpp"
#include "target/qcow2/bitmap_verbs.hpp"
#include "target/qcow2/chain.hpp"
#include "target/qcow2/chain_verbs.hpp"
#include "target/qcow2/decompress.hpp"
#include "target/qcow2/named_files.hpp"
#include "target/qcow2/offline/repair.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/qcow2/read_header.hpp"
#include "target/qcow2/snapshot_verbs.hpp"

namespace sluice {
namespace qcow2 {
namespace {

constexpr size_t kChainMax = 256;  // images

constexpr OptionSyntax kImageOptions[] = {
    {.name = "file", .kind = OptionKind::path, .help = "the image, if it is a file"},
    {.name = "snapshot",
     .kind = OptionKind::text,
     .help = "name or id of an internal snapshot, to be read"},
    {.name = "backing",
     .kind = OptionKind::text,
     .fallback = "same-dir",
     .help = "which files the image may name: none, same-dir (its own directory) or any"},
    {.name = "backing_format",
     .kind = OptionKind::text,
     .help = "raw or qcow2: format of the backing file, if the image does not record it"},
    {.name = "data_file",
     .kind = OptionKind::path,
     .help = "the external data file, instead of the one that the image names"},
    {.name = "compress",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "compress whole clusters that are written"},
    {.name = kStream,
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "copy what comes from the backing file into the image, and close that file"},
    {.name = "cache",
     .kind = OptionKind::size,
     .fallback = "32M",
     .minimum = 256 << 10,
     .maximum = uint64_t{4} << 30,
     .help = "memory for tables of the image, at most twice as much"},
    {.name = "buffered_io",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "use the page cache for the image's files"},
    {.name = "read_only", .kind = OptionKind::flag, .fallback = "no", .help = "refuse writes"},
};

constexpr auto kVerbs = joined(kSnapshotVerbs, kChainVerbs, kBitmapVerbs);

constexpr auto kQcow2Options = joined(kImageOptions, crypt::kKeyOptions);

// One image of a chain.
struct Level {
  std::unique_ptr<Target> storage;
  std::unique_ptr<Target> data;
  std::string path;       // empty: not a file
  std::string data_path;  // where the guest data is; likewise
  Header header;
  bool writable = false;
};

class ChainOpener {
 public:
  ChainOpener(const Spec& spec, OpenContext& context, NamePolicy policy)
      : spec_(spec), context_(context), policy_(policy) {}

  Result<std::unique_ptr<Target>> open(Target::Children&& children) {
    const bool writable =
        !spec_.flag("read_only") && !spec_.has("snapshot") && !context_.read_only();
    auto opened = children.empty() ? open_file(spec_.text("file"), writable)
                                   : Result<std::unique_ptr<Target>>(std::move(children.front()));
    if (!opened) return std::unexpected(opened.error());
    const bool may_write = writable && !(*opened)->geometry().read_only;
    std::unique_ptr<Target> backing;
    if (auto added = add(std::move(*opened), path_of_image(), may_write); !added) {
      return std::unexpected(added.error());
    }
    while (!context_.without_backing() && backing == nullptr &&
           !levels_.back().header.backing_name.empty()) {
      if (auto followed = follow(backing); !followed) return std::unexpected(followed.error());
    }
    return assemble(std::move(backing));
  }

 private:
  std::string path_of_image() const {
    if (spec_.children.empty()) return spec_.text("file");
    const Spec& child = spec_.children.front();
    return child.target == "loop" && !child.has("offset") ? child.text("file") : std::string();
  }

  // In blocks of 512 bytes, which is what images are made of.
  Result<std::unique_ptr<Target>> open_file(const std::string& path, bool writable) {
    Spec file{.target = "loop"};
    file.set("file", path);
    file.set("block", uint64_t{512});
    file.set("buffered_io", spec_.flag("buffered_io"));
    file.set("read_only", !writable);
    context_.set_opens_image(true);
    auto opened = context_.open(file);
    context_.set_opens_image(false);
    return opened;
  }

  Result<void> add(std::unique_ptr<Target> storage, const std::string& path, bool writable) {
    Level level{.storage = std::move(storage),
                .data = {},
                .path = path,
                .data_path = path,
                .header = {},
                .writable = writable};
    auto header = read_header(*level.storage, path, context_);
    if (!header) return std::unexpected(header.error());
    level.header = std::move(*header);
    if (auto loaded = load_decompressor(level.header.compression); !loaded) {
      return refuse_image(path, loaded.error());
    }
    if (writable && level.header.has(kDirty) && !level.header.has(kCorrupt)) {
      auto closed = close_image(level);
      if (!closed) return closed;
    }
    if (auto checked = check_encryption(level); !checked) return checked;
    if (level.header.has(kExternalData) && levels_.empty() && spec_.flag("compress")) {
      return fail(EINVAL, fmt::format("the data of {} is in another file, where it cannot be"
                                      " compressed: leave out compress",
                                      shown(path)));
    }
    if (level.header.has(kExternalData)) {
      auto opened = open_data_file(level);
      if (!opened) return opened;
    }
    levels_.push_back(std::move(level));
    return {};
  }

  // Only the image itself may be encrypted, as there is one key.
  Result<void> check_encryption(const Level& level) const {
    if (!level.header.encryption) {
      return levels_.empty() ? check_no_key(level) : Result<void>();
    }
    if (!levels_.empty()) {
      return fail(ENOTSUP, fmt::format("{} is an encrypted backing file, which is not supported: "
                                       "merge the images with qemu-img convert",
                                       shown(level.path)));
    }
    if (!crypt::names_key(spec_)) {
      return fail(EACCES, fmt::format("{} is encrypted: give the source of its passphrase, "
                                      "key_file=PATH, key_fd=N or key_cmd=COMMAND",
                                      shown(level.path)));
    }
    if (level.header.has(kExternalData)) {
      return fail(ENOTSUP, fmt::format("{} is encrypted, and its data is in another file: only one "
                                       "of both is supported",
                                       shown(level.path)));
    }
    for (const std::string_view option : {std::string_view("compress"), kStream}) {
      if (!spec_.flag(option)) continue;
      return fail(EINVAL, fmt::format("{} is encrypted, which does not go with {}: leave it out",
                                      shown(level.path), option));
    }
    return {};
  }

  Result<void> check_no_key(const Level& level) const {
    for (const OptionSyntax& option : crypt::kKeyOptions) {
      if (!spec_.has(option.name)) continue;
      return fail(EINVAL,
                  fmt::format("{} is not encrypted: leave out {}", shown(level.path), option.name));
    }
    return {};
  }

  // An image that its last user has not closed: with lazy refcounts, these may be wrong.
  Result<void> close_image(Level& level) {
    const auto file = level.storage->bare_file();
    if (!file || file->begin_bytes != 0 || context_.inherits()) return {};  // start() refuses it
    log().info("{} was not closed: its refcounts are repaired", shown(level.path));
    // Without O_DIRECT.
    const std::string path = fmt::format("/proc/self/fd/{}", file->descriptor);
    const Descriptor image(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!image.valid()) {
      return fail(errno,
                  fmt::format("cannot repair {}: {}", shown(level.path), std::strerror(errno)));
    }
    const auto repaired = repair_image(image.number(), Repair::all);
    if (!repaired) return refuse_image(level.path, repaired.error());
    if (!repaired->clean()) {
      return fail(EUCLEAN, fmt::format("{} cannot be repaired: sluice check {} says what is wrong",
                                       shown(level.path), shell_word(level.path)));
    }
    auto header = read_header(*level.storage, level.path, context_);
    if (!header) return std::unexpected(header.error());
    level.header = std::move(*header);
    return {};
  }

  Result<void> open_data_file(Level& level) {
    const bool is_top = levels_.empty();
    std::string path = is_top ? spec_.text("data_file") : std::string();
    if (path.empty() && level.header.data_file_name.empty()) {
      return fail(EINVAL,
                  fmt::format("the data of {} is in another file, which it does not name: give"
                              " data_file=PATH",
                              shown(level.path)));
    }
    if (path.empty()) {
      auto named = resolve_name(level.path, level.header.data_file_name, policy_, "data file");
      if (!named) return std::unexpected(named.error());
      path = std::move(*named);
    }
    auto opened = open_file(path, level.writable);
    if (!opened) return std::unexpected(opened.error());
    level.data = std::move(*opened);
    level.data_path = std::move(path);
    return {};
  }

  // Opens the backing file of the last image: one more image of the chain, or its raw end.
  Result<void> follow(std::unique_ptr<Target>& end) {
    const Level& last = levels_.back();
    const std::string format = levels_.size() == 1 && spec_.has("backing_format")
                                   ? spec_.text("backing_format")
                                   : last.header.backing_format;
    const std::string named = fmt::format("{}, the backing file of {},",
                                          shown(last.header.backing_name), shown(last.path));
    if (format.empty()) {
      return fail(EINVAL,
                  fmt::format("{} has no recorded format, and is never guessed: give"
                              " backing_format=raw or qcow2, or record it with sluice rebase"
                              " -u -F",
                              named));
    }
    if (format != "raw" && format != "qcow2") {
      return fail(ENOTSUP, fmt::format("{} has the format {}: only raw and qcow2 are read", named,
                                       shown(format)));
    }
    if (levels_.size() == kChainMax) {
      return fail(ELOOP,
                  fmt::format("{} is below {} images, which is the limit", named, kChainMax));
    }
    auto path = resolve_name(last.path, last.header.backing_name, policy_, "backing file");
    if (!path) return std::unexpected(path.error());
    std::error_code error;
    const bool loops = std::ranges::any_of(levels_, [&](const Level& each) {
      return std::filesystem::equivalent(each.path, *path, error);
    });
    if (loops) return fail(ELOOP, fmt::format("{} is itself above it: a loop", named));
    auto opened = open_file(*path, false);
    if (!opened) return std::unexpected(opened.error());
    if (format == "qcow2") return add(std::move(*opened), *path, false);
    end = std::move(*opened);
    return {};
  }

  Result<void> encipher(Level& level) {
    const auto& luks = level.header.encryption;
    if (!luks) return {};
    auto opened = crypt::open_image_cipher(spec_, context_, *level.storage,
                                           {.offset = luks->offset, .bytes = luks->bytes},
                                           level.path.empty() ? "qcow2" : level.path);
    if (!opened) return std::unexpected(opened.error());
    level.data = std::move(*opened);
    level.data_path.clear();
    return {};
  }

  // From the end of the chain up.
  Result<std::unique_ptr<Target>> assemble(std::unique_ptr<Target> backing) {
    const bool may_change = levels_.front().writable && !levels_.front().path.empty() &&
                            !levels_.front().header.encryption;
    const std::string path = levels_.front().path;
    if (spec_.flag(kStream) && !may_change && !context_.read_only()) {
      return fail(EINVAL,
                  "stream needs an image that is a file, and is written to: leave it out here");
    }
    // Last, as the files of the other images come before its own.
    if (auto enciphered = encipher(levels_.front()); !enciphered) {
      return std::unexpected(enciphered.error());
    }
    for (size_t i = levels_.size(); i-- != 0;) {
      Level& level = levels_[i];
      Image::Options options{.name = level.path.empty() ? "qcow2" : level.path,
                             .writable = level.writable,
                             .cache_bytes = spec_.number("cache", kCacheBytes),
                             .compress = i == 0 && spec_.flag("compress"),
                             .snapshot = i == 0 ? spec_.text("snapshot") : std::string(),
                             .has_bitmaps = i == 0 && !spec_.has("snapshot"),
                             .outlives_server = context_.outlives_server()};
      auto target =
          std::make_unique<Qcow2Target>(std::move(options), level.header,
                                        Qcow2Target::Parts{.storage = std::move(level.storage),
                                                           .data = std::move(level.data),
                                                           .backing = std::move(backing),
                                                           .data_path = level.data_path});
      const std::string name = std::filesystem::path(level.path).filename();
      if (i == 0 && may_change) {
        target->set_name(fmt::format("image({})", printable(name, 64)));
        return std::make_unique<Chain>(spec_, path, std::move(target));
      }
      if (i != 0) target->set_name(fmt::format("qcow2({})", printable(name, 64)));
      backing = std::move(target);
    }
    return backing;
  }

  const Spec& spec_;
  OpenContext& context_;
  const NamePolicy policy_;
  std::vector<Level> levels_;
};

Result<std::unique_ptr<Target>> open_qcow2(const Spec& spec, Target::Children&& children,
                                           OpenContext& context) {
  if (children.empty() == spec.text("file").empty()) {
    return fail(EINVAL, children.empty() ? "qcow2 has no image: give qcow2:FILE, or qcow2(SPEC)"
                                         : "qcow2 has two images, a file and a spec: give one");
  }
  const std::string backing = spec.has("backing") ? spec.text("backing") : "same-dir";
  const auto policy = parse_policy(backing);
  if (!policy) {
    return fail(EINVAL, fmt::format("backing is none, same-dir or any, found {}", shown(backing)));
  }
  return ChainOpener(spec, context, *policy).open(std::move(children));
}

}  // namespace
}  // namespace qcow2

constinit const TargetType kQcow2Target = {
    .syntax =
        {
            .name = "qcow2",
            .summary = "the disk in a qcow2 image",
            .children_maximum = 1,
            .leaf_option = "file",
            .options = qcow2::kQcow2Options,
        },
    .open = qcow2::open_qcow2,
    .verbs = qcow2::kVerbs,
    .verbs_with_open_files = qcow2::kVerbsWithOpenFiles,
    .reads_images = true,
};

}  // namespace sluice
