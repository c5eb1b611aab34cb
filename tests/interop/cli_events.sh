#!/usr/bin/env bash
# `sluice events`: events of a device have fixed words, can be read after the device was deleted,
# and can be followed live. And the health of a device, in all commands that show it.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "$0")/lib_fuse.sh"

main() {
    begin_plain
    run_case "a device's life, by number and by name, also when it has gone" life
    run_case "a server that died is told of once, whoever finds it" death
    run_case "a new server, and a new keeper" replaced
    run_case "what is followed is shown at once, over the renaming of the file" followed
    run_case "a stack that is not well is shown as that" health
    run_case "what is no event is skipped, and what is no device refused" odd
    finish
}

# kinds [OPTION...]: prints the kinds of the events in one line.
kinds() {
    "$SLUICE" events --json "$@" |
        python3 -c 'import json, sys; print(*[each["kind"] for each in json.load(sys.stdin)])'
}

# within SECONDS COMMAND...: waits until the command succeeds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not in time: $*"
        sleep 0.05
    done
}

life() {
    serve_file copy -n 3 --name web
    "$SLUICE" resize web 512M > /dev/null
    within 10 is_last_kind resized
    "$SLUICE" del web
    within 10 is_last_kind deleted
    same "of all" "$(kinds)" "added resized deleted"
    "$SLUICE" add --quiet -n 3 --name other --at "$CASE/disk" image.raw > /dev/null
    "$SLUICE" add --quiet -n 4 --at "$CASE/second" null:1M > /dev/null
    same "by number" "$(kinds -n 3)" "added resized deleted added"
    same "by name" "$(kinds -n other)" added
    same "by a name that has gone" "$(kinds web)" "added resized deleted"
    same "by path" "$(kinds second)" added
    "$SLUICE" events web > out
    same "lines" "$(wc -l < out)" 3
    local day='[0-9]{4}-[0-9]{2}-[0-9]{2}' time='[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}'
    grep -qE "^$day $time  3 \(web\)     resized          from 256M to 512M$" out ||
        fail "$(cat out)"
    "$SLUICE" events --json -n 3 > out
    python3 - out <<'END' || fail "$(cat out)"
import datetime, json, sys
events = json.load(open(sys.argv[1]))
assert all(set(each) == {"time", "id", "name", "kind", "text"} for each in events), events
times = [datetime.datetime.strptime(each["time"], "%Y-%m-%dT%H:%M:%S.%fZ") for each in events]
assert times == sorted(times), times
assert abs((datetime.datetime.utcnow() - times[-1]).total_seconds()) < 600, times
assert events[0]["id"] == 3 and events[0]["name"] == "web", events
END
    "$SLUICE" del -a
    same "state files left" "$(ls "$SLUICE_STATE_DIR")" ""
}

is_last_kind() { [[ " $(kinds)" == *" $1" ]]; }

death() {
    local looks=() look
    serve_file copy -n 0 --name web
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    for _ in 1 2 3 4; do
        timeout 20 "$SLUICE" list > /dev/null &
        looks+=($!)
    done
    for look in "${looks[@]}"; do wait "$look"; done
    "$SLUICE" list web > /dev/null
    same "after looking" "$(kinds)" "added server_died"
    "$SLUICE" events | grep -q "server_died      its server, process $SERVER, has died$" ||
        fail "$("$SLUICE" events)"
    "$SLUICE" del web
    same "after del" "$(kinds)" "added server_died deleted"
    serve_file copy -n 0
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" del 0
    same "found by del" "$(kinds)" "added server_died deleted added server_died deleted"
    serve_file copy -n 0
    "$SLUICE" del 0 --force
    same "deleted by force" "$(kinds -n 0 | cut -d' ' -f7-)" "added deleted"
    same "state files left" "$(ls "$SLUICE_STATE_DIR")" ""
}

replaced() {
    serve_file copy -n 0
    "$SLUICE" upgrade 0 > /dev/null
    same "after upgrade" "$(kinds)" "added upgraded"
    note_server
    pkill -KILL -P "$SERVER" sluice-keeper
    within 10 is_last_kind keeper_replaced
    stop_serving
    same "after SIGTERM" "$(kinds)" "added upgraded keeper_replaced deleted"
    "$SLUICE" events | grep -q 'deleted          its server was told to end$'
}

followed() {
    local follower status=0
    serve_file copy -n 0 --name web
    env --default-signal=INT "$SLUICE" events --follow > followed &
    follower=$!
    env --default-signal=INT "$SLUICE" events --follow --json -n 7 > of_seven &
    local other=$!
    within 10 grep -q " added " followed
    "$SLUICE" resize web 512M > /dev/null
    within 10 grep -q " resized " followed
    # Fills the file: the next event starts a new file.
    python3 - "$SLUICE_STATE_DIR/.events" <<'END'
import json, sys
line = json.dumps({"time": "2026-11-30T10:05:20.007Z", "id": 0, "kind": "added", "text": "x" * 900})
with open(sys.argv[1], "a") as file:
    for _ in range(600):
        file.write(line + "\n")
END
    "$SLUICE" add --quiet -n 7 --at "$CASE/seventh" null:1M > /dev/null
    [ -e "$SLUICE_STATE_DIR/.events.1" ] || fail "the file was not renamed"
    within 10 grep -q "  7           added " followed
    "$SLUICE" del 7
    within 10 grep -q "  7           deleted " followed
    same "lines" "$(wc -l < followed)" 604
    kill -INT "$follower"
    wait "$follower" || status=$?
    same "exit status" $status 130
    within 10 grep -q '"kind":"deleted"' of_seven
    kill -INT "$other"
    wait "$other" || true
    same "of seven" "$(cut -d'"' -f4,15 of_seven | wc -l)" 2
    python3 -c 'import json, sys
kinds = [json.loads(line)["kind"] for line in sys.stdin]
assert kinds == ["added", "deleted"], kinds' < of_seven || fail "$(cat of_seven)"
    stop_serving
}

health() {
    truncate -s 16M image.raw
    "$SLUICE" add --quiet -n 0 --at "$CASE/disk" --mode copy \
        'fault(image.raw, errors=1, ops=read, count=2)' > /dev/null
    note_server
    "$SLUICE" stat 0 > out
    if grep -q 'health' out; then fail "$(cat out)"; fi
    grep -q '^	fault: injected_errors 0$' out || fail "$(cat out)"
    same "in the list" "$("$SLUICE" list | grep -c ' LIVE  ')" 1
    if dd if=disk of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; then fail "it was read"; fi
    within 10 is_last_kind health_changed
    "$SLUICE" events | grep -q 'health_changed   fault: degraded: it makes requests fail$' ||
        fail "$("$SLUICE" events)"
    "$SLUICE" stat 0 > out
    grep -q '^	health: degraded (fault: it makes requests fail)$' out || fail "$(cat out)"
    within 10 is_listed ' LIVE, degraded  '
    within 10 is_listed '	health degraded (fault: it makes requests fail)' 0
    "$SLUICE" list --json | grep -q '"state": "degraded"' || fail "not in JSON"
    "$SLUICE" stat --json 0 | grep -q '"name": "injected_errors"' || fail "no number"
    "$SLUICE" stat --prometheus > out
    grep -qF 'state="degraded"} 1' out || fail "$(cat out)"
    grep -qE '^sluice_target_injected_errors_total\{.*,target="fault"\} [12]$' out ||
        fail "$(cat out)"
    stop_serving
    # After a failed flush all writes are refused.
    "$SLUICE" add --quiet -n 0 --at "$CASE/disk" --mode copy \
        'fault(image.raw, errors=1, ops=flush, count=1)' > /dev/null
    note_server
    if dd if=/dev/zero of=disk bs=4k count=1 conv=notrunc,fsync 2> /dev/null; then
        fail "it was flushed"
    fi
    within 10 has_kind stack_failed
    "$SLUICE" stat 0 | grep -q '^	health: failed (a flush has failed: writes are refused' ||
        fail "$("$SLUICE" stat 0)"
    within 10 is_listed ' LIVE, failed  '
    stop_serving
}

is_listed() { "$SLUICE" list ${2:+"$2"} | grep -qF "$1"; }
has_kind() { [[ " $(kinds) " == *" $1 "* ]]; }

odd() {
    "$SLUICE" events > out 2> error
    same "of nothing" "$(cat out error)" "sluice: no events"
    same "JSON of nothing" "$("$SLUICE" events --json)" "[]"
    refused "there is no device 7: 'sluice list' shows all" "$SLUICE" events 7
    refused "there is no device 'web'" "$SLUICE" events -n web
    refused "there is no device '/nowhere'" "$SLUICE" events /nowhere
    refused "the device is empty" "$SLUICE" events ''
    refused "unexpected argument" "$SLUICE" events -n 0 1
    refused "did you mean" "$SLUICE" events --folow
    serve_file copy -n 0
    printf 'garbage\n\xff\xfe\n{"id": 0}\n{"torn' >> "$SLUICE_STATE_DIR/.events"
    same "with garbage" "$(kinds)" "added"
    "$SLUICE" resize 0 512M > /dev/null
    within 10 is_last_kind resized
    stop_serving
    same "after it" "$(kinds 0)" "added resized deleted"
    rm "$SLUICE_STATE_DIR"/.events
    ln -s /etc/passwd "$SLUICE_STATE_DIR"/.events
    refused "cannot read the events in '$SLUICE_STATE_DIR/.events': it is a symbolic link" \
        "$SLUICE" events
    # The symbolic link makes no other command fail; a server replaces it.
    serve_file copy -n 0
    same "put right" "$(kinds)" "added"
    stop_serving
}

main
