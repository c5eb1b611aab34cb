#!/usr/bin/env bash
# `sluice stat` reports the I/O that a running device has done.
. "$(dirname "$0")/lib.sh"

main() {
    run_case "requests and bytes are counted" counted
    run_case "zero-copy modes copy nothing, the others all" copied
    run_case "a delay is seen in the times" delayed
    run_case "Prometheus" prometheus
    run_case "watch" watched
    run_case "all devices, and one whose server is dead" several
    run_case "the control socket comes and goes with the server" socket_file
    finish
}

# figure NAME: prints the first value of this name in the total of the device.
figure() {
    sluice stat -n "$ID" --json | sed -n '/"total"/,$p' |
        sed -nE "s/^ *\"$1\": ([0-9]+),?\$/\\1/p" | head -n 1
}

counted() {
    add -t null -q 2
    dd if="$DEV" of=/dev/null bs=64k count=16 iflag=direct status=none
    dd if=/dev/zero of="$DEV" bs=4k count=7 oflag=direct status=none
    sluice stat -n "$ID" > shown
    grep -qE '^.dev.ublkb[0-9]+: mode [a-z_]+, [0-9]+ bytes copied by the server, 0 errors' shown
    grep -qE '^	(all|0) +read +[0-9]+ ' shown
    awk '$1 == "all" && $2 == "read" && $4 >= 16 * 65536 { found = 1 } END { exit !found }' shown
    awk '$1 == "all" && $2 == "write" && $3 >= 7 && $4 >= 7 * 4096 { found = 1 }
        END { exit !found }' shown
    [ "$(figure write)" -ge 7 ] || fail "writes: $(figure write)"
}

copied() {
    local mode
    for mode in $MODES; do
        make_stack loop 64M
        add "${STACK[@]}" --mode "$mode"
        dd if="$DEV" of=/dev/null bs=64k count=16 iflag=direct status=none
        case $mode in
            auto|register) same "bytes copied, $mode" "$(figure copied_bytes)" 0 ;;
            *) [ "$(figure copied_bytes)" -ge 1048576 ] || fail "$mode copied nothing" ;;
        esac
        del
    done
}

delayed() {
    truncate -s 64M disk
    add 'fault(disk, delay=200ms, ops=write)'
    dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct status=none
    sluice stat -n "$ID" > shown
    grep -qE '^	0 +write .* (2[0-9]{2}|[3-9][0-9]{2})ms' shown || fail "$(cat shown)"
}

prometheus() {
    add -t null
    dd if="$DEV" of=/dev/null bs=4k count=100 iflag=direct status=none
    sluice stat --prometheus > shown
    grep -q "^sluice_requests_total{device=\"$DEV\",queue=\"0\",op=\"read\"} [1-9]" shown
    grep -q "^sluice_request_duration_seconds_bucket{.*le=\"+Inf\"} [1-9]" shown
    same "families that are declared twice" "$(grep '^# TYPE' shown | sort | uniq -d)" ""
}

watched() {
    local reader
    add -t null
    dd if="$DEV" of=/dev/null bs=64k iflag=direct status=none &
    reader=$!
    timeout 4 "$SLUICE" stat -n "$ID" --watch 1 > shown || [ $? = 124 ]
    kill $reader
    wait $reader || true
    grep -q '^time *device .*r/s' shown
    awk -v device="${DEV#/dev/}" '$2 == device && $3 > 0 { found = 1 } END { exit !found }' shown ||
        fail "$(cat shown)"
}

several() {
    local first
    add -t null
    first=$DEV
    add -t null
    sluice stat > shown
    same "devices" "$(grep -c ^/dev shown)" 2
    kill_server
    fails 'is gone' "$SLUICE" stat
    sluice stat > shown 2> err || true
    grep -q "^$first:" shown
    refuses 'is gone' "$SLUICE" stat -n "$ID"
}

socket_file() {
    add -t null
    [ -S "state/device-$ID.sock" ] || fail "there is no socket"
    same "the socket's mode" "$(stat -c %a "state/device-$ID.sock")" 600
    chmod 755 "$WORK" "$CASE"
    fails 'Permission|EACCES|only root' \
        setpriv --reuid 65534 --regid 65534 --clear-groups "$SLUICE" stat -n "$ID"
    del
    same "state files" "$(ls state)" ""
    add -t null
    kill_server
    [ -S "state/device-$ID.sock" ] || fail "a killed server has removed its socket"
    sluice del -n "$ID" --force
    same "state files" "$(ls state)" ""
}

main
