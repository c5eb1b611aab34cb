#!/usr/bin/env bash
# The loop front end on the guest's kernel: ext4 and XFS, direct and buffered, on every data path
# that a recent kernel has. Runs a test of tests/interop/.
. "$(dirname "$0")/lib.sh"

main() {
    [ "$(hostname)" = sluice-guest ] ||
        { echo "skipped: interop.loop_filesystems has shown it on this kernel"; exit 77; }
    run_case "file systems on loop devices" file_systems
    finish
}

# The exit status of that test covers its cases; this checks that it left out no data path.
file_systems() {
    local path cases=2
    ! full || cases=4
    bash "$SLUICE_SOURCE_DIR/tests/interop/loop_filesystems.sh" > cases || fail "$(cat cases)"
    for path in copy splice passthrough uring; do
        same "cases with $path" "$(grep -c "^ok .*, $path, " cases)" $cases
    done
}

main
