#!/usr/bin/env bash
# The loop front end on the guest's kernel: ext4 and XFS, direct and buffered, on every data path
# that a recent kernel has. What runs is a test of tests/interop/.
# timeout: 600
. "$(dirname "$0")/lib.sh"

main() {
    [ "$(hostname)" = sluice-guest ] ||
        { echo "skipped: interop.loop_filesystems has shown it on this kernel"; exit 77; }
    run_case "file systems on loop devices" file_systems
    finish
}

# Its exit status tells of its cases; that no data path was left out is looked at here.
file_systems() {
    local path
    bash "$SLUICE_SOURCE_DIR/tests/interop/loop_filesystems.sh" > cases || fail "$(cat cases)"
    for path in copy splice passthrough uring; do
        same "cases with $path" "$(grep -c "^ok .*, $path, " cases)" 4
    done
}

main
