#include "image/pool_xml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/shown.hpp"

namespace sluice::image {
namespace {

using persistent::MappedRun;

constexpr size_t kTagBytesMost = 4096;
constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// One tag: <name a="1" b="2"/>.
struct XmlTag {
  std::string name = {};
  bool is_end = false;     // </name>
  bool is_closed = false;  // <name/>
  std::vector<std::pair<std::string, std::string>> attributes = {};
};

class PoolXmlReader {
 public:
  PoolXmlReader(std::istream& text, PoolXmlTaker& taker) : text_(text), taker_(taker) {}

  Result<void> read() {
    for (;;) {
      const auto tag = next();
      if (!tag) return std::unexpected(tag.error());
      if (!*tag) break;
      if (auto taken = take(**tag); !taken) return taken;
    }
    if (text_.bad()) return fail(EIO, "the text cannot be read to its end");
    if (open_.empty() && has_pool_) return {};
    return refuse(EINVAL, has_pool_ ? fmt::format("it ends within <{}>", open_.back())
                                    : "there is no <superblock>");
  }

 private:
  // Nothing: the text has ended.
  Result<std::optional<XmlTag>> next() {
    std::string tag;
    bool is_within = false;
    for (int character = text_.get(); character != std::istream::traits_type::eof();
         character = text_.get()) {
      const char letter = std::istream::traits_type::to_char_type(character);
      if (letter == '\n') ++line_;
      if (!is_within && letter == '<') {
        is_within = true;
      } else if (!is_within) {
        if (kBlanks.contains(letter)) continue;
        return refuse(EINVAL, "there is text outside of tags");
      } else if (letter == '>') {
        if (!tag.starts_with('?')) return parse(tag);
        is_within = false;  // <?xml version="1.0"?>
        tag.clear();
      } else {
        if (tag.size() == kTagBytesMost) return refuse(EINVAL, "a tag is too long");
        tag += letter;
      }
    }
    if (is_within) return refuse(EINVAL, "it ends within a tag");
    return std::nullopt;
  }

  Result<std::optional<XmlTag>> parse(std::string_view text) {
    XmlTag tag;
    tag.is_end = text.starts_with('/');
    tag.is_closed = text.ends_with('/');
    if (tag.is_end) text.remove_prefix(1);
    if (tag.is_closed && !text.empty()) text.remove_suffix(1);
    const size_t end = std::min(text.find_first_of(kBlanks), text.size());
    tag.name = text.substr(0, end);
    for (text = trimmed(text.substr(end)); !text.empty(); text = trimmed(text)) {
      const size_t equal = text.find('=');
      const size_t close = equal == std::string_view::npos || text.substr(equal).size() < 2
                               ? std::string_view::npos
                               : text.find(text[equal + 1], equal + 2);
      const bool is_quoted =
          close != std::string_view::npos && (text[equal + 1] == '"' || text[equal + 1] == '\'');
      if (!is_quoted) return refuse(EINVAL, fmt::format("{} is no attribute", shown(text)));
      tag.attributes.emplace_back(trimmed(text.substr(0, equal)),
                                  text.substr(equal + 2, close - equal - 2));
      text.remove_prefix(close + 1);
    }
    return tag;
  }

  Result<void> take(const XmlTag& tag) {
    if (tag.is_end) {
      if (open_.empty() || open_.back() != tag.name) {
        return refuse(EINVAL, fmt::format("nothing is ended by </{}>", printable(tag.name, 40)));
      }
      open_.pop_back();
      return {};
    }
    if (tag.name == "superblock" && open_.empty() && !has_pool_) return take_pool(tag);
    const bool is_in_pool = open_.size() == 1 && open_.back() == "superblock";
    if (tag.name == "device" && is_in_pool) return take_device(tag);
    const bool is_in_device = open_.size() == 2;
    if (tag.name == "single_mapping" && is_in_device) return take_single(tag);
    if (tag.name == "range_mapping" && is_in_device) return take_range(tag);
    return refuse(EINVAL, fmt::format("<{}> does not belong there", printable(tag.name, 40)));
  }

  Result<void> take_pool(const XmlTag& tag) {
    PoolXmlFacts facts;
    uint64_t version = 2;
    if (find(tag, "flags") != nullptr) get(tag, "flags", facts.flags);
    if (find(tag, "version") != nullptr) get(tag, "version", version);
    get(tag, "time", facts.time);
    get(tag, "transaction", facts.transaction_id);
    get(tag, "data_block_size", facts.data_block_sectors);
    get(tag, "nr_data_blocks", facts.data_blocks);
    if (!fault_.empty()) return refuse(EINVAL, fault_);
    if (version != 2) return refuse(EINVAL, fmt::format("version {} is not known", version));
    has_pool_ = true;
    enter(tag);
    return in_line(taker_.pool(facts));
  }

  Result<void> take_device(const XmlTag& tag) {
    uint64_t id = 0;
    persistent::DeviceDetails details;
    get(tag, "dev_id", id);
    get(tag, "mapped_blocks", details.mapped_blocks);
    get(tag, "transaction", details.transaction_id);
    get(tag, "creation_time", details.creation_time);
    get(tag, "snap_time", details.snapshotted_time);
    if (!fault_.empty()) return refuse(EINVAL, fault_);
    enter(tag);
    return in_line(taker_.device(id, details));
  }

  Result<void> take_single(const XmlTag& tag) {
    MappedRun run{.length = 1};
    get(tag, "origin_block", run.device_block);
    get(tag, "data_block", run.data_block);
    get(tag, "time", run.time);
    return take_run(tag, run);
  }

  Result<void> take_range(const XmlTag& tag) {
    MappedRun run;
    get(tag, "origin_begin", run.device_block);
    get(tag, "data_begin", run.data_block);
    get(tag, "length", run.length);
    get(tag, "time", run.time);
    return take_run(tag, run);
  }

  Result<void> take_run(const XmlTag& tag, const MappedRun& run) {
    if (!fault_.empty()) return refuse(EINVAL, fault_);
    const bool overflows =
        run.length > UINT64_MAX - run.device_block || run.length > UINT64_MAX - run.data_block;
    if (overflows || run.time > persistent::kTimeMost) {
      return refuse(EINVAL, "a mapping is out of range");
    }
    enter(tag);
    return in_line(taker_.run(run));
  }

  void enter(const XmlTag& tag) {
    if (!tag.is_closed) open_.push_back(tag.name);
  }

  static const std::string* find(const XmlTag& tag, std::string_view name) {
    const auto found =
        std::ranges::find(tag.attributes, name, [](const auto& each) { return each.first; });
    return found == tag.attributes.end() ? nullptr : &found->second;
  }

  // The first that is missing or malformed is the fault.
  template <typename Number>
  void get(const XmlTag& tag, std::string_view name, Number& number) {
    const std::string* const text = find(tag, name);
    if (text != nullptr) {
      const char* const end = text->data() + text->size();
      const auto [stop, error] = std::from_chars(text->data(), end, number);
      if (error == std::errc() && stop == end) return;
    }
    if (!fault_.empty()) return;
    fault_ = text == nullptr ? fmt::format("<{}> has no '{}'", tag.name, name)
                             : fmt::format("{}={} is no number, or too large", name, shown(*text));
  }

  Result<void> in_line(Result<void> taken) const {
    if (taken) return taken;
    return refuse(taken.error().error, taken.error().text);
  }

  std::unexpected<Error> refuse(int error, std::string_view why) const {
    return fail(error, fmt::format("line {}: {}", line_, why));
  }

  std::istream& text_;
  PoolXmlTaker& taker_;
  uint64_t line_ = 1;
  bool has_pool_ = false;
  std::vector<std::string> open_;  // the elements that have begun
  std::string fault_;
};

}  // namespace

Result<void> read_pool_xml(std::istream& text, PoolXmlTaker& taker) {
  return PoolXmlReader(text, taker).read();
}

}  // namespace sluice::image
