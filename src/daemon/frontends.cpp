#include "daemon/frontends.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "daemon/device_name.hpp"
#include "frontend/registry.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

FrontendRecord part_of_frontend(const DeviceRecord& record) {
  return {.id = record.id,
          .path = record.path,
          .at = record.at,
          .mode = record.mode,
          .reserve_bytes = record.reserve_bytes,
          .user = record.user,
          .traces = record.traces};
}

std::string reason_of(const FrontendType& type, const Error& why) {
  return why.error == ENODEV ? fmt::format("this kernel has no {} driver", type.name) : why.text;
}

Result<const FrontendType*> type_of(const DeviceRecord& record) {
  if (const FrontendType* const type = find_frontend(record.frontend)) return type;
  return fail(EINVAL, fmt::format("this sluice has no front end {}", shown(record.frontend)));
}

}  // namespace

Result<FrontendChoice> choose_frontend(const FrontendOptions& options) {
  if (options.type != nullptr) return FrontendChoice{options.type, {}};
  FrontendChoice choice;
  Error why;
  for (const FrontendType* const type : frontend_types()) {
    if (type->check_usable == nullptr) continue;
    const auto usable = type->check_usable();
    if (usable) {
      choice.type = type;
      return choice;
    }
    if (choice.reason.empty()) {
      choice.reason = reason_of(*type, usable.error());
      why = usable.error();
    } else {
      why = {
          usable.error().error,
          fmt::format("{}; and for {}, {}", why.text,
                      type->described.empty() ? type->name : type->described, usable.error().text)};
    }
  }
  return std::unexpected(why);
}

Result<std::unique_ptr<Frontend>> recover_frontend(Stack& stack, const DeviceRecord& record) {
  const auto type = type_of(record);
  if (!type) return std::unexpected(type.error());
  if ((*type)->recover != nullptr) return (*type)->recover(stack, part_of_frontend(record));
  return fail(EINVAL, fmt::format("{} cannot be recovered, it does not outlive its server: delete "
                                  "it with 'sluice del -n {}' and add it again",
                                  described(record), record.id));
}

Result<std::unique_ptr<Frontend>> adopt_frontend(Stack& stack, const DeviceRecord& record,
                                                 const std::string& state) {
  const auto type = type_of(record);
  if (!type) return std::unexpected(type.error());
  return (*type)->adopt(stack, part_of_frontend(record), state);
}

bool outlives_server(const DeviceRecord& record) {
  const FrontendType* const type = find_frontend(record.frontend);
  return type != nullptr && type->outlives_server();
}

bool serves_bytes(const DeviceRecord& record) {
  const FrontendType* const type = find_frontend(record.frontend);
  return type != nullptr && type->serves_bytes;
}

bool is_block_device(const DeviceRecord& record) {
  const FrontendType* const type = find_frontend(record.frontend);
  return type == nullptr || type->is_block_device;
}

const KernelNumbers* kernel_numbers(const DeviceRecord& record) {
  const FrontendType* const type = find_frontend(record.frontend);
  return type == nullptr ? nullptr : type->numbers;
}

bool has_remains(const DeviceRecord& record) {
  const FrontendType* const type = find_frontend(record.frontend);
  return type != nullptr && type->has_remains(part_of_frontend(record));
}

Result<void> clear_remains(const DeviceRecord& record) {
  const auto type = type_of(record);
  if (!type) return std::unexpected(type.error());
  return (*type)->clear_remains(part_of_frontend(record), /*even_if_used=*/false);
}

}  // namespace sluice
