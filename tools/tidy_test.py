#!/usr/bin/env python3
"""Tests of tools/tidy.py: each rule finds what it is for, and nothing in a clean project."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import tidy             # noqa: E402
import tidy_functions   # noqa: E402

BODY = "  work();\n"


class FunctionsTest(unittest.TestCase):
    def find(self, text):
        return [(name, lines) for name, _, lines in tidy_functions.find(text)]

    def test_kinds_of_functions(self):
        text = """
#define MACRO(x) { x
namespace sluice {
namespace { constexpr int kTable[] = {1, 2}; }
struct Point { int x = 0; std::string text{"{"}; };
enum class Kind : uint8_t { a, b };
class Queue : public Base {
 public:
  Queue(int depth, Ring& ring) noexcept
      : Base{ring}, depth_{depth}, names_({1, 2}) {
    start();
  }
  ~Queue() override { stop(); }
  int depth() const { return depth_; }
  bool operator==(const Queue&) const = default;
  Queue& operator=(Queue&& other) {
    return *this;
  }
 private:
  int depth_ = 0;
};
template <typename T>
  requires(std::integral<T>)
[[nodiscard]] auto Queue::serve(const T& tag, Options options = {}) -> Result<int> {
  for (;;) { auto f = [&](int i) { return i; }; f('{'); }
  return {};  // }
}
constexpr std::string_view kText = R"(void f() {)";
extern "C" {
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return 0;
}
}
TEST_F(QueueTest, ServesAll) {
  EXPECT_TRUE(true);
}
}
"""
        self.assertEqual(self.find(text), [
            ("Queue", 4), ("~Queue", 1), ("depth", 1), ("operator=", 3), ("Queue::serve", 6),
            ("LLVMFuzzerTestOneInput", 3), ("QueueTest.ServesAll", 3)])

    def test_line_numbers(self):
        self.assertEqual(list(tidy_functions.find("/*\n\n*/\nint\nf(int a,\n  int b) {\n}\n")),
                         [("f", 4, 4)])


class TidyTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("src/core/status.hpp", "#pragma once\n")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def tidy(self, *options):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = tidy.main(["--root", str(self.root), *options])
        findings = output.getvalue().splitlines()[:-1]
        self.assertEqual(status, 1 if findings else 0)
        return findings

    def assert_finding(self, text, *options):
        findings = self.tidy(*options)
        self.assertEqual(len(findings), 1, findings)
        self.assertIn(text, findings[0])

    def test_clean(self):
        self.write("src/core/a.cpp", '#include "core/status.hpp"\n#include <vector>\n')
        self.assertEqual(self.tidy(), [])

    def test_lines_of_files(self):
        self.write("src/core/status.hpp", "//\n" * 151)
        self.assert_finding("src/core/status.hpp: header-lines: 151 (at most 150)")
        self.write("src/core/status.hpp", "//\n" * 150)
        self.write("tools/run", "#!/bin/sh\n" + ":\n" * 400)
        self.assert_finding("tools/run: source-lines: 401")

    def test_a_header_of_one_thing_may_be_longer(self):
        self.write("src/core/loan.hpp", "//\n" * 400)
        self.assertEqual(self.tidy(), [])
        self.write("src/core/loan.hpp", "//\n" * 401)
        self.assert_finding("src/core/loan.hpp: header-lines: 401 (at most 400)")

    def test_columns_count_characters(self):
        self.write("src/core/a.cpp", "//" + "é" * 98 + "\n")
        self.assertEqual(self.tidy(), [])
        self.write("src/core/a.cpp", "\n//" + "e" * 99 + "\n")
        self.assert_finding("src/core/a.cpp:2: lines-over-100-columns: 1")

    def test_function_length(self):
        self.write("src/core/a.cpp", "\nint f() {\n" + BODY * 69 + "}\n")
        self.assert_finding("src/core/a.cpp:2 f(): function-lines: 71")

    def test_include_direction(self):
        self.write("src/target/a.cpp", '#include "spec/spec.hpp"\n#include "ring/ring.hpp"\n')
        self.assertEqual(self.tidy(), [])
        for layer, included in [("core", "ring/ring.hpp"), ("spec", "ring/ring.hpp"),
                                ("ring", "spec/spec.hpp"), ("lend", "spec/spec.hpp"),
                                ("target", "frontend/a.hpp"), ("daemon", "cli/a.hpp"),
                                ("daemon", "bench/a.hpp"), ("bench", "daemon/a.hpp"),
                                ("bench", "cli/a.hpp")]:
            self.write("src/target/a.cpp", "")
            self.write(f"src/{layer}/b.cpp", f'#include "{included}"\n')
            self.assert_finding(f"src/{layer}/b.cpp:1: include: {layer} must not include")
            self.write(f"src/{layer}/b.cpp", "")

    def test_other_includes(self):
        for included, text in [("<core/status.hpp>", "is ours"), ('"status.hpp"', "a layer")]:
            self.write("src/core/a.cpp", f"#include {included}\n")
            self.assert_finding(text)
        self.write("src/core/a.cpp", '#include "sluice/target.hpp"\n')
        self.assertEqual(self.tidy(), [])
        self.write("include/sluice/target.hpp", '#include "core/status.hpp"\n')
        self.assertEqual(self.tidy(), [])
        self.write("include/sluice/target.hpp", '#include "daemon/device.hpp"\n')
        self.assert_finding("not public")

    def test_log_of_the_engine(self):
        self.write("src/daemon/a.cpp", "#include <spdlog/spdlog.h>\n")
        self.write("src/core/a.cpp", "#include <spdlog/logger.h>\n")
        self.assertEqual(self.tidy(), [])
        self.write("src/core/a.cpp", "#include <spdlog/spdlog.h>\n")
        self.assert_finding('use "core/log.hpp"')

    def test_unfinished_words(self):
        word = "TO" "DO"
        self.write("src/core/a.cpp", f"\n// {word}: later\n")
        self.assert_finding("src/core/a.cpp:2: " + word)
        self.write("src/core/a.cpp", f"// {word}S, mktemp " + "X" * 6 + "\n")
        self.write("README.md", f"`{word}` is refused.\n")
        self.assertEqual(self.tidy(), [])

    def test_documented_paths(self):
        self.write("docs/A.md", """
See `src/core/status.hpp:12`, `./src/core/`, `src/{core}/*.hpp`, [it](../src/core/status.hpp#x),
[site](https://example.org/src/x), `build/release/sluice`, `tests/<name>`.
```
src/core/status.hpp   submit()
```
""")
        self.assertEqual(self.tidy(), [])
        for text in ["`src/core/none.cpp`", "`tools/none --all`", "[it](none.md)",
                     "```\nbench/none\n```", "`src/{core,none}/status.hpp`"]:
            self.write("docs/A.md", text + "\n")
            self.assert_finding("does not exist")

    def test_baseline_may_only_shrink(self):
        baseline = "tools/tidy-baseline.json"
        allow = {"function-lines": {"src/core/a.cpp:f": 80}}
        self.write(baseline, json.dumps(allow))
        self.write("src/core/a.cpp", "int f() {\n" + BODY * 78 + "}\n")
        self.assertEqual(self.tidy(), [])
        self.write("src/core/a.cpp", "int f() {\n" + BODY * 79 + "}\n")
        self.assert_finding("81 (at most 70), grown from the 80")
        self.assert_finding("grown from the 80", "--shrink")
        self.write("src/core/a.cpp", "int f() {\n" + BODY * 73 + "}\n")
        self.assert_finding("down from 80 to 75")
        self.assertEqual(self.tidy("--shrink"), [])
        self.assertEqual(json.loads((self.root / baseline).read_text()),
                         {"function-lines": {"src/core/a.cpp:f": 75}})
        self.write("src/core/a.cpp", "")
        self.assert_finding("no longer over its limit")
        self.assertEqual(self.tidy("--shrink"), [])
        self.assertEqual(json.loads((self.root / baseline).read_text()), {})

    def test_headers_compile_alone(self):
        self.write("src/core/status.hpp", "#pragma once\n#include <string>\nstd::string f();\n")
        self.assertEqual(self.tidy("--headers"), [])
        self.write("src/core/status.hpp", "#pragma once\nstd::string f();\n")
        self.assert_finding("src/core/status.hpp: does not compile alone", "--headers")


if __name__ == "__main__":
    unittest.main()
