#!/usr/bin/env bash
# The rules of the lending interfaces (tests/conformance) on the pages of real ublk requests.
set -eu
program=$(dirname "$SLUICE")/conformance_tests
[ -x "$program" ] || { echo "skipped: $program is not built"; exit 77; }
exec "$program" --gtest_filter='-*/direct*:*/fuse*' --gtest_brief=1
