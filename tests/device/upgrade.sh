#!/usr/bin/env bash
# `sluice upgrade`: a device changes servers while it is in use, and its clients do not notice. Six
# times with each stack, with SLUICE_TEST_FULL=1 a hundred times. Callers and new servers die at
# another third of ten moments each day, with SLUICE_TEST_FULL=1 at all.
# SLUICE_TEST_SEED=N: at which moments, instead of the day.
# seconds: 100
. "$(dirname "$0")/lib.sh"

main() {
    say_turn
    CYCLES=6
    ! full || CYCLES=100
    run_case "$CYCLES upgrades under verified writes, loop" cycles auto loop
    run_case "$CYCLES upgrades under verified writes, stripe" cycles user_copy stripe
    run_case "a server that cannot take over leaves the device to the old one" roll_back
    run_case "a caller that dies" caller_dies
    run_case "a new server that is killed" new_server_dies
    run_case "quiesce and recover" quiesced
    run_case "what cannot be upgraded says so" refused
    run_case "resize under load" resized
    finish
}

# Writes and verifies until the file "done" exists; adds a line to "rounds" after each round.
start_load() {
    rm -f done failed
    (
        until [ -e done ]; do
            fio --name=verify --filename="$DEV" --direct=1 --ioengine=io_uring --iodepth=16 \
                --rw=randwrite --bs=16k --size=16M --verify=crc32c --verify_fatal=1 \
                --verify_state_save=0 --output=fio.log || { touch failed; break; }
            echo round >> rounds
        done
    ) &
    load=$!
}

finish_load() {
    touch done
    wait "$load"
    [ ! -e failed ] || fail "$(tail -n 20 fio.log)"
    [ -s rounds ] || fail "no round of the load was finished"
}

cycles() {
    local cycle before
    make_stack "$2" 64M
    add "${STACK[@]}" --mode "$1" -q 2 -r 1
    start_load
    for ((cycle = 0; cycle < CYCLES; ++cycle)); do
        before=$(server)
        sluice upgrade -n "$ID" > shown
        [ "$(server)" != "$before" ] || fail "still the old server"
        wait_for 10 gone "$before"
    done
    finish_load
    same state "$(field state)" LIVE
    same sockets "$(find state -name '*.sock' | wc -l)" 1
    del
    same "state files" "$(ls state)" ""
}

# The new server may not open enough files for a ring.
roll_back() {
    local before attempt
    make_stack loop 64M
    add "${STACK[@]}" -r 1
    before=$(server)
    start_load
    for attempt in $(up_to 2 5); do
        # shellcheck disable=SC2016
        fails 'the old server goes on' bash -c 'ulimit -n 9; exec timeout 60 "$@"' - \
            "$SLUICE" upgrade -n "$ID"
        same "server after attempt $attempt" "$(server)" "$before"
        wait_for 20 has_state LIVE
    done
    sluice stat -n "$ID" > shown
    finish_load
    sluice upgrade -n "$ID" > shown
    [ "$(server)" != "$before" ] || fail "still the old server"
}

caller_dies() {
    local attempt
    make_stack loop 64M
    add "${STACK[@]}" -r 1
    start_load
    for attempt in $(seq 10 | one_of 3); do
        { timeout -s KILL "0.0$attempt" "$SLUICE" upgrade -n "$ID" > shown; } 2> error || true
        wait_for 40 settled
    done
    finish_load
}

settled() {
    sluice stat -n "$ID" > shown 2> error && has_state LIVE
}

# Kills the caller and the new server at some moment. Either the old server continues, or, if the
# new one was already live, the device waits for recovery as after any server's death.
new_server_dies() {
    local attempt old
    make_stack loop 64M
    add "${STACK[@]}" -r 1 -i 1
    start_load
    for attempt in $(seq 10 | one_of 3); do
        old=$(server)
        sluice upgrade -n "$ID" > shown 2>&1 &
        sleep "0.0$attempt"
        pkill -KILL -f "^$SLUICE upgrade -n $ID" || true
        wait $! || true
        wait_for 40 settled_or_dead "$old"
        settled || sluice recover -n "$ID" > shown
        wait_for 40 settled
    done
    finish_load
}

settled_or_dead() {
    settled || { gone "$1" && gone "$(server)"; }
}

quiesced() {
    local before round
    make_stack loop 64M
    add "${STACK[@]}" -r 1
    start_load
    for round in $(up_to 2 5); do
        before=$(server)
        sluice quiesce -n "$ID"
        wait_for 10 gone "$before"
        same "state in round $round" "$(field state)" QUIESCED
        sluice add -t loop -f disk > shown      # the file is free
        del "$(sed -nE 's/^dev id ([0-9]+):.*/\1/p' shown)"
        sluice recover -n "$ID" > shown
        same "state in round $round" "$(field state)" LIVE
    done
    finish_load
}

refused() {
    add -t null
    refuses 'added without recovery' "$SLUICE" upgrade -n "$ID"
    refuses 'added without recovery' "$SLUICE" quiesce -n "$ID"
    same state "$(field state)" LIVE
    refuses 'there is no device 99' "$SLUICE" upgrade -n 99
    del
    add -t null -r 1
    kill_server
    refuses 'is gone: use' "$SLUICE" upgrade -n "$ID"
}

resized() {
    local size
    make_stack stripe 64M
    add "${STACK[@]}"
    start_load
    for size in 96M 128M 256M; do
        sluice resize -n "$ID" $size > shown
        same "size" "$(blockdev --getsize64 "$DEV")" "$(numfmt --from=iec $size)"
        dd if=/dev/zero of="$DEV" bs=64k count=1 oflag=direct seek=$((${size%M} * 16 - 1)) \
            status=none
    done
    refuses 'cannot shrink' "$SLUICE" resize -n "$ID" 64M
    finish_load
    del
    make_stack loop 64M
    add "${STACK[@]}" -r 1
    truncate -s 80M disk
    same "size" "$(sluice resize -n "$ID")" $((80 << 20))
    sluice upgrade -n "$ID" > shown
    same "size after an upgrade" "$(blockdev --getsize64 "$DEV")" $((80 << 20))
}

main
