#!/usr/bin/env bash
# Two commands at once, on ublk devices with recovery: add, del, resize, upgrade, recover, and
# SIGTERM or SIGKILL for the server. Each command ends soon, with success or one sentence; at most
# one server is left, no byte is lost, and del removes the rest.
# SLUICE_TEST_ROUNDS=N: the number of rounds of each pair (1).
. "$(dirname "$0")/lib_ublk.sh"
# shellcheck source=tests/hostile/lib_two_at_once.sh
. "$SLUICE_SOURCE_DIR/tests/hostile/lib_two_at_once.sh"

main() {
    ADD="-r 1"
    two_at_once ublk
    run_case "two recovers" rounds two_recovers
    run_case "recover and del" rounds recovered_and_deleted
    run_case "recover and the death of the next server" rounds recovered_and_killed
    run_case "quiesce and upgrade" rounds two_of "quiesce -n 0 and upgrade -n 0"
    finish
}

make_device() {
    serve -r 1 || fail "$(cat add.err)"
    SERVER=$(server)
}

dead_with_text() {
    served_with_text
    kill_server
}

two_recovers() {
    dead_with_text
    at_once "recover -n 0" "recover -n 0" 20
    grep -qx 0 first.status second.status || fail "nobody recovers it: $(cat ./*.err)"
    lacks "detach it there" first.err
    lacks "detach it there" second.err
    sluice stat -n 0 > stat.txt
    is_intact
}

recovered_and_deleted() {
    dead_with_text
    at_once "recover -n 0" "del -n 0"
    is_intact
}

recovered_and_killed() {
    dead_with_text
    at_once "recover -n 0" kill_next
    sluice recover -n 0 > recover.txt 2>&1 || true
    is_intact
}

# Kills the next server as soon as the record names it.
kill_next() {
    local next
    for _ in {1..40}; do
        next=$(server)
        [ "$next" = "$SERVER" ] || break
        sleep 0.01
    done
    kill -KILL "$next" 2> /dev/null || true
}

main
