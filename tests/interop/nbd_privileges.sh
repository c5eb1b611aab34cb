#!/usr/bin/env bash
# --privilege-drop: the server of an NBD export has the rights of another user on all its threads,
# and does all that other servers do: with its files it has the help of its clerk.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

USER_ID=$(id -u nobody)
GROUP_ID=$(id -g nobody)

main() {
    local tool
    begin_plain
    for tool in nbdinfo nbdcopy qemu-io nbdkit; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "rights" has_no_rights
    run_case "all commands" does_what_others_do
    run_case "verbs" obeys
    run_case "several exports" serves_several
    run_case "SIGTERM" leaves_nothing
    run_case "passed sockets" with_servers is_passed_sockets
    run_case "page cache" reads_from_page_cache
    run_case "TLS" uses_tls
    run_case "target nbd" with_servers connects_again
    run_case "upgrade" goes_on_after_upgrade
    run_case "failed upgrade" goes_on_after_failed_upgrade
    run_case "killed" is_killed
    run_case "clerk killed" loses_its_clerk
    run_case "bad users" refuses_bad_users
    finish
}

# serve ARGUMENT...: an export on the socket `sock`. Sets URI, ID and SERVER.
serve() {
    "$SLUICE" add --listen unix:sock --frontend nbd --export disk --privilege-drop nobody "$@" \
        > add.txt
    URI="nbd+unix:///disk?socket=$CASE/sock"
    note_server
}

# of THREAD FIELD: the line of its status without blanks.
of() {
    sed -n "s/^$2:[[:space:]]*//p" "$1/status" | tr -s '[:space:]' ' ' | sed 's/ $//'
}

# All threads but those of the kernel, which use the rights of the thread that asks them.
check_rights() {
    local thread name count=0
    for thread in /proc/"$SERVER"/task/*; do
        name=$(< "$thread/comm")
        [[ $name != iou-* ]] || continue
        count=$((count + 1))
        same "Uid of $name" "$(of "$thread" Uid)" "$USER_ID $USER_ID $USER_ID $USER_ID"
        same "Gid of $name" "$(of "$thread" Gid)" "$GROUP_ID $GROUP_ID $GROUP_ID $GROUP_ID"
        same "Groups of $name" "$(of "$thread" Groups)" ''
        same "CapPrm of $name" "$(of "$thread" CapPrm)" 0000000000000000
        same "CapEff of $name" "$(of "$thread" CapEff)" 0000000000000000
        same "NoNewPrivs of $name" "$(of "$thread" NoNewPrivs)" 1
        same "Seccomp of $name" "$(of "$thread" Seccomp)" 2
    done
    [ "$count" -ge 6 ] || fail "only $count threads"
}

check_data() {
    qemu-io -f raw "$URI" -c "write -P $1 0 1M" -c flush -c "read -P $1 0 1M" \
        -c 'write -z 2M 64k' -c 'discard 1M 64k' > qemu-io.txt ||
        fail "$(cat qemu-io.txt)"
    ! grep -q -i -E 'fail|error' qemu-io.txt || fail "$(cat qemu-io.txt)"
}

check_nothing_left() {
    wait_for_end "$SERVER"
    [ ! -e sock ] || fail 'the socket is still there'
    same 'state directory' "$(ls -A "$SLUICE_STATE_DIR")" .events
    wait_for_end "$CLERK"
}

# Of the helpers of a server only the clerk is left, and it is root's.
find_clerk() {
    local helpers
    helpers=$(pgrep -P "$SERVER") || fail 'there is no clerk'
    CLERK=$helpers
    same 'name of the only helper' "$(cat /proc/"$CLERK"/comm)" sluice-clerk
    same 'Uid of the clerk' "$(of /proc/"$CLERK" Uid)" '0 0 0 0'
}

has_no_rights() {
    truncate -s 16M image.raw
    chmod 600 image.raw
    serve --queues 2 image.raw
    check_rights
    find_clerk
    check_data 1
    check_rights
    same owner "$(stat -c '%U %a' sock)" 'root 600'
    same user "$(field user)" nobody
    "$SLUICE" list "$ID" --json | grep -q '"user": "nobody"' || fail 'list does not name the user'
    same mode "$(stat -c '%U %a' "$SLUICE_STATE_DIR/device-$ID.json")" 'root 600'
    "$SLUICE" del "$ID"
    check_nothing_left
}

does_what_others_do() {
    truncate -s 16M image.raw
    serve image.raw
    find_clerk
    nbdinfo --map "$URI" > map.txt
    "$SLUICE" stat "$ID" | grep -q 'mode copy' || fail 'no stat'
    "$SLUICE" inspect "$ID" > /dev/null
    "$SLUICE" list | grep -q LIVE || fail 'it is not listed'
    same resized "$("$SLUICE" resize "$ID" 32M)" 33554432
    same size "$(nbdinfo --size "$URI")" 33554432
    same recorded "$(field size_bytes)" 33554432
    "$SLUICE" set_affinity "$ID" -q 0 --cpuset 0
    "$SLUICE" ctl "$ID" | grep -q loop || fail 'its targets are not listed'
    refused 'is in use' with_client "$SLUICE" del "$ID"
    "$SLUICE" events "$ID" > events.txt
    grep -q 'resized .*from 16M to 32M' events.txt || fail "events: $(cat events.txt)"
    grep -q 'is live' "$SLUICE_STATE_DIR/device-$ID.log" || [ -e /dev/log ] || fail 'no log'
    check_data 2
    "$SLUICE" del "$ID"
    check_nothing_left
    "$SLUICE" events | grep -q 'deleted .*by command' || fail 'its end is no event'
}

# with_client COMMAND...: while a client is connected.
with_client() {
    nbdinfo --size "$URI" > /dev/null
    coproc CLIENT { /usr/bin/python3 -c '
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()' "$URI"; }
    read -r <&"${CLIENT[0]}"
    local status=0 client=$CLIENT_PID input=${CLIENT[1]}
    "$@" || status=$?
    exec {input}>&-
    wait "$client" || true
    return $status
}

# A verb needs a ring that the server makes when it has no rights any more.
obeys() {
    truncate -s 8M image.raw
    serve 'fault(image.raw, cache=volatile)'
    find_clerk
    check_data 13
    "$SLUICE" ctl "$ID" / power_cut
    for _ in {1..100}; do
        if [ "$(field health || true)" = failed ]; then break; fi
        sleep 0.05
    done
    same health "$(field health)" failed
    check_rights
    "$SLUICE" del "$ID"
    check_nothing_left
}

serves_several() {
    truncate -s 8M a.raw b.raw
    "$SLUICE" serve --listen unix:sock --listen tcp:127.0.0.1:0 --allow 127.0.0.1 \
        --privilege-drop "$USER_ID" a=a.raw b=b.raw > add.txt
    note_server
    check_rights
    find_clerk
    URI="nbd+unix:///b?socket=$CASE/sock"
    check_data 3
    URI="nbd+unix:///a?socket=$CASE/sock"
    check_data 4
    "$SLUICE" del "$ID"
    check_nothing_left
}

leaves_nothing() {
    truncate -s 8M image.raw
    serve --name disk image.raw
    find_clerk
    check_data 5
    kill -TERM "$SERVER"
    check_nothing_left
    "$SLUICE" events | grep -q 'deleted .*its server was told to end' || fail 'its end is no event'
}

is_passed_sockets() {
    # A sanitizer looks for leaks with a process that traces this one, which is what it may not do.
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
    truncate -s 8M image.raw
    same size "$(nbdinfo --size -- \
        [ "$SLUICE" add --foreground --quiet --privilege-drop nobody image.raw ])" 8388608
    "$SLUICE" add --foreground --listen unix:sock --exit-after-last --privilege-drop nobody \
        image.raw > add.txt 2> foreground.log &
    local served=$!
    appears add.txt
    note_server
    check_rights
    find_clerk
    URI="nbd+unix:///?socket=$CASE/sock"
    check_data 6
    wait $served || fail "it ended with $?: $(cat foreground.log)"
    check_nothing_left
}

# nobody may not know what is in the page cache of root's file.
reads_from_page_cache() {
    head -c 16M /dev/urandom > image.raw
    serve 'loop(image.raw, buffered_io)'
    nbdcopy "$URI" back
    cmp image.raw back
    nbdcopy "$URI" back
    cmp image.raw back
    stop_server
}

uses_tls() {
    (umask 077 && echo "me:$(openssl rand -hex 32)" > keys.psk)
    head -c 16M /dev/urandom > image.raw
    serve --tls-psk keys.psk image.raw
    check_rights
    find_clerk
    URI="nbds+unix://me@/disk?socket=$CASE/sock&tls-psk-file=$CASE/keys.psk"
    nbdcopy "$URI" back
    cmp image.raw back
    "$SLUICE" upgrade "$ID" > /dev/null
    note_server
    check_rights
    find_clerk
    nbdcopy "$URI" back
    cmp image.raw back
    "$SLUICE" del --force "$ID"
    check_nothing_left
}

# The health is in the record although the server may not write it.
connects_again() {
    nbdkit -f -p 0 -i 127.0.0.1 -P kit.pid --exit-with-parent memory 64M 2> kit.log &
    KIT=$!
    appears kit.pid
    local port
    port=$(ss -Hltnp | sed -n "s/.*127.0.0.1:\([0-9]*\) .*pid=$KIT,.*/\1/p")
    serve "nbd(nbd://127.0.0.1:$port/, reconnect=60s)"
    find_clerk
    check_rights
    check_data 7
    end_kit
    qemu-io -f raw "$URI" -c 'read 0 4k' > late.txt &
    local reader=$!
    for _ in {1..200}; do
        if [ "$(field health || true)" = degraded ]; then break; fi
        sleep 0.05
    done
    same health "$(field health)" degraded
    "$SLUICE" events "$ID" | grep -q health || fail 'no event tells of it'
    nbdkit -f -p "$port" -i 127.0.0.1 --exit-with-parent memory 64M 2> kit.log &
    KIT=$!
    wait $reader || fail "$(cat late.txt)"
    check_data 8
    "$SLUICE" del "$ID"
    check_nothing_left
    end_kit
}

goes_on_after_upgrade() {
    truncate -s 16M image.raw
    serve --queues 2 image.raw
    cat > check.py << 'PYTHON'
import nbd, subprocess, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
for i in range(3):
    h.pwrite(bytes([i + 1]) * 65536, i * 65536)
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
    assert h.pread(65536, i * 65536) == bytes([i + 1]) * 65536
    h.flush()
PYTHON
    /usr/bin/python3 check.py "$URI" timeout 60 "$SLUICE" upgrade -n "$ID"
    local before=$SERVER
    note_server
    [ "$SERVER" != "$before" ] || fail "the server is still $before"
    check_rights
    find_clerk
    check_data 9
    same resized "$("$SLUICE" resize "$ID" 32M)" 33554432
    "$SLUICE" del "$ID"
    check_nothing_left
}

goes_on_after_failed_upgrade() {
    local name
    truncate -s 16M image.raw
    serve image.raw
    find_clerk
    for name in 'clerk hired' 'prepared' 'device received' 'record taken over'; do
        ! SLUICE_TEST_STEP="kill:$name" timeout 60 "$SLUICE" upgrade "$ID" > failed.txt 2>&1 ||
            fail "it was upgraded beyond $name"
        for _ in {1..200}; do
            if [ "$(field pid || true)" = "$SERVER" ]; then break; fi
            sleep 0.05
        done
        same "server after $name" "$(field pid)" "$SERVER"
        check_rights
        check_data 10
    done
    timeout 60 "$SLUICE" upgrade "$ID" > /dev/null
    note_server
    check_rights
    find_clerk
    check_data 11
    "$SLUICE" del "$ID"
    check_nothing_left
}

is_killed() {
    truncate -s 8M image.raw
    serve image.raw
    find_clerk
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" list | grep -q DEAD || fail 'it is not listed as dead'
    "$SLUICE" del "$ID"
    check_nothing_left
}

loses_its_clerk() {
    truncate -s 8M image.raw
    serve image.raw
    find_clerk
    kill -KILL "$CLERK"
    check_data 12
    check_rights
    "$SLUICE" stat "$ID" > /dev/null
    "$SLUICE" del "$ID"
    check_nothing_left
}

refuses_bad_users() {
    local add=("$SLUICE" add --frontend nbd --listen unix:sock --privilege-drop)
    truncate -s 8M image.raw
    cp "$SLUICE" program
    chmod 755 "$WORK" "$CASE" program
    refused "'no_such_user_': there is no such user" "${add[@]}" no_such_user_ image.raw
    refused "'root': this is root" "${add[@]}" root image.raw
    refused "'0': this is root" "${add[@]}" 0 image.raw
    refused "'': there is no such user" "${add[@]}" '' image.raw
    refused 'only root can become another user' setpriv --reuid nobody --clear-groups \
        env SLUICE_STATE_DIR="$CASE/theirs" ./program add --frontend nbd --listen unix:@x \
        --privilege-drop nobody null:1M
    "${add[@]}" root image.raw 2> refused.txt || same status $? 2
    [ ! -e sock ] || fail 'there is a socket'
    [ -z "$(ls -A "$SLUICE_STATE_DIR")" ] || fail 'something is left'
}

main "$@"
