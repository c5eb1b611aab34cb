#include "spec/json_value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <ranges>

#include "spec/hex.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr int kOutOfRange = 406;  // nlohmann's error code for a number that fits no type

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Builds the tree from the events of nlohmann's parser. That interface reports every error to
// parse_error() and does not throw.
class JsonReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonReader(size_t nesting_max) : nesting_max_(nesting_max) { open_.emplace_back(); }

  bool null() override { return add(JsonValue()); }
  bool boolean(bool value) override;
  bool number_integer(number_integer_t value) override;
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t value, const string_t& written) override;
  bool string(string_t& value) override;
  bool binary(binary_t& value) override;
  bool start_object(size_t size) override;
  bool key(string_t& name) override;
  bool end_object() override { return close(); }
  bool start_array(size_t size) override;
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& fault) override;

  std::expected<JsonValue, JsonFault> result();

 private:
  bool add(JsonValue value);
  bool open(JsonValue::Kind kind);
  bool close();

  const size_t nesting_max_;
  std::vector<JsonValue> open_;  // outermost first; the first one holds the document
  std::string name_;             // of the next value, if it is a member
  std::optional<JsonFault> fault_;
};

void write(const JsonValue& json, std::optional<size_t> spaces, size_t level, std::string& text);
void write_items(const JsonValue& json, std::optional<size_t> spaces, size_t level,
                 std::string& text);

}  // namespace

JsonValue::JsonValue(std::initializer_list<std::pair<std::string_view, JsonValue>> members)
    : kind(Kind::object) {
  items.reserve(members.size());
  for (const auto& [member, value] : members) set(member, value);
}

JsonValue JsonValue::array(std::vector<JsonValue> items) {
  JsonValue value(Kind::array);
  value.items = std::move(items);
  return value;
}

JsonValue::JsonValue(double value) : kind(Kind::other_number) {
  if (!std::isfinite(value)) {
    kind = Kind::null;
    return;
  }
  text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
}

void JsonValue::set_number(uint64_t value) {
  kind = Kind::whole_number;
  whole_number = value;
}

void JsonValue::set_negative(int64_t value) {
  kind = Kind::other_number;
  text = fmt::format("{}", value);
}

void JsonValue::set(std::string_view member, JsonValue value) {
  if (kind == Kind::null) kind = Kind::object;
  value.name = member;
  const auto found = std::ranges::find(items, member, &JsonValue::name);
  if (found == items.end()) {
    items.push_back(std::move(value));
  } else {
    *found = std::move(value);
  }
}

void JsonValue::update(const JsonValue& other) {
  for (const JsonValue& member : other.items) set(member.name, member);
}

void JsonValue::erase(std::string_view member) {
  std::erase_if(items, [&](const JsonValue& each) { return each.name == member; });
}

const JsonValue* JsonValue::find(std::string_view member) const {
  if (kind != Kind::object) return nullptr;
  for (const JsonValue& each : std::views::reverse(items)) {
    if (each.name == member) return &each;
  }
  return nullptr;
}

const JsonValue& JsonValue::at(std::string_view member) const {
  const JsonValue* const found = find(member);
  if (found == nullptr) throw JsonMismatch();
  return *found;
}

void JsonValue::push_back(JsonValue value) {
  if (kind == Kind::null) kind = Kind::array;
  value.name.clear();
  items.push_back(std::move(value));
}

const JsonValue& JsonValue::at(size_t index) const {
  if (kind != Kind::array || index >= items.size()) throw JsonMismatch();
  return items[index];
}

bool JsonValue::get_flag() const {
  if (kind != Kind::boolean) throw JsonMismatch();
  return boolean;
}

uint64_t JsonValue::get_number(uint64_t most) const {
  if (kind != Kind::whole_number || whole_number > most) throw JsonMismatch();
  return whole_number;
}

int64_t JsonValue::get_signed(int64_t least, int64_t most) const {
  if (kind == Kind::whole_number) {
    return static_cast<int64_t>(get_number(static_cast<uint64_t>(most)));
  }
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool is_whole = kind == Kind::other_number && error == std::errc() && stop == end;
  if (!is_whole || value < least || value > most) throw JsonMismatch();
  return value;
}

double JsonValue::get_double() const {
  if (kind == Kind::whole_number) return static_cast<double>(whole_number);
  double value = 0;
  if (kind != Kind::other_number ||
      std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
    throw JsonMismatch();
  }
  return value;
}

const std::string& JsonValue::get_text() const {
  if (kind != Kind::text) throw JsonMismatch();
  return text;
}

const std::vector<JsonValue>& JsonValue::get_items() const {
  if (kind != Kind::array) throw JsonMismatch();
  return items;
}

std::string to_text(const JsonValue& json) {
  std::string text;
  write(json, std::nullopt, 0, text);
  return text;
}

std::string to_indented_text(const JsonValue& json, size_t spaces) {
  std::string text;
  write(json, spaces, 0, text);
  return text;
}

JsonValue bytes_json(const std::string& bytes) {
  if (is_utf8(bytes)) return bytes;
  return {{kHexKey, write_hex(bytes)}};
}

std::optional<std::string> bytes_of(const JsonValue& json) {
  if (json.is_text()) return json.text;
  const bool is_hex = json.is_object() && json.items.size() == 1 && json.items[0].name == kHexKey &&
                      json.items[0].is_text();
  return is_hex ? read_hex(json.items[0].text) : std::nullopt;
}

std::expected<JsonValue, JsonFault> parse_json_tree(std::string_view text, size_t nesting_max) {
  // nlohmann's lexer takes a NUL for the end of the text, and would ignore all bytes after it.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return std::unexpected(JsonFault{.byte = nul + 1, .text = "it holds a NUL byte"});
  }
  JsonReader reader(nesting_max);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return reader.result();
}

Result<JsonValue> read_json(std::string_view text, size_t nesting_max) {
  auto tree = parse_json_tree(text, nesting_max);
  if (tree) return *std::move(tree);
  const bool is_deep = tree.error().kind == JsonFault::Kind::nesting;
  return fail(EINVAL, is_deep ? fmt::format("the JSON is nested too deeply: {} arrays and objects "
                                            "inside one another are the limit",
                                            nesting_max)
                              : fmt::format("this is not JSON: {}", tree.error().text));
}

namespace {

void write(const JsonValue& json, std::optional<size_t> spaces, size_t level, std::string& text) {
  switch (json.kind) {
    case JsonValue::Kind::null:
      text += "null";
      return;
    case JsonValue::Kind::boolean:
      text += json.boolean ? "true" : "false";
      return;
    case JsonValue::Kind::whole_number:
      text += fmt::format("{}", json.whole_number);
      return;
    case JsonValue::Kind::other_number:
      text += json.text;
      return;
    case JsonValue::Kind::text:
      text += quoted(json.text);
      return;
    case JsonValue::Kind::array:
    case JsonValue::Kind::object:
      write_items(json, spaces, level, text);
      return;
  }
}

void write_items(const JsonValue& json, std::optional<size_t> spaces, size_t level,
                 std::string& text) {
  const bool is_object = json.kind == JsonValue::Kind::object;
  const auto break_line = [&](size_t to_level) {
    if (spaces) text.append(1, '\n').append(to_level * *spaces, ' ');
  };
  text += is_object ? '{' : '[';
  for (const JsonValue& item : json.items) {
    if (&item != &json.items.front()) text += ',';
    break_line(level + 1);
    if (is_object) text += quoted(item.name) + (spaces ? ": " : ":");
    write(item, spaces, level + 1, text);
  }
  if (!json.items.empty()) break_line(level);
  text += is_object ? '}' : ']';
}

std::expected<JsonValue, JsonFault> JsonReader::result() {
  if (fault_) return std::unexpected(*std::move(fault_));
  return std::move(open_.front().items.front());
}

bool JsonReader::boolean(bool value) { return add(value); }

// Called for negative numbers only.
bool JsonReader::number_integer(number_integer_t value) { return add(value); }

bool JsonReader::number_unsigned(number_unsigned_t value) { return add(value); }

bool JsonReader::number_float(number_float_t /*value*/, const string_t& written) {
  JsonValue json(JsonValue::Kind::other_number);
  json.text = written;
  return add(std::move(json));
}

bool JsonReader::string(string_t& value) { return add(std::move(value)); }

bool JsonReader::binary(binary_t& /*value*/) { return false; }  // does not occur in JSON text

bool JsonReader::start_object(size_t /*size*/) { return open(JsonValue::Kind::object); }

bool JsonReader::start_array(size_t /*size*/) { return open(JsonValue::Kind::array); }

bool JsonReader::key(string_t& name) {
  name_ = std::move(name);
  return true;
}

bool JsonReader::parse_error(size_t position, const std::string& /*token*/,
                             const nlohmann::detail::exception& fault) {
  // "[json.exception.parse_error.101] parse error at line 1, column 8: syntax error while ..."
  std::string_view text = fault.what();
  text.remove_prefix(std::min(text.find("] ") + 2, text.size()));
  fault_ =
      JsonFault{.kind = fault.id == kOutOfRange ? JsonFault::Kind::number : JsonFault::Kind::syntax,
                .byte = position,
                .text = printable(text, 200)};
  return false;
}

bool JsonReader::add(JsonValue value) {
  value.name = std::exchange(name_, {});
  open_.back().items.push_back(std::move(value));
  return true;
}

bool JsonReader::open(JsonValue::Kind kind) {
  if (open_.size() > nesting_max_) {
    fault_ = JsonFault{.kind = JsonFault::Kind::nesting};
    return false;
  }
  JsonValue json(kind);
  json.name = std::exchange(name_, {});
  open_.push_back(std::move(json));
  return true;
}

bool JsonReader::close() {
  JsonValue done = std::move(open_.back());
  open_.pop_back();
  open_.back().items.push_back(std::move(done));
  return true;
}

}  // namespace
}  // namespace sluice
