#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "spec/rules.hpp"
#include "spec/shown.hpp"
#include "spec/spec.hpp"

namespace sluice {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";
constexpr std::string_view kWordEnd = " \t\n\v\f\r,()=\"";
constexpr std::string_view kUriEnd = " \t\n\v\f\r,)";

// A piece of text between punctuation of the spec language.
struct Word {
  std::string text = {};  // without the quotes and escapes
  std::string lead = {};  // text before an opening quote: the `file:` of file:"a b"
  bool quoted = false;
  size_t offset = 0;  // of its first byte, quote or lead included

  bool is_bare() const { return !quoted && lead.empty(); }
};

// Reads one spec text from left to right. Borrows the text and the vocabulary; made for one parse.
class TextParser {
 public:
  TextParser(std::string_view text, std::span<const TargetSyntax> vocabulary, const JsonStep* step)
      : text_(text), vocabulary_(vocabulary), step_(step) {}

  Result<Spec> parse(size_t depth);

 private:
  Result<Spec> parse_target(const Word& word, size_t depth);
  Result<Spec> parse_call(const Word& name, size_t depth);
  Result<void> parse_argument(Spec& spec, const TargetSyntax& target, size_t depth);
  Result<void> parse_option(Spec& spec, const TargetSyntax& target, const Word& name);
  Result<void> parse_bare_option(Spec& spec, const TargetSyntax& target, const OptionSyntax& option,
                                 const Word& name);
  Result<void> parse_leaf_argument(Spec& spec, const TargetSyntax& target, const Word& word);
  Result<Spec> parse_leaf(const Word& word);
  Result<Spec> make_leaf(const TargetSyntax* target, std::string_view value, size_t value_offset,
                         size_t offset);
  Result<Word> read_word();
  Result<std::string> read_quoted();
  std::unexpected<Error> unexpected_sign(std::string_view advice);

  void skip_space();
  bool at_end() const { return position_ == text_.size(); }
  bool next_is(char sign) const { return !at_end() && text_[position_] == sign; }
  SourceLocation location(size_t offset) const { return SourceLocation::at(text_, offset, step_); }

  const std::string_view text_;
  const std::span<const TargetSyntax> vocabulary_;
  const JsonStep* const step_;
  size_t position_ = 0;
};

}  // namespace

Result<Spec> parse_spec(std::string_view text, std::span<const TargetSyntax> vocabulary) {
  if (text.size() > kSpecBytesMax) {
    return fail(EINVAL, fmt::format("the spec is {} bytes long: {} are the limit", text.size(),
                                    kSpecBytesMax));
  }
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    return fail(EINVAL,
                "the spec is empty: write a file name or a target, such as"
                " stripe(a.img, b.img)");
  }
  Result<Spec> spec =
      text[first] == '{' ? parse_json(text, vocabulary) : parse_text(text, vocabulary, 1, nullptr);
  if (!spec) return spec;
  if (Result<void> checked = check_written_size(*spec, vocabulary); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return spec;
}

Result<Spec> parse_text(std::string_view text, std::span<const TargetSyntax> vocabulary,
                        size_t depth, const JsonStep* step) {
  return TextParser(text, vocabulary, step).parse(depth);
}

namespace {

Result<Spec> TextParser::parse(size_t depth) {
  Result<Word> word = read_word();
  if (!word) return std::unexpected(std::move(word).error());
  Result<Spec> spec = parse_target(*word, depth);
  if (!spec) return spec;
  skip_space();
  if (!at_end()) {
    return unexpected_sign(
        "the spec should end before it; write a name that holds white space or"
        " one of , ( ) = in double quotes");
  }
  return spec;
}

// `word` and the white space after it have been read.
Result<Spec> TextParser::parse_target(const Word& word, size_t depth) {
  if (Result<void> checked = check_nesting(depth, location(word.offset)); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (next_is('(') && word.is_bare()) return parse_call(word, depth);
  return parse_leaf(word);
}

Result<Spec> TextParser::parse_call(const Word& name, size_t depth) {
  // No name contains these, so this is a file name rather than a typo.
  if (name.text.find_first_of("./:") != std::string::npos) {
    return unexpected_sign("write a name that holds it in double quotes");
  }
  const TargetSyntax* target = find_target(vocabulary_, name.text);
  if (target == nullptr) return unknown_target(name.text, location(name.offset), vocabulary_);

  const size_t open = position_++;
  Spec spec{.target = name.text};
  skip_space();
  while (!next_is(')')) {
    if (at_end()) {
      return fail(EINVAL, fmt::format("the '(' of {}{} is not closed: add a ')'", target->name,
                                      location(open).describe()));
    }
    if (Result<void> argument = parse_argument(spec, *target, depth); !argument) {
      return std::unexpected(std::move(argument).error());
    }
    skip_space();
    if (next_is(',')) {
      ++position_;
      skip_space();
    } else if (!at_end() && !next_is(')')) {
      return unexpected_sign(
          "put a comma between arguments, and text that holds white space or one"
          " of , ( ) = in double quotes");
    }
  }
  ++position_;
  if (Result<void> checked = check_complete(spec, *target, location(name.offset)); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return spec;
}

Result<void> TextParser::parse_argument(Spec& spec, const TargetSyntax& target, size_t depth) {
  Result<Word> word = read_word();
  if (!word) return std::unexpected(std::move(word).error());
  if (word->is_bare() && next_is('=')) return parse_option(spec, target, *word);
  if (word->is_bare() && !next_is('(')) {
    const OptionSyntax* option = find_option(target, word->text);
    if (option != nullptr) return parse_bare_option(spec, target, *option, *word);
  }
  if (target.children_maximum == 0) return parse_leaf_argument(spec, target, *word);
  Result<Spec> child = parse_target(*word, depth + 1);
  if (!child) return std::unexpected(std::move(child).error());
  spec.children.push_back(*std::move(child));
  return check_child_limit(target, spec.children.size(), location(word->offset));
}

Result<void> TextParser::parse_option(Spec& spec, const TargetSyntax& target, const Word& name) {
  const OptionSyntax* option = find_option(target, name.text);
  if (option == nullptr) return unknown_option(target, name.text, location(name.offset));
  ++position_;
  skip_space();
  const size_t offset = position_;
  if (at_end() || next_is(',') || next_is(')')) {
    return fail(EINVAL, fmt::format("option '{0}'{1} has no value: write {0}=..., or \"\" for an"
                                    " empty one",
                                    name.text, location(name.offset).describe()));
  }
  Result<Word> word = read_word();
  if (!word) return std::unexpected(std::move(word).error());
  if (!word->lead.empty()) {
    return fail(EINVAL, fmt::format("the value of option '{}'{} is quoted in part: put the quotes"
                                    " around all of it",
                                    name.text, location(offset).describe()));
  }
  Result<OptionValue> value = read_value(*option, word->text, location(offset));
  if (!value) return std::unexpected(std::move(value).error());
  return add_option(spec, target, *option, *std::move(value), location(name.offset));
}

// Handles the name of an option without a value.
Result<void> TextParser::parse_bare_option(Spec& spec, const TargetSyntax& target,
                                           const OptionSyntax& option, const Word& name) {
  if (option.kind == OptionKind::flag) {
    return add_option(spec, target, option, true, location(name.offset));
  }
  return fail(EINVAL,
              fmt::format("option '{0}'{1} has no value: write {0}=..., or \"{0}\" in double"
                          " quotes if that is a file's name",
                          name.text, location(name.offset).describe()));
}

// Handles the argument that is no option, of a target without children: 250G in null(250G).
Result<void> TextParser::parse_leaf_argument(Spec& spec, const TargetSyntax& target,
                                             const Word& word) {
  const SourceLocation here = location(word.offset);
  const OptionSyntax* option = find_option(target, target.leaf_option);
  if (next_is('(') || option == nullptr) {
    return fail(EINVAL, fmt::format("target '{}' takes no children, found {}{}", target.name,
                                    shown(word.text), here.describe()));
  }
  if (!word.lead.empty()) {
    return fail(EINVAL, fmt::format("the {} of {}{} is quoted in part: put the quotes around all of"
                                    " it, without a prefix",
                                    option->name, target.name, here.describe()));
  }
  Result<OptionValue> value = read_value(*option, word.text, here);
  if (!value) return std::unexpected(std::move(value).error());
  if (!spec.has(option->name)) {
    return add_option(spec, target, *option, *std::move(value), here);
  }
  // A second such argument is more likely a mistyped flag.
  if (!option->list) return unknown_option(target, word.text, here);
  spec.set(option->name, fmt::format("{} {}", spec.text(option->name), word.text));
  return {};
}

// PATH, URI, prefix:TEXT or prefix:"TEXT".
Result<Spec> TextParser::parse_leaf(const Word& word) {
  const std::string& text = word.text;
  if (word.is_bare() && find_target(vocabulary_, text) != nullptr) {
    return fail(EINVAL, fmt::format("{0}{1} is the name of a target: write {2}(...), or \"{2}\" in"
                                    " double quotes for a file of that name",
                                    shown(text), location(word.offset).describe(), text));
  }
  if (word.lead.empty() && begins_as_uri(text)) {
    const TargetSyntax* const target = find_scheme(vocabulary_, text);
    if (target != nullptr) return make_leaf(target, text, word.offset, word.offset);
  }
  const size_t colon = word.lead.empty() ? text.find(':') : word.lead.size() - 1;
  const bool is_path = word.lead.empty() && (word.quoted || text.find('/') <= colon);
  if (is_path) {
    return make_leaf(find_prefix(vocabulary_, kFilePrefix), text, word.offset, word.offset);
  }

  const std::string_view prefix =
      std::string_view(word.lead.empty() ? text : word.lead).substr(0, colon);
  const TargetSyntax* target = find_prefix(vocabulary_, prefix);
  if (target == nullptr) {
    const std::string name = word.lead.empty() ? text : fmt::format("\"{}{}\"", word.lead, text);
    return unknown_prefix(name, prefix, location(word.offset), vocabulary_);
  }
  const std::string_view value =
      word.lead.empty() ? std::string_view(text).substr(colon + 1) : text;
  return make_leaf(target, value, word.offset + colon + 1, word.offset);
}

Result<Spec> TextParser::make_leaf(const TargetSyntax* target, std::string_view value,
                                   size_t value_offset, size_t offset) {
  const OptionSyntax* option =
      target == nullptr ? nullptr : find_option(*target, target->leaf_option);
  if (option == nullptr) {
    return fail(EINVAL, fmt::format("{}{} is no target, and there is none for a bare file name",
                                    shown(value), location(offset).describe()));
  }
  Spec spec{.target = std::string(target->name)};
  Result<OptionValue> read = read_value(*option, value, location(value_offset));
  if (!read) return std::unexpected(std::move(read).error());
  Result<void> checked =
      add_option(spec, *target, *option, *std::move(read), location(value_offset));
  if (checked) checked = check_complete(spec, *target, location(offset));
  if (!checked) return std::unexpected(std::move(checked).error());
  return spec;
}

// Reads a word and the white space around it.
Result<Word> TextParser::read_word() {
  skip_space();
  Word word{.quoted = next_is('"'), .offset = position_};
  if (!word.quoted) {
    const bool is_uri = begins_as_uri(text_.substr(position_));
    const size_t end =
        std::min(text_.find_first_of(is_uri ? kUriEnd : kWordEnd, position_), text_.size());
    word.text = text_.substr(position_, end - position_);
    position_ = end;
    if (word.text.empty()) {
      return unexpected_sign("a file name, target or option should stand there");
    }
    if (word.text[0] == '{') {
      position_ = word.offset;
      return unexpected_sign(
          "JSON cannot stand inside a spec in text; write a file name that"
          " begins with it in double quotes");
    }
  }
  if (next_is('"')) {
    // Only the first colon makes a prefix, and only if no slash makes it a path.
    const size_t prefix_end = word.text.find_first_of(":/");
    if (!word.quoted && (prefix_end + 1 != word.text.size() || word.text.back() != ':')) {
      return unexpected_sign("put the quotes around all of the text, and write \\\" for one in it");
    }
    word.lead = std::exchange(word.text, {});
    Result<std::string> quoted = read_quoted();
    if (!quoted) return std::unexpected(std::move(quoted).error());
    word.text = *std::move(quoted);
  }
  skip_space();
  return word;
}

Result<std::string> TextParser::read_quoted() {
  const size_t open = position_++;
  std::string out;
  while (!at_end() && !next_is('"')) {
    if (next_is('\\')) {
      const size_t backslash = position_++;
      if (!next_is('"') && !next_is('\\')) {
        return fail(EINVAL, fmt::format("the '\\'{} stands before neither '\"' nor '\\': write \\\\"
                                        " for one backslash",
                                        location(backslash).describe()));
      }
    }
    out += text_[position_++];
  }
  if (at_end()) {
    return fail(EINVAL,
                fmt::format("the '\"'{} is not closed: add a '\"'", location(open).describe()));
  }
  ++position_;
  return out;
}

std::unexpected<Error> TextParser::unexpected_sign(std::string_view advice) {
  if (at_end()) {
    return fail(EINVAL, fmt::format("the spec ends too early{}: {}", location(position_).describe(),
                                    advice));
  }
  const size_t length = std::max<size_t>(utf8_length(text_.substr(position_)), 1);
  return fail(EINVAL, fmt::format("unexpected {}{}: {}", shown(text_.substr(position_, length)),
                                  location(position_).describe(), advice));
}

void TextParser::skip_space() {
  position_ = std::min(text_.find_first_not_of(kSpace, position_), text_.size());
}

}  // namespace
}  // namespace sluice
