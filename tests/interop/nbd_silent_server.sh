#!/usr/bin/env bash
# Target nbd and servers that say nothing: an address of several that is dead, at first and when the
# connection is lost; and the end of a device whose server hangs or is gone, which does not wait for
# it.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

PORT=10876
SOON=6  # seconds for what must not wait for a server, whose time is 30 seconds and more

main() {
    local tool
    begin_plain
    for tool in nbdkit nbdcopy fio; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    if grep -qs ' lo$' /proc/net/if_inet6; then
        run_case "one address of several" with_servers one_of_several
    fi
    run_case "nothing is asked" with_servers nothing_is_asked
    run_case "writes were not flushed" with_servers not_flushed
    run_case "requests wait, file" with_servers requests_wait --frontend fuse --at disk
    run_case "requests wait, file over TLS" with_servers requests_wait_under_tls
    run_case "requests wait, loop device" with_servers requests_wait --frontend loop
    run_case "requests wait, two queues and one connection" with_servers requests_wait_elsewhere
    run_case "requests of an NBD client wait" with_servers client_waits
    run_case "server is gone" with_servers server_is_gone
    finish
}

# with_hosts COMMAND...: where `storage.test` has an address of IPv6 and one of IPv4.
with_hosts() {
    printf '::1 storage.test\n127.0.0.1 storage.test\n' > hosts
    # shellcheck disable=SC2016
    unshare -m bash -c 'mount --bind hosts /etc/hosts && "$@"' with_hosts "$@"
}

# kit ADDRESS: nbdkit on PORT. Sets KIT.
kit() {
    nbdkit -f -i "$1" -p $PORT file image.raw 2> kit.log &
    KIT=$!
    for _ in {1..100}; do
        if nbdinfo --size "nbd://$2:$PORT/" > size.txt 2> err.txt; then return; fi
        sleep 0.05
    done
    fail "no server: $(cat err.txt kit.log)"
}

one_of_several() {
    local uri="nbd+unix:///?socket=$CASE/ours"
    head -c 4M /dev/urandom > image.raw
    refused "::1: Connection refused, 127.0.0.1: Connection refused" with_hosts \
        "$SLUICE" add --listen unix:ours "nbd://storage.test:$PORT/"
    kit 127.0.0.1 127.0.0.1
    with_hosts "$SLUICE" add --listen unix:ours "nbd://storage.test:$PORT/" > add.txt
    note_added
    nbdcopy "$uri" - | cmp - image.raw
    end_kit
    kit ::1 '[::1]'
    nbdcopy "$uri" - | cmp - image.raw
    end_kit
    # One that lets in and says nothing.
    /usr/bin/python3 -c '
import socket, sys, time
listener = socket.create_server(("::1", int(sys.argv[1])), family=socket.AF_INET6)
print("ready", flush=True)
time.sleep(60)' $PORT > silent.txt &
    appears silent.txt
    kit 127.0.0.1 127.0.0.1
    nbdcopy "$uri" - | cmp - image.raw
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'reconnects 2' stat.txt || fail "$(cat stat.txt)"
    stop_server
    end_kit
}

# hanging [OPTION...]: nbdkit as HUNG, on the socket `sock`, with a disk of 64M.
hanging() {
    truncate -s 64M image.raw
    nbdkit -f -U sock "$@" image.raw 2> kit.log &
    HUNG=$!
    appears sock
}

serve() {
    "$SLUICE" add "$@" > add.txt
    note_added
    DEVICE=$(head -n 1 add.txt)
    [ ! -e disk ] || DEVICE=disk
}

uri() {
    echo "nbd+unix:///?socket=$CASE/sock"
}

# ends_soon COMMAND...
ends_soon() {
    timeout $SOON "$@" > soon.txt 2>&1 || fail "status $? of $*: $(cat soon.txt)"
    wait_for_end "$SERVER"
    same "state files" "$(ls state)" ""
}

nothing_is_asked() {
    hanging file
    serve --frontend fuse --at disk "$(uri)"
    dd if=/dev/urandom of=disk bs=1M count=4 conv=notrunc,fsync status=none
    kill -STOP "$HUNG"
    ends_soon "$SLUICE" del disk
}

# The server has them, and nobody knows more.
not_flushed() {
    hanging file
    serve --foreground --frontend fuse --at disk "$(uri)" 2> server.log &
    local foreground=$!
    for _ in {1..100}; do
        [ ! -s disk ] || break
        sleep 0.05
    done
    dd if=/dev/urandom of=disk bs=1M count=4 conv=notrunc oflag=direct status=none
    kill -STOP "$HUNG"
    timeout $((2 * SOON)) "$SLUICE" del disk
    wait_for_end $foreground
    grep -q 'writes that were not flushed may be lost' server.log || fail "$(cat server.log)"
}

# load FILE: reads and writes, until there is an error; returns when the first have been served.
load() {
    touch started
    fio --name=load --filename="$1" --ioengine=libaio --direct=1 --rw=randrw --bsrange=4k-1M \
        --iodepth=16 --size=32M --time_based --runtime=30 --allow_file_create=0 \
        --output=fio.log > fio.txt 2>&1 &
    LOAD=$!
    for _ in {1..200}; do
        [ ! image.raw -nt started ] || return 0
        sleep 0.05
    done
    fail "nothing is written: $(cat fio.txt fio.log)"
}

hang_under_load() {
    load "$DEVICE"
    kill -STOP "$HUNG"
    sleep 0.3
    ends_soon "$SLUICE" del --force -n "$ID"
    if wait $LOAD; then fail "fio has seen no error"; fi
}

requests_wait() {
    hanging file
    serve "$@" "$(uri)"
    hang_under_load
}

requests_wait_under_tls() {
    printf 'me:%s\n' "$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')" > keys
    hanging --tls=require --tls-psk=keys file
    serve --frontend fuse --at disk \
        "nbds+unix://me@/?socket=$CASE/sock&tls-psk-file=$CASE/keys"
    hang_under_load
}

requests_wait_elsewhere() {
    hanging --filter=multi-conn file multi-conn-mode=disable
    serve --frontend fuse --at disk -q 2 "$(uri)"
    hang_under_load
}

client_waits() {
    hanging file
    serve --listen unix:ours "nbd($(uri), connections=2)"
    kill -STOP "$HUNG"
    nbdcopy "nbd+unix:///?socket=$CASE/ours" null: 2> copy.log &
    local copy=$!
    sleep 0.5
    ends_soon "$SLUICE" del --force -n "$ID"
    if wait $copy; then fail "nbdcopy has seen no error"; fi
}

server_is_gone() {
    hanging file
    serve --frontend fuse --at disk "$(uri)"
    load disk
    kill -KILL "$HUNG"
    sleep 0.5
    ends_soon "$SLUICE" del --force -n "$ID"
    if wait $LOAD; then fail "fio has seen no error"; fi
}

main
