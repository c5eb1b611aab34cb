#!/usr/bin/env python3
"""Writes docs/CONFORMANCE.md: each rule of the lending interfaces, where it was run, with what
result.

  tests/conformance/report.py RESULTS...        from GoogleTest's JSON (--gtest_output=json:FILE)
                                                of conformance_tests here and on a kernel with
                                                ublk, and of unit_tests
  tests/conformance/report.py --check           does each rule have a test or a reason, each test
                                                here a rule, and is each example of
                                                docs/LENDING.md in examples_test.cpp? exit
                                                status 1 if not

The rules are in tests/conformance/rules.txt. A test says in its name which ones it is about:
S33_S91_WhatIsShortIsShort, P7_ManyConsumers; unit tests of loans say it in their suite's:
P07_Piped.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "CONFORMANCE.md"
CITED = re.compile(r"(?:^|_)([SP])0*(\d+)(?=_)")
TEST = re.compile(r"^TEST(?:_[PF])?\(\w+,\s*(\w+)\)", re.M)
PROVIDERS = ["units", "direct", "direct_fixed", "fuse", "ublk", "ublk_by_hand"]
HEAD = """# Conformance

What the five mails of 2022 and 2023 that proposed to lend the pages of a request define, as rules
S1 to S129, and what sound loans must have, as properties P-1 to P-22: each with the providers that
its tests were run on, or why it cannot apply to Sluice. This file is made by
`tests/conformance/report.py` from what the tests said; `docs/LENDING.md` explains the interfaces.

| provider | lends |
|---|---|
| `direct` | memory of a program in the same process |
| `direct_fixed` | the same, registered with the ring |
| `fuse` | pages in pipes, of a FUSE file on the data path splice |
| `ublk` | the request's own pages, registered before it is delivered |
| `ublk_by_hand` | the same, registered by command |
| `units` | loans of every kind made by the unit tests (`tests/unit/loan/`), no provider |
| `-` | none: the rule is about names, lists or the ring |
"""


def main(arguments):
    if arguments == ["--check"]:
        return check()
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    results = {}
    for name in arguments:
        read_results(pathlib.Path(name), results)
    DOCUMENT.write_text(HEAD + "".join(section(*each, results) for each in read_sections()))
    return 0


def read_sections():
    """[(heading, [(rule, what, reason or '')])], in the order of the file."""
    sections = []
    for line in (HERE / "rules.txt").read_text().splitlines():
        if line.startswith("## "):
            sections.append((line[3:], []))
        elif line.strip() and not line.startswith("#"):
            rule, what, *reason = [part.strip() for part in line.split("|")]
            sections[-1][1].append((rule, what, reason[0] if reason else ""))
    return sections


def rules_of(name):
    return [kind + number for kind, number in CITED.findall(name.split("/")[0])]


def provider_of(name):
    return name.split("/")[1] if "/" in name else "-"


def read_results(path, results):
    """results[rule][provider] = [passed, failed]; what was skipped is neither."""
    for suite in json.loads(path.read_text())["testsuites"]:
        for test in suite["testsuite"]:
            if test["result"] != "COMPLETED":
                continue
            of_units = rules_of(suite["name"].split("/")[-1])
            provider = "units" if of_units else provider_of(test["name"])
            for rule in of_units or rules_of(test["name"]):
                counts = results.setdefault(rule, {}).setdefault(provider, [0, 0])
                counts["failures" in test] += 1


def section(heading, rules, results):
    lines = [f"\n## {heading}\n", "| rule | what | tests passed, by provider |", "|---|---|---|"]
    for rule, what, reason in rules:
        lines.append(f"| {rule} | {what} | {verdict(results.get(rule), reason)} |")
    return "\n".join(lines) + "\n"


def verdict(by_provider, reason):
    if not by_provider:
        return f"cannot apply: {reason}" if reason else "**no test was run**"
    parts = []
    for provider in ["-", *PROVIDERS]:
        passed, failed = by_provider.get(provider, (0, 0))
        if passed or failed:
            name = provider if provider == "-" else f"`{provider}`"
            parts.append(f"{name} {passed}" + (f", **{failed} failed**" if failed else ""))
    return " ".join(parts) + (f" ({reason})" if reason else "")


def check():
    sources = [source.read_text() for source in HERE.glob("*_test.cpp")]
    tests = {test for source in sources for test in TEST.findall(source)}
    rules = {rule: reason for _, group in read_sections() for rule, _, reason in group}
    tested = {rule for test in tests for rule in rules_of(test)}
    findings = [f"{test} names no rule" for test in sorted(tests) if not rules_of(test)]
    findings += [f"{rule} has a test and is not in rules.txt"
                 for rule in sorted(tested - set(rules))]
    findings += [f"{rule} has neither a test nor a reason why it cannot apply"
                 for rule, reason in rules.items() if rule not in tested and not reason]
    findings += check_examples()
    for finding in findings:
        print(f"conformance: {finding}")
    return 1 if findings else 0


def check_examples():
    tested = in_one_line((HERE / "examples_test.cpp").read_text())
    blocks = re.findall(r"```cpp\n(.*?)```", (DOCUMENT.parent / "LENDING.md").read_text(), re.S)
    return [f"docs/LENDING.md: not in examples_test.cpp: {block.splitlines()[0]} ..."
            for block in blocks if in_one_line(block) not in tested]


def in_one_line(text):
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
