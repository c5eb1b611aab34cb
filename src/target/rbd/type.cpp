// rbd: opens an image of a Ceph cluster.
#include <cerrno>
#include <utility>

#include "target/open.hpp"
#include "target/rbd/cluster_files.hpp"
#include "target/rbd/options.hpp"
#include "target/rbd/rbd_target.hpp"

namespace sluice {
namespace rbd {
namespace {

constexpr OptionSyntax kRbdOptions[] = {
    {.name = "image", .required = true, .help = "POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]"},
    {.name = "conf",
     .kind = OptionKind::path,
     .fallback = "/etc/ceph/ceph.conf",
     .help = "the configuration of the cluster"},
    {.name = "id", .fallback = "admin", .help = "the user: client.ID"},
    {.name = "keyring",
     .kind = OptionKind::path,
     .help = "the file with its key; as the configuration says if not given"},
    {.name = "exclusive",
     .kind = OptionKind::flag,
     .fallback = "yes",
     .help = "take the exclusive lock, and keep it; no: others may write as well"},
    {.name = "timeout", .fallback = "60s", .help = "the time for the answer to one request"},
    {.name = "read_only", .kind = OptionKind::flag, .fallback = "no", .help = "refuse writes"},
};

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open_rbd(const Spec& spec, Target::Children&&,
                                         OpenContext& context) {
  auto options = read_options(spec);
  if (!options) return std::unexpected(options.error());
  options->read_only |= context.read_only();
  const auto library = Library::load();
  if (!library) return std::unexpected(library.error());
  ClusterFiles files;
  if (context.inherits()) {
    files = {.conf = context.inherit(), .keyring = context.inherit()};
    if (!files.conf.valid() || !files.keyring.valid()) {
      return fail(EINVAL, "rbd: the server before has not passed its configuration");
    }
  } else {
    auto read = ClusterFiles::read(**library, *options);
    if (!read) return std::unexpected(read.error());
    files = std::move(*read);
  }
  const Image::Files numbers{.conf = files.conf.number(), .keyring = files.keyring.number()};
  context.add_private_file(files.conf.release());
  context.add_private_file(files.keyring.release());
  return std::make_unique<RbdTarget>(**library, std::move(*options), numbers);
}

}  // namespace
}  // namespace rbd

constinit const TargetType kRbdTarget = {.syntax = {.name = "rbd",
                                                    .summary = "an image of a Ceph cluster",
                                                    .leaf_option = "image",
                                                    .options = rbd::kRbdOptions},
                                         .open = rbd::open_rbd};

}  // namespace sluice
