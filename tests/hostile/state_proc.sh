#!/bin/bash
# If /proc does not show whether a server lives, or shows other processes by the same numbers, the
# server is not taken for dead: its device and its number stay in use.
# shellcheck source=tests/interop/lib_fuse.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_fuse.sh"

main() {
    begin_plain
    run_case "from a pid namespace" seen_from unshare --pid --fork --mount-proc
    run_case "from a pid namespace with the old /proc" seen_from unshare --pid --fork
    run_case "from a time namespace" seen_from unshare --time --boottime 100000 --fork
    run_case "without /proc" seen_from unshare --mount sh -c 'umount -l /proc && exec "$@"' sh
    run_case "a server in a pid namespace" server_in_namespace
    run_case "a server there that cannot be asked either" server_out_of_reach
    finish
}

# seen_from COMMAND...: a `sluice` that COMMAND starts sees a living server.
seen_from() {
    truncate -s 16M other.raw
    serve_file copy -n 0
    "$@" timeout 5 "$SLUICE" list -n 0 > list.txt || fail "list: $(cat list.txt)"
    grep -q "state LIVE" list.txt || fail "not live: $(cat list.txt)"
    refused "already exists" "$@" timeout 20 "$SLUICE" add -n 0 --frontend fuse --at "$CASE/other" \
        other.raw
    refused "is being served" "$@" timeout 20 "$SLUICE" recover -n 0
    "$@" timeout 5 "$SLUICE" stat -n 0 > /dev/null || fail "it cannot be asked"
    "$@" timeout 30 "$SLUICE" del -n 0 || fail "it cannot be deleted"
    wait_for_end "$SERVER"
    [ ! -e disk ] || fail "disk was left behind"
    same "state files left" "$(ls -A -I ".events*" "$SLUICE_STATE_DIR")" ""
}

# Adds device 0 in a pid namespace, where its server has a small pid, which is the pid of another
# process, or of none, here. Sets SERVER to its pid here.
serve_in_namespace() {
    truncate -s 16M image.raw other.raw
    # shellcheck disable=SC2016
    unshare --pid --fork --mount-proc sh -c '
        "$SLUICE" add -n 0 --frontend fuse --at "$CASE/disk" image.raw && exec sleep 60' > add.txt &
    for _ in {1..100}; do ! grep -q "state LIVE" add.txt || break; sleep 0.1; done
    SERVER=$(pid_behind "$SLUICE_STATE_DIR/device-0.sock")
}

is_not_free() {
    timeout 5 "$SLUICE" list -n 0 > list.txt
    grep -q "state LIVE" list.txt || fail "not live: $(cat list.txt)"
    refused "already exists" timeout 20 "$SLUICE" add -n 0 --frontend fuse --at "$CASE/other" \
        other.raw
    refused "cannot be seen from here" timeout 5 "$SLUICE" set_affinity -n 0 -q 0 --cpuset 0
}

server_in_namespace() {
    serve_in_namespace
    is_not_free
    timeout 5 "$SLUICE" stat -n 0 > /dev/null || fail "it cannot be asked"
    kill -9 "$SERVER"
    for _ in {1..100}; do
        timeout 5 "$SLUICE" list -n 0 > list.txt
        ! grep -q "state DEAD" list.txt || break
        sleep 0.1
    done
    grep -q "state DEAD" list.txt || fail "not dead: $(cat list.txt)"
    timeout 20 "$SLUICE" del -n 0
    same "state files left" "$(ls -A -I ".events*" "$SLUICE_STATE_DIR")" ""
}

# If the state of the server cannot be known, the user must decide (--force).
server_out_of_reach() {
    serve_in_namespace
    rm "$SLUICE_STATE_DIR/device-0.sock"
    is_not_free
    refused "has no control socket" timeout 5 "$SLUICE" del -n 0
    kill -9 "$SERVER"
    sleep 0.2
    is_not_free
    timeout 20 "$SLUICE" del -n 0 --force
    same "state files left" "$(ls -A -I ".events*" "$SLUICE_STATE_DIR")" ""
}

# pid_behind SOCKET: prints the pid, in this namespace, of the process that listens.
pid_behind() {
    python3 - "$1" <<'END'
import socket, struct, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print(struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
END
}

export CASE
main
