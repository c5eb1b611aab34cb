#!/usr/bin/env bash
# Commands take the number, name or path of a device; listings are tables; messages have the number
# and the node. Front ends loop and fuse; tests/device/names.sh does the same for ublk.
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "$0")/lib_loop.sh"

main() {
    begin_loop
    run_case "number, name, path and links name the same device" called
    run_case "a number that is not that of the node" another_number
    run_case "one name, one device" unique
    run_case "a name stays over an upgrade, and the link with it" upgraded
    run_case "what a dead server's name left is cleared by del, and by the next of that name" stale
    run_case "a table of 80 columns; all there is of one device" shown
    run_case "quiet: the path and nothing else" quiet
    run_case "what was asked for and is not so is said" not_honoured
    run_case "one silent server does not keep the others from being shown" silent
    run_case "a configuration, with the name of its service" configured
    finish
}

# The links are global: their names contain the pid of this script.
NAME=test-$$

device() {
    "$SLUICE" "$@" 2> error || fail "sluice $*: $(cat error)"
}

called() {
    local word
    serve_loop copy 1 --name "$NAME" null:64M
    ln -s "$DEV" link
    ln -s "/dev/sluice/$NAME" far
    mknod node b "$(stat -c 0x%t "$DEV")" "$(stat -c 0x%T "$DEV")"
    same "link" "$(readlink "/dev/sluice/$NAME")" "../${DEV#/dev/}"
    for word in "$ID" "$NAME" "$DEV" link ./far "/dev/sluice/$NAME" node; do
        same "by $word" "$(device list "$word" --json | field_of name)" "$NAME"
        same "by -n $word" "$(device list -n "$word" --json | field_of id)" "$ID"
        device stat "$word" > out
        grep -q "^$DEV: " out || fail "$(cat out)"
        device inspect "$word" > out
        device resize "$word" 64M > out
        device set_affinity "$word" -q 0 --cpuset 0
    done
    device stat "$NAME" --watch 1 > watched &
    word=$!
    sleep 2.5
    kill $word
    grep -qE "^[0-9]{2}:[0-9]{2}:[0-9]{2} ${DEV#/dev/} +0 " watched || fail "$(cat watched)"
    if grep -E '.{81}' watched; then fail "wider than 80 columns"; fi
    refused "is being served by process $SERVER: there is nothing to recover" "$SLUICE" recover link
    device del far
    wait_until_detached
    [ ! -L "/dev/sluice/$NAME" ] || fail "the link is left"
    refused "there is no device '$NAME'" "$SLUICE" del "$NAME"
    # A served file, by several paths.
    mkdir there
    ln -s there way
    serve_file copy
    cd there
    same "by a relative path" "$(device list ../disk --json | field_of id)" "$ID"
    cd ..
    ln -s disk view
    same "by a link" "$(device resize view 512M)" $((512 << 20))
    device del ./view
    "$SLUICE" add --quiet --at there image.raw > out
    same "the file in a directory" "$(cat out)" "$CASE/there/disk"
    same "by the directory" "$(device resize way 768M)" $((768 << 20))
    device del there
}

# field_of NAME: prints a field of the first device in a JSON listing.
field_of() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[0][sys.argv[1]])' "$1"
}

another_number() {
    local number
    serve_loop copy 1 -n 4711 null:64M
    number=${DEV#/dev/loop}
    [ "$number" != 4711 ]
    device list > out
    grep -qE "^4711 +- +$DEV +64M +LIVE +copy +null:64M$" out || fail "$(cat out)"
    exec 5< "$DEV"
    refused "device 4711 ($DEV) is in use (process" "$SLUICE" del 4711
    exec 5<&-
    refused "device 4711 ($DEV) cannot be without a server" "$SLUICE" quiesce 4711
    refused "device 4711 ($DEV) already exists" "$SLUICE" add -n 4711 null:1M
    refused "device 4711 ($DEV) is being served by process $SERVER" "$SLUICE" recover "$DEV"
    refused "device 4711 ($DEV) has no queue 9: its queues are 0 to 0" \
        "$SLUICE" set_affinity "$DEV" -q 9 --cpuset 0
    refused "this machine has no processor 999: it has 0" \
        "$SLUICE" set_affinity "$DEV" -q 0 --cpuset 0,999
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    refused "the server of device 4711 ($DEV), process $SERVER, is gone: use 'sluice del -n 4711'" \
        "$SLUICE" stat "$DEV"
    device del "$DEV"
}

unique() {
    serve_loop copy 1 --name "$NAME" null:64M
    refused "device $ID ($NAME, $DEV) has the name '$NAME': choose another --name, or delete it" \
        "$SLUICE" add --name "$NAME" null:1M
    same "devices" "$(device list --json | grep -c '^    "id"')" 1
    # Several commands make a device of the same name at once.
    for _ in 1 2 3 4; do
        "$SLUICE" add --quiet --name "$NAME-twin" null:1M > /dev/null 2>&1 &
    done
    wait
    same "devices of one name" "$(device list | grep -c " $NAME-twin \|\.\.\.")" 1
    device del "$NAME-twin"
    stop_loop
}

upgraded() {
    local before
    serve_loop copy 1 --name "$NAME" null:64M
    before=$SERVER
    device upgrade "$NAME" > out
    grep -q "^	name $NAME$" out || fail "$(cat out)"
    note_server
    [ "$before" != "$SERVER" ] || fail "the same server"
    same "link" "$(readlink -f "/dev/sluice/$NAME")" "$DEV"
    stop_loop
    [ ! -L "/dev/sluice/$NAME" ] || fail "the link is left"
}

stale() {
    serve_loop copy 1 -n 5 --name "$NAME" null:64M
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    wait_until_detached
    [ -L "/dev/sluice/$NAME" ] || fail "who has removed the link?"
    device del "$NAME"
    [ ! -L "/dev/sluice/$NAME" ] || fail "the link is left"
    same "state files" "$(ls state)" ""
    serve_loop copy 1 -n 5 --name "$NAME" null:64M
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    wait_until_detached
    device add -n 6 --quiet --name "$NAME" null:64M > path
    same "state files" "$(echo state/*.json)" state/device-6.json
    same "link" "$(readlink -f "/dev/sluice/$NAME")" "$(cat path)"
    device del "$NAME"
    [ ! -L "/dev/sluice/$NAME" ] || fail "the link is left"
}

shown() {
    local long=$CASE/a-directory-with-a-long-name/and-another-one/in-it
    mkdir -p "$long"
    device add --quiet --name "$NAME.with.a.long.tail" null:1536M > first
    device add --quiet --at "$long/view.img" --read_only null:1M > second
    device list > out
    same "lines" "$(wc -l < out)" 3
    if grep -E '.{81}' out; then fail "wider than 80 columns"; fi
    grep -qE "^ID +NAME +DEVICE +SIZE +STATE +MODE +STACK$" out || fail "$(cat out)"
    grep -qE "^0 +test-.*\.\.\. +$(cat first) +1.5G +LIVE +[a-z_]+ +null:1536M$" out ||
        fail "$(cat out)"
    grep -qE "^1 +- +\.\.\..*/view.img +1M +LIVE +[a-z_]+ +null:1M \(re" out || fail "$(cat out)"
    # The lines that scripts read.
    same "of one" "$(device list -n 0 | head -n 1 | cut -c1-26)" "dev id 0: nr_hw_queues 1 q"
    same "of all" "$(device list -v | grep -c '^dev id ')" 2
    ln -s "$SLUICE" ublk
    same "called as ublk" "$(./ublk list | grep -c '^dev id ')" 2
    same "JSON" "$(device list --json | grep -c '^    "id"')" 2
    device del -a
}

quiet() {
    "$SLUICE" add --quiet null:1M > out 2> error
    same "error output" "$(cat error)" ""
    same "lines" "$(wc -l < out)" 1
    [ -b "$(cat out)" ] || fail "$(cat out)"
    device del "$(cat out)"
    # --quiet does not suppress warnings.
    truncate -s 1000000 odd.img
    "$SLUICE" add --quiet odd.img > out 2> error
    grep -q 'its last 64 bytes are left out' error || fail "$(cat error)"
    device del "$(cat out)"
    # A note explains the front end only if it is not the first choice.
    "$SLUICE" add --frontend loop null:1M > out 2> error
    same "error output" "$(cat error)" ""
    device del "$(head -n 1 out)"
    [ ! -e /dev/ublk-control ] || return 0
    "$SLUICE" add null:1M > out 2> error
    same "error output" "$(cat error)" "sluice: front end loop: this kernel has no ublk driver"
    device del "$(head -n 1 out)"
}

not_honoured() {
    truncate -s 64M image.raw
    if [[ $PATHS == *passthrough* ]]; then
        "$SLUICE" add -q 2 image.raw > out 2> error
        grep -qx 'sluice: 1 of the 2 queues are used: with passthrough the .*' error ||
            fail "$(cat error)"
        device del 0
        # With passthrough, programs choose between direct and buffered I/O.
        "$SLUICE" add -t loop -f image.raw --buffered_io > out 2> error
        grep -q "^	mode .*not 'passthrough': .*buffered_io forces" out || fail "$(cat out)"
        device del 0
        refused "buffered_io forces" \
            "$SLUICE" add --mode passthrough 'loop(image.raw, buffered_io)'
    fi
    "$SLUICE" add -b -q 2 --max_io_buf_bytes 4M --frontend loop --mode copy image.raw > out 2> error
    grep -qx 'sluice: -b has no effect: .*' error || fail "$(cat error)"
    grep -qx 'sluice: requests have at most 1M instead of 4M: .*' error || fail "$(cat error)"
    same "lines" "$(wc -l < error)" 2
    grep -q 'nr_hw_queues 2 ' out
    grep -q 'max rq size 1048576 ' out
    device del 0
}

silent() {
    local before
    serve_loop copy 1 -n 1 null:64M
    "$SLUICE" add -n 2 --quiet --frontend loop null:64M > other
    before=$EPOCHREALTIME
    kill -STOP "$SERVER"
    "$SLUICE" stat > out 2> error && fail "all of them?"
    kill -CONT "$SERVER"
    grep -q "^$(cat other): mode" out || fail "$(cat out)"
    grep -q "^sluice: the server of device 1 ($DEV), process $SERVER, does not answer" error ||
        fail "$(cat error)"
    awk -v from="$before" -v to="$EPOCHREALTIME" 'BEGIN { exit to - from > 6 }' ||
        fail "it took from $before to $EPOCHREALTIME"
    device del -a
}

configured() {
    truncate -s 64M image.raw
    echo '{"spec": "image.raw", "read_only": 1, "frontend": "loop"}' > config.json
    device add --quiet --config config.json --name "$NAME" > path
    same "link" "$(readlink -f "/dev/sluice/$NAME")" "$(cat path)"
    same "read-only" "$(device list "$NAME" --json | field_of read_only)" True
    device del "$NAME"
    # The name in the configuration file wins; an invalid name is reported and ignored.
    echo "{\"spec\": \"null:1M\", \"frontend\": \"loop\", \"name\": \"$NAME\"}" > config.json
    device add --quiet --config config.json --name other > path
    device del "$NAME"
    echo '{"spec": "null:1M", "frontend": "loop"}' > config.json
    "$SLUICE" add --config config.json --name 7 > out 2> error
    grep -q "^sluice: '7' cannot be the name of a device: .*: the device has no name$" error ||
        fail "$(cat error)"
    device del "$(head -n 1 out)"
}

main
