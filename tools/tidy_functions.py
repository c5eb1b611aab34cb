"""Finds the functions of a C++ file and their lengths, by counting braces; no compiler needed.

Good enough for code as clang-format lays it out. A lambda belongs to the function around it.
"""

import re

# Comments, literals and preprocessor lines, whose braces do not count.
NOISE = re.compile(
    r'''//[^\n]*|/\*.*?\*/
      |R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)"
      |"(?:\\.|[^"\\\n])*"
      |(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'
      |^[ \t]*\#(?:\\\n|[^\n])*''',
    re.VERBOSE | re.DOTALL | re.MULTILINE)
SCOPE = re.compile(r"^(?:inline\s+)?(?:namespace|class|struct|union|enum|extern|export)\b")
PREFIX = re.compile(r"^\s*(?:template\s*<[^{;]*?>\s*(?:requires\b[^{;]*?\)\s*)?"
                    r"|\[\[.*?\]\]\s*)", re.DOTALL)
ACCESS = re.compile(r"(?:public|private|protected)\s*")
MACRO_TEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST)\s*\(([^)]*)\)")
NAME = re.compile(r"((?:[\w~]+(?:<[^()]*>)?::)*"
                  r"(?:operator\s*(?:\(\)|[^\s(\w]+|[\w\s]+)|~?\w+))\s*\(")


def find(text):
    """Yields (name, first line, number of lines) of each function body, in order."""
    text = NOISE.sub(blank, text)
    head, line, head_line = "", 1, None     # the text before the next brace, and its first line
    stack = []                              # for each open brace: its kind
    for character in text:
        kind = stack[-1][0] if stack else "scope"
        if character == "{":
            if kind != "scope":
                stack.append(("inner",))
            elif is_initializer(head):
                stack.append(("initializer",))
                head += "{"
            elif name := function_name(head):
                stack.append(("function", name, head_line))
            else:
                stack.append(("scope",))
                head, head_line = "", None
        elif character == "}":
            closed = stack.pop() if stack else ("scope",)
            if closed[0] == "function":
                yield closed[1], closed[2], line - closed[2] + 1
            if closed[0] == "initializer":
                head += "}"
            elif closed[0] != "inner":
                head, head_line = "", None
        elif kind == "scope":
            if ends_statement(head, character):
                head, head_line = "", None
            elif head or not character.isspace():
                head_line = head_line or line
                head += character
        line += character == "\n"


def ends_statement(head, character):
    if character == ";":
        return head.count("(") == head.count(")")
    return character == ":" and ACCESS.fullmatch(head) is not None


def blank(match):
    """The same number of lines, so that line numbers stay right."""
    return " " + "\n" * match[0].count("\n")


def strip_prefixes(head):
    while (rest := PREFIX.sub("", head, count=1)) != head:
        head = rest
    return head.strip()


def is_initializer(head):
    """Whether a brace after this text begins a value and not a body."""
    head = strip_prefixes(head)
    if head.count("(") != head.count(")"):
        return True
    if SCOPE.match(head):
        return False
    outside = remove_parentheses(head)
    if re.search(r"(?<![=!<>])=(?!=)", re.sub(r"operator\s*\S+", "", outside)):
        return True
    # A member's initializer, `Name::Name() : member_{`. A trailing return type comes before it.
    if re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", head):
        return re.search(r"[\w>]$", head) is not None
    return "(" not in head and head != ""


def function_name(head):
    head = strip_prefixes(head)
    if SCOPE.match(head) or "(" not in head:
        return None
    if test := MACRO_TEST.match(head):
        return ".".join(part.strip() for part in test[1].split(","))
    name = NAME.search(head)
    return re.sub(r"\s+", " ", name[1]).strip() if name else "?"


def remove_parentheses(text):
    while (less := re.sub(r"\([^()]*\)", "", text)) != text:
        text = less
    return text
