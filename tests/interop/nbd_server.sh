#!/usr/bin/env bash
# The NBD front end under the clients that people use: nbdinfo, nbdcopy and the Python module of
# libnbd, QEMU's tools, nbdkit in front of it and fio; its options, its end, and what a killed
# server leaves.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_fuse.sh"

main() {
    local tool
    begin_plain
    for tool in nbdinfo nbdcopy qemu-img qemu-io nbdkit fio; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "nbdinfo" tells_what_it_is
    run_case "nbdcopy" copies
    run_case "qemu-img and qemu-io" under_qemu
    run_case "nbdkit in front" behind_nbdkit
    run_case "libnbd" under_libnbd
    run_case "fio" under_fio
    run_case "tcp" over_tcp
    run_case "two addresses" on_two_addresses
    run_case "read-only" read_only
    run_case "del" is_deleted
    run_case "del of a socket on a file system of its own" is_removed_from_a_mount
    run_case "killed" is_killed
    run_case "allowed networks" allows_networks
    run_case "bounded number of clients" bounds_clients
    run_case "bad options" refuses_bad_options
    finish
}

# serve [OPTION...]: serves image.raw on the socket `sock`. Sets URI, ID and SERVER.
serve() {
    [ -e image.raw ] || truncate -s 64M image.raw
    "$SLUICE" add --frontend nbd --listen unix:sock --export disk "$@" image.raw > add.txt
    read -r URI < add.txt
    note_server
}

tells_what_it_is() {
    serve --description 'of a guest'
    same URI "$URI" "nbd+unix:///disk?socket=$CASE/sock"
    nbdinfo "$URI" > info.txt
    local words
    for words in 'export="disk"' 'description: of a guest' 'export-size: 67108864' \
        'can_multi_conn: true' 'can_fua: true' 'can_flush: true' 'can_trim: true' \
        'can_zero: true' 'can_fast_zero: true' 'can_cache: true' 'is_read_only: false' \
        'base:allocation' 'block_size_minimum: 1' 'using structured packets'; do
        grep -qF "$words" info.txt || fail "'$words' is not in: $(cat info.txt)"
    done
    nbdinfo --list "nbd+unix:///?socket=$CASE/sock" > list.txt
    same listed "$(grep export= list.txt)" 'export="disk":'
    same size "$(nbdinfo --size "nbd+unix:///?socket=$CASE/sock")" 67108864
    refused 'none' nbdinfo "nbd+unix:///none?socket=$CASE/sock"
}

copies() {
    serve
    head -c 20M /dev/urandom > data
    dd if=data of=source.raw bs=1M seek=7 status=none
    truncate -s 64M source.raw
    nbdcopy source.raw "$URI"
    nbdcopy --connections=4 --requests=16 "$URI" back.raw
    cmp source.raw back.raw
    nbdinfo --map "$URI" > map.txt
    grep -q 'hole' map.txt || fail "no hole is told: $(cat map.txt)"
    stop_server
    cmp source.raw image.raw
}

under_qemu() {
    serve
    head -c 10M /dev/urandom > data
    truncate -s 64M data
    qemu-img convert -n -f raw -O raw data "$URI"
    qemu-img compare -f raw -F raw data "$URI"
    qemu-img convert -f raw -O qcow2 "$URI" copy.qcow2
    qemu-img compare -F raw copy.qcow2 "$URI"
    qemu-img bench -q -f raw -t none -c 2000 -d 32 -s 4k -w "$URI" > /dev/null
    qemu-io -f raw -c 'write -P 0x5a 1M 64k' -c 'write -z -u 2M 1M' -c 'discard 4M 1M' \
        -c 'write -f -P 0xa5 513 1000' -c flush "$URI" > /dev/null
    qemu-io -f raw -c 'read -P 0x5a 1M 64k' -c 'read -P 0 2M 1M' -c 'read -P 0xa5 513 1000' \
        "$URI" > read.txt
    if grep -q 'failed' read.txt; then fail "$(cat read.txt)"; fi
    qemu-img map -f raw --output json "$URI" > map.txt
    grep -q '"start": 4194304, "length": 1048576,.*"zero": true' map.txt ||
        fail "the hole is not told: $(cat map.txt)"
    stop_server
}

behind_nbdkit() {
    serve
    head -c 64M /dev/urandom > data
    nbdcopy data "$URI"
    # shellcheck disable=SC2016
    nbdkit -U - nbd "$URI" shared=true --run 'nbdcopy "$uri" back'
    cmp data back
}

under_libnbd() {
    serve
    cat > check.py << 'PYTHON'
import nbd, os, sys
def connected(structured):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(sys.argv[1])
    return h
for structured in (True, False):
    h = connected(structured)
    assert h.get_size() == 64 << 20
    h.pwrite(b'x' * 1000, 1, nbd.CMD_FLAG_FUA)
    assert h.pread(1002, 0) == b'\0' + b'x' * 1000 + b'\0'
    h.zero(10, 5, nbd.CMD_FLAG_NO_HOLE)
    assert h.pread(20, 0) == b'\0' + b'x' * 4 + b'\0' * 10 + b'x' * 5
    h.trim(1 << 20, 0)
    h.flush()
    h.cache(1 << 20, 0)
    # One connection's flush covers what another has written.
    other = connected(structured)
    other.pwrite(b'y' * 4096, 8192)
    h.flush()
    assert h.pread(4096, 8192) == b'y' * 4096
    other.shutdown()
    try:
        h.pread(1, 64 << 20)
        raise AssertionError('a read beyond the end succeeds')
    except nbd.Error as error:
        assert error.errno in ('EINVAL', None), error.errno
    h.shutdown()
PYTHON
    /usr/bin/python3 check.py "$URI"
}

under_fio() {
    serve -q 2
    fio --name=verify --ioengine=nbd --uri="$URI" --rw=randrw --bsrange=512-128k --size=32M \
        --iodepth=16 --verify=crc32c --verify_fatal=1 --output=fio.log || fail "$(cat fio.log)"
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q read stat.txt
}

over_tcp() {
    truncate -s 8M image.raw
    URI=$("$SLUICE" add --frontend nbd --listen tcp:127.0.0.1:0 image.raw | head -n 1)
    note_server
    [[ $URI == nbd://127.0.0.1:*/ && $URI != *:0/ ]] || fail "the URI is $URI"
    same size "$(nbdinfo --size "$URI")" $((8 << 20))
    stop_server
    refused 'refused' nbdinfo "$URI"
}

on_two_addresses() {
    serve --listen unix:@sluice-test-$$ --listen unix:other
    nbdinfo --size "nbd+unix:///?socket=$CASE/other" > /dev/null
    /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("\0" + sys.argv[1])
assert s.recv(8) == b"NBDMAGIC"' "sluice-test-$$"
    stop_server
    [ ! -e sock ] || fail "a socket was left behind"
    [ ! -e other ] || fail "the other socket was left behind"
}

read_only() {
    serve --read_only
    nbdinfo "$URI" > info.txt
    grep -q 'is_read_only: true' info.txt
    refused 'write' nbdcopy /dev/zero "$URI"
}

is_deleted() {
    serve
    /usr/bin/python3 -c '
import nbd, sys, time
h = nbd.NBD()
h.connect_uri(sys.argv[1])
print("here", flush=True)
time.sleep(60)' "$URI" > here &
    local client=$!
    for _ in {1..100}; do [ -s here ] && break; sleep 0.05; done
    refused 'is in use (1 client)' "$SLUICE" del -n "$ID"
    "$SLUICE" del -n "$ID" --force
    kill $client
    wait_for_end "$SERVER"
    [ ! -e sock ] || fail "the socket was left behind"
    same "state files" "$(ls state)" ""
}

# The server does not keep the mounts of its caller.
is_removed_from_a_mount() {
    mkdir mounted
    mount -t tmpfs sluice-test mounted
    serve --listen unix:mounted/sock
    "$SLUICE" del -n "$ID"
    [ ! -e mounted/sock ] || fail "the socket was left behind"
    umount mounted
}

is_killed() {
    serve
    qemu-io -f raw -c 'write -f -P 7 0 64k' "$URI" > /dev/null
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    [ -e sock ] || fail "the socket has gone"
    "$SLUICE" list > list.txt
    "$SLUICE" del -n "$ID"
    [ ! -e sock ] || fail "the socket was left behind"
    serve
    qemu-io -f raw -c 'read -P 7 0 64k' "$URI" > read.txt
    if grep -q 'failed' read.txt; then fail "$(cat read.txt)"; fi
    nbdinfo --size "$URI" > /dev/null
    stop_server
}

# T1.19.
allows_networks() {
    truncate -s 8M image.raw
    URI=$("$SLUICE" add --frontend nbd --listen tcp:127.0.0.1:0 --allow 127.0.0.2/31 image.raw |
        head -n 1)
    note_server
    if nbdinfo --size "$URI" > size.txt 2> refused.txt; then fail "127.0.0.1 is served"; fi
    stop_server
    URI=$("$SLUICE" add --frontend nbd --listen 'tcp:[::]:0' --allow 127.0.0.2/31 --allow ::1 \
        image.raw | head -n 1)
    note_server
    same size "$(nbdinfo --size "${URI/::/::1}")" $((8 << 20))
    stop_server
}

bounds_clients() {
    serve --shared 1
    /usr/bin/python3 -c '
import nbd, sys
one, two = nbd.NBD(), nbd.NBD()
one.connect_uri(sys.argv[1])
try:
    two.connect_uri(sys.argv[1])
    raise AssertionError("a second client is served")
except nbd.Error:
    pass
one.pread(512, 0)
one.shutdown()' "$URI"
    for _ in {1..50}; do
        if nbdinfo --size "$URI" > size.txt 2> err.txt; then break; fi
        sleep 0.1
    done
    same size "$(cat size.txt)" 67108864
    stop_server
}

refuses_bad_options() {
    truncate -s 1M image.raw
    local add=("$SLUICE" add --frontend nbd)
    refused "needs --listen ADDRESS" "${add[@]}" image.raw
    refused "give unix:PATH" "${add[@]}" --listen /tmp/x image.raw
    refused "the port is 'x'" "${add[@]}" --listen tcp:localhost:x image.raw
    refused "cannot listen on tcp:no.such.host.invalid:1" \
        "${add[@]}" --listen tcp:no.such.host.invalid:1 image.raw
    refused "No such file or directory" "${add[@]}" --listen unix:none/sock image.raw
    refused "are the limit of the protocol" \
        "${add[@]}" --listen unix:sock --export "$(printf 'x%.0s' {1..5000})" image.raw
    refused "give an IP address or a network" "${add[@]}" --listen unix:sock --allow here image.raw
    refused "--allow is empty" "${add[@]}" --listen unix:sock --allow "" image.raw
    refused "give a number of clients" "${add[@]}" --listen unix:sock --shared 0 image.raw
    touch taken
    refused "remove the file if nobody uses it" "${add[@]}" --listen unix:taken image.raw
    refused "--listen is for front end 'nbd'" \
        "$SLUICE" add --frontend fuse --at disk --listen unix:sock image.raw
    [ ! -e sock ] || fail "a socket was left behind"
    same "state files" "$(ls state)" ""
}

main
