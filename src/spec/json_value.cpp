#include "spec/json_value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "spec/shown.hpp"

namespace sluice {
namespace {

// Takes the events of nlohmann's parser and builds the tree. That interface reports every fault to
// parse_error() and throws nothing.
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

  Result<JsonValue> result();

 private:
  bool add(JsonValue value);
  bool open(JsonValue::Kind kind);
  bool close();

  const size_t nesting_max_;
  std::vector<JsonValue> open_;  // outermost first; the first one holds the document
  std::string name_;             // of the next value, where it is a member
  std::string fault_;
};

}  // namespace

Result<JsonValue> read_json(std::string_view text, size_t nesting_max) {
  // nlohmann's lexer takes a NUL for the end of the text and would not look at what follows.
  if (text.contains('\0')) return fail(EINVAL, "this is not JSON: it holds a NUL byte");
  JsonReader reader(nesting_max);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return reader.result();
}

namespace {

Result<JsonValue> JsonReader::result() {
  if (!fault_.empty()) return fail(EINVAL, fault_);
  return std::move(open_.front().items.front());
}

bool JsonReader::boolean(bool value) {
  JsonValue json(JsonValue::Kind::boolean);
  json.boolean = value;
  return add(std::move(json));
}

// Only negative numbers come here.
bool JsonReader::number_integer(number_integer_t /*value*/) {
  return add(JsonValue(JsonValue::Kind::other_number));
}

bool JsonReader::number_unsigned(number_unsigned_t value) {
  JsonValue json(JsonValue::Kind::whole_number);
  json.whole_number = value;
  return add(std::move(json));
}

bool JsonReader::number_float(number_float_t /*value*/, const string_t& /*written*/) {
  return add(JsonValue(JsonValue::Kind::other_number));
}

bool JsonReader::string(string_t& value) {
  JsonValue json(JsonValue::Kind::text);
  json.text = std::move(value);
  return add(std::move(json));
}

bool JsonReader::binary(binary_t& /*value*/) { return false; }  // no such thing in JSON text

bool JsonReader::start_object(size_t /*size*/) { return open(JsonValue::Kind::object); }

bool JsonReader::start_array(size_t /*size*/) { return open(JsonValue::Kind::array); }

bool JsonReader::key(string_t& name) {
  name_ = std::move(name);
  return true;
}

bool JsonReader::parse_error(size_t /*position*/, const std::string& /*token*/,
                             const nlohmann::detail::exception& fault) {
  // "[json.exception.parse_error.101] parse error at line 1, column 8: syntax error while ..."
  std::string_view text = fault.what();
  text.remove_prefix(std::min(text.find("] ") + 2, text.size()));
  fault_ = fmt::format("this is not JSON: {}", printable(text, 200));
  return false;
}

bool JsonReader::add(JsonValue value) {
  value.name = std::exchange(name_, {});
  open_.back().items.push_back(std::move(value));
  return true;
}

bool JsonReader::open(JsonValue::Kind kind) {
  if (open_.size() > nesting_max_) {
    fault_ = fmt::format(
        "the JSON is nested too deeply: {} arrays and objects inside one another"
        " are the limit",
        nesting_max_);
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
