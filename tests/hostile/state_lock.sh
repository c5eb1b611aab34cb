#!/bin/bash
# The lock on the state directory: other users cannot hold it; a waiting command names the holder
# and gives up in the end; and the next holder removes the files that killed servers have left.
# shellcheck source=tests/interop/lib_fuse.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_fuse.sh"

main() {
    begin_plain
    run_case "another user locks the directory" locked_by_nobody
    run_case "a process of ours holds the lock" held_by_root
    run_case "many at once wait for each other" many_at_once
    run_case "one number, added and deleted by many" one_number
    run_case "the next one clears away what was left" leftovers
    run_case "the directory goes while its lock is waited for" directory_goes
    finish
}

# With the mode 755 that older programs gave the directory.
locked_by_nobody() {
    chmod 755 "$SLUICE_STATE_DIR" "$WORK" "$CASE"
    runuser -u nobody -- flock "$SLUICE_STATE_DIR" sleep 60 &
    local holder=$!
    sleep 0.5
    truncate -s 16M image.raw
    timeout 15 "$SLUICE" add --frontend fuse --at "$CASE/disk" image.raw > /dev/null ||
        fail "the lock of another user was waited for"
    pkill -P "$holder" sleep || true
    timeout 15 "$SLUICE" del -n 0
}

held_by_root() {
    flock "$SLUICE_STATE_DIR/.lock" sleep 60 &
    local holder=$! begun
    sleep 0.5
    truncate -s 16M image.raw
    begun=$SECONDS
    refused "has been locked by process" timeout 40 "$SLUICE" add --frontend fuse \
        --at "$CASE/disk" image.raw
    [ $((SECONDS - begun)) -lt 35 ] || fail "it waited for $((SECONDS - begun)) seconds"
    grep -qE "process $holder \((flock|sleep)\)" refused.txt || fail "not named: $(cat refused.txt)"
    same "lines said" "$(wc -l < refused.txt)" 1
    [ ! -e disk ] || fail "disk was left behind"
    timeout 5 "$SLUICE" list
    pkill -P "$holder" sleep || true
    wait "$holder" || true
    timeout 15 "$SLUICE" add --frontend fuse --at "$CASE/disk" image.raw > /dev/null
    timeout 15 "$SLUICE" del -n 0
    same "state files left" "$(ls -A -I ".events*" "$SLUICE_STATE_DIR")" ""
}

many_at_once() {
    local i jobs=()
    for i in {1..40}; do
        truncate -s 16M "image$i.raw"
        timeout 100 "$SLUICE" add --frontend fuse --at "$CASE/disk$i" "image$i.raw" \
            > "add$i.txt" 2>&1 &
        jobs+=($!)
    done
    for i in "${jobs[@]}"; do
        wait "$i" || fail "one of 40 failed: $(cat add*.txt | grep sluice:)"
    done
    jobs=("$SLUICE_STATE_DIR"/device-*.json)
    same "devices" "${#jobs[@]}" 40
    timeout 100 "$SLUICE" del -a
    same "state files left" "$(ls -A -I ".events*" "$SLUICE_STATE_DIR")" ""
}

# Several loops add and delete the same number: no `del` removes the record of a later server.
one_number() {
    local i end=$((SECONDS + 4))
    for i in 1 2 3; do
        truncate -s 16M "image$i.raw"
        while [ $SECONDS -lt $end ]; do
            timeout 30 "$SLUICE" del -n 0 --force > /dev/null 2>&1 || true
            timeout 30 "$SLUICE" add -n 0 --frontend fuse --at "$CASE/disk$i" "image$i.raw" \
                > /dev/null 2>&1 || true
        done &
    done
    wait
    timeout 30 "$SLUICE" del -n 0 --force 2> /dev/null || true
    same "mounts without a record" "$(mounts_in_case)" ""
    same "state files left" "$(ls -A -I ".events*" "$SLUICE_STATE_DIR")" ""
}

leftovers() {
    local state=$SLUICE_STATE_DIR dead here
    serve_file copy -n 0
    sleep 0 &
    dead=$!
    wait $dead
    here=$(stat -Lc %i /proc/self/ns/pid)
    touch "$state"/device-{0,3}.json."$dead" "$state"/device-{0,3}.json."$dead.123.$here" \
        "$state"/device-{3,4}.{log,1.log,ended} "$state/device-0.json.$$.1.$here"
    python3 - "$state/device-4.sock" "$state/device-3.sock.$dead" <<'END'
import socket, sys
for path in sys.argv[1:]:
    socket.socket(socket.AF_UNIX).bind(path)
END
    # Files that must stay: of living servers, of other namespaces for a while, and unrelated ones.
    touch "$state/device-3.json.$$" "$state/device-3.json.1.1.12345" "$state/device-3.json.x" \
        "$state/notes"
    touch -d "2 hours ago" "$state/device-4.json.1.1.12345"
    truncate -s 16M other.raw
    timeout 20 "$SLUICE" add --frontend fuse --at "$CASE/other" other.raw > /dev/null
    timeout 20 "$SLUICE" del -n 1
    find "$state" \( ! -name 'device-0.*' -o -name 'device-0.*.*' \) ! -name '.events' -type f \
        -printf '%f\n' | sort > left.txt
    printf '%s\n' "device-3.json.$$" device-3.json.1.1.12345 device-3.json.x notes | sort |
        diff - left.txt || fail "these files are left"
    timeout 5 "$SLUICE" stat -n 0 > /dev/null
    stop_serving
}

directory_goes() {
    flock "$SLUICE_STATE_DIR/.lock" sleep 60 &
    local holder=$! waiter
    sleep 0.5
    truncate -s 16M image.raw
    timeout 40 "$SLUICE" add --frontend fuse --at "$CASE/disk" image.raw > /dev/null &
    waiter=$!
    sleep 1
    rm -rf "$SLUICE_STATE_DIR"
    wait $waiter || fail "it still waits for a lock that nobody sees"
    pkill -P "$holder" sleep || true
    timeout 15 "$SLUICE" list -n 0 | grep -q "^dev id 0" || fail "it has no record"
    timeout 15 "$SLUICE" del -n 0
}

main
