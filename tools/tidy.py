#!/usr/bin/env python3
"""Checks the rules of style that a machine can check; prints one line for each finding.

Sizes     a header has at most 150 lines, a source or script 400, a function 70, a line 100 columns;
          a header that is one thing, and listed as such, may be as long as a source
Includes  go one way: core <- ring <- lend <- target <- reactor <- frontend <- daemon <- cli; spec,
          and persistent, which include core only, nbd, which includes core and spec, and tls, which
          includes core and ring, are for target and above; bench and image are above frontend and
          below cli. The layers up to frontend are the engine, which never logs to spdlog's
          default logger
Words     that mark unfinished work
Paths     which a document names (in `backticks`, code blocks or links) exist
Headers   compile alone (only with --headers: it takes a compiler and some seconds)

tools/tidy-baseline.json lists the sizes that are over their limit and may be, for now: none of them
may grow, and the list itself may only shrink. --shrink rewrites it to what is still needed.
"""

import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True      # leaves no __pycache__ in the checkout
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import tidy_functions  # noqa: E402

HEADER_LINES, SOURCE_LINES, FUNCTION_LINES, LINE_COLUMNS = 150, 400, 70, 100
# If split, each of these would be several files that only make sense together.
HEADERS_OF_ONE_THING = {
    "src/core/loan.hpp",            # a loan and its views make and end each other
    "src/frontend/fuse/abi.hpp",    # one kernel interface
    "src/frontend/ublk/abi.hpp",    # likewise
    "src/target/qcow2/image.hpp",   # the tables of an image, which share its locks
    "src/target/qcow2/qcow2_target.hpp",    # the coroutines of one target, likewise
    "src/target/target.hpp",        # the interface of a layer
}
LAYERS = {
    "core": set(),
    "spec": {"core"},
    "ring": {"core"},
    "lend": {"core", "ring"},
    "nbd": {"core", "spec"},
    "tls": {"core", "ring"},
    "persistent": {"core"},
    "target": {"core", "spec", "nbd", "ring", "tls", "persistent", "lend"},
    "reactor": {"core", "spec", "ring", "lend", "target"},
    "frontend": {"core", "spec", "nbd", "ring", "tls", "lend", "target", "reactor"},
    "daemon": {"core", "spec", "ring", "lend", "target", "reactor", "frontend"},
    "bench": {"core", "spec", "ring", "lend", "target", "reactor", "frontend"},
    "image": {"core", "spec", "ring", "persistent", "lend", "target", "reactor", "frontend"},
    "cli": {"core", "spec", "ring", "persistent", "lend", "target", "reactor", "frontend",
            "daemon", "bench", "image"},
}
# The public headers show what lies in these layers: the engine.
PUBLIC = "sluice"
ENGINE = {"core", "spec", "nbd", "ring", "tls", "persistent", "lend", "target", "reactor",
          "frontend"}
DEFAULT_LOGGER = "spdlog/spdlog.h"      # the header that declares the default logger
GENERATED_HEADERS = {"sluice_version.hpp"}
UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" "DO", "FIX" "ME", "X" "XX"]) + r")\b")
DOCUMENTED = re.compile(
    r"^(?:src|tests|tools|docs|bench|include|cmake|completions|\.ci)/[\w./*{},+-]*$")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
GENERATED_FOLDERS = ("tests/fuzz/corpus/", "bench/results/")
HEADER_COMPILERS = 2


def main(arguments):
    parser = argparse.ArgumentParser(prog="tools/tidy.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", action="store_true", help="also compile each header alone")
    parser.add_argument("--shrink", action="store_true", help="shrink the baseline")
    parser.add_argument("--root", type=pathlib.Path, help="the checkout, if not this one",
                        default=pathlib.Path(__file__).resolve().parent.parent)
    options = parser.parse_args(arguments)
    project = Project(options.root)
    baseline = Baseline(options.root / "tools/tidy-baseline.json")
    findings = baseline.judge(list(measure_sizes(project)), options.shrink)
    findings += check_includes(project)
    findings += check_words(project)
    findings += check_documents(project)
    if options.headers:
        findings += check_headers(project)
    for finding in findings:
        print(finding)
    print(f"tidy: {len(project.files)} files, {len(findings) or 'no'} "
          f"finding{'' if len(findings) == 1 else 's'}")
    return 1 if findings else 0


class Project:
    """The files that git tracks or would track, read once."""

    def __init__(self, root):
        self.root = root
        self.files = sorted(path for path in self.list_files() if (root / path).is_file())
        self.folders = {str(parent) for path in self.files
                        for parent in pathlib.PurePosixPath(path).parents}
        self.texts = {}
        for path in self.files:
            if not path.startswith(GENERATED_FOLDERS):
                data = (root / path).read_bytes()
                if b"\0" not in data:
                    self.texts[path] = data.decode(errors="replace")

    def list_files(self):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        git = subprocess.run(command, cwd=self.root, check=False, capture_output=True, text=True)
        if git.returncode == 0:
            return set(git.stdout.split("\0")) - {""}
        # A release archive, or a checkout of another user.
        found = set()
        for folder, folders, names in os.walk(self.root):
            folders[:] = set(folders) - {".git", ".cache", "build", "__pycache__"}
            found.update(os.path.relpath(os.path.join(folder, name), self.root) for name in names)
        return found

    def cpp(self):
        return {path: text for path, text in self.texts.items()
                if path.endswith((".cpp", ".hpp", ".h"))}

    def scripts(self):
        return {path: text for path, text in self.texts.items()
                if path.endswith((".py", ".sh")) or text.startswith("#!")}

    def exists(self, path):
        """Whether a file or folder of the project matches the path, which may be a pattern."""
        path = path.rstrip("/")
        if "*" in path:
            return any(fnmatch.fnmatchcase(name, path) for name in [*self.files, *self.folders])
        return path in self.folders or path in self.files


class Baseline:
    """The sizes that may be over their limit, as {rule: {name: size}}."""

    def __init__(self, path):
        self.path = path
        self.allowed = json.loads(path.read_text()) if path.exists() else {}

    def judge(self, sizes, shrink):
        findings = []
        needed = {}
        for rule, name, size, limit, where in sizes:
            if size <= limit:
                continue
            allowed = self.allowed.get(rule, {}).get(name, limit)
            if size > allowed:
                grown = f", grown from the {allowed} of the baseline" if allowed > limit else ""
                findings.append(f"{where}: {rule}: {size} (at most {limit}){grown}")
            if allowed > limit:
                needed.setdefault(rule, {})[name] = min(size, allowed)
        if shrink and needed != self.allowed:
            self.path.write_text(json.dumps(needed, indent=2, sort_keys=True) + "\n")
            self.allowed = needed
        for rule, names in self.allowed.items():
            for name, allowed in names.items():
                size = needed.get(rule, {}).get(name)
                if size is None:
                    findings.append(f"{self.path.name}: {rule} of {name} is no longer over its "
                                    "limit; run tools/tidy.py --shrink")
                elif size < allowed:
                    findings.append(f"{self.path.name}: {rule} of {name} is down from {allowed} to "
                                    f"{size}; run tools/tidy.py --shrink")
        return findings


def measure_sizes(project):
    """Yields (rule, name in the baseline, size, limit, place to print)."""
    cpp = project.cpp()
    for path, text in {**cpp, **project.scripts()}.items():
        lines = text.splitlines()
        header = path.endswith((".hpp", ".h"))
        short = header and path not in HEADERS_OF_ONE_THING
        limit = HEADER_LINES if short else SOURCE_LINES
        yield ("header-lines" if header else "source-lines"), path, len(lines), limit, path
        long = [number for number, line in enumerate(lines, 1) if len(line) > LINE_COLUMNS]
        places = ",".join(map(str, long[:5])) + (",..." if len(long) > 5 else "")
        yield f"lines-over-{LINE_COLUMNS}-columns", path, len(long), 0, f"{path}:{places}"
    for path, text in cpp.items():
        for name, first, length in tidy_functions.find(text):
            where = f"{path}:{first} {name}()"
            yield "function-lines", f"{path}:{name}", length, FUNCTION_LINES, where


def check_includes(project):
    findings = []
    for path, text in project.cpp().items():
        layer = layer_of(path)
        if layer is None:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                complaint = judge_include(path, layer, match[1] == '"', match[2])
                if complaint:
                    findings.append(f"{path}:{number}: include: {complaint}")
    return findings


def layer_of(path):
    parts = path.split("/")
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return PUBLIC if parts[:2] == ["include", "sluice"] else None


def judge_include(path, layer, quoted, included):
    folder = included.split("/")[0] if "/" in included else ""
    if layer != PUBLIC and layer not in LAYERS:
        return f"{path} lies in no layer; there are {', '.join(LAYERS)}"
    if layer in ENGINE and included == DEFAULT_LOGGER:
        return f'<{included}> is for the program that the engine is in: use "core/log.hpp"'
    if folder in LAYERS and not quoted:
        return f'<{included}> is ours: write "{included}"'
    if not quoted or included in GENERATED_HEADERS or folder == PUBLIC:
        return None
    if layer == PUBLIC:
        if folder in ENGINE:
            return None
        return f'a public header cannot include "{included}", which is not public'
    if folder not in LAYERS:
        return f'"{included}" does not begin with a layer; write the path from src/'
    if folder != layer and folder not in LAYERS[layer]:
        return f"{layer} must not include {folder} ({included})"
    return None


def check_words(project):
    findings = []
    for path, text in project.texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if path.endswith(".md"):
                line = re.sub(r"`[^`]*`", "", line)     # documents may quote the words
            match = UNFINISHED.search(line)
            if match:
                findings.append(f"{path}:{number}: {match[0]}: finish it, or write an issue")
    return findings


def check_documents(project):
    findings = []
    for path, text in project.texts.items():
        if not (path.endswith(".md") or path.startswith("docs/")) or path.endswith(".svg"):
            continue
        for number, named, seen in documented_paths(path, text):
            if not all(project.exists(one) for one in expand_braces(named)):
                findings.append(f"{path}:{number}: {seen} does not exist")
    return findings


def documented_paths(document, text):
    """Yields (line number, path from the root, the text that names it)."""
    in_block = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_block = not in_block
            continue
        for code in [line] if in_block else re.findall(r"`([^`]+)`", line):
            for word in re.split(r"[\s\"'()|;=]+", code):
                word = re.sub(r"(:\d+)+$|[.,:]+$", "", word.removeprefix("./"))
                if DOCUMENTED.match(word):
                    yield number, word, word
        if in_block:
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            link = target.split("#")[0]
            if link and not re.match(r"[a-z]+:", link):
                base = os.path.dirname(document)
                yield number, os.path.normpath(os.path.join(base, link)), target


def expand_braces(text):
    match = re.search(r"\{([^{}]*)\}", text)
    if not match:
        return [text]
    return [one for choice in match[1].split(",")
            for one in expand_braces(text[:match.start()] + choice + text[match.end():])]


def check_headers(project):
    flags = subprocess.run(["pkg-config", "--cflags", "spdlog", "liburing"], check=False,
                           capture_output=True, text=True).stdout.split()
    command = ["clang++-19", "-std=c++23", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Isrc",
               "-Iinclude", "-Ibuild/lint/include", "-Itests", *flags, "-x", "c++", "-"]

    def compile_alone(path):
        result = subprocess.run(command, input=f'#include "{path}"\n', cwd=project.root,
                                check=False, capture_output=True, text=True)
        if result.returncode == 0:
            return []
        errors = [line for line in result.stderr.splitlines() if "error:" in line]
        return [f"{path}: does not compile alone: {(errors or ['?'])[0]}"]

    headers = [path for path in project.cpp() if path.endswith((".hpp", ".h"))]
    with concurrent.futures.ThreadPoolExecutor(HEADER_COMPILERS) as pool:
        return [finding for found in pool.map(compile_alone, headers) for finding in found]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
