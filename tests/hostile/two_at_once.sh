#!/usr/bin/env bash
# Two commands at once, on loop devices and files: add, del, resize, upgrade, and SIGTERM or SIGKILL
# for the server. Each command ends soon, with success or one sentence; at most one server is left,
# no byte is lost, and del removes the rest. SLUICE_TEST_ROUNDS=N: the rounds of each pair (1).
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"
# shellcheck source=tests/hostile/lib_two_at_once.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_two_at_once.sh"

main() {
    local frontend
    begin_loop_plain
    for frontend in loop fuse; do
        FRONTEND=$frontend
        ADD="--frontend $frontend --mode copy"
        [ "$frontend" = loop ] || ADD+=" --at $CASE/disk"
        two_at_once "$frontend"
    done
    finish
}

make_device() {
    serve "$FRONTEND" || fail "$(cat add.err)"
}

main
