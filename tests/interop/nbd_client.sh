#!/usr/bin/env bash
# Target nbd with the servers that people use: nbdkit, qemu-nbd, qemu-storage-daemon and our own
# front end; with connections that are cut, links that go down, servers that are killed, stopped or
# replaced; and its bad options. T2.x are the traps of NBD clients.
# SLUICE_TEST_SECONDS=N: the time of each verified load (4).
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

SECONDS_EACH=${SLUICE_TEST_SECONDS:-4}
SEED=${SLUICE_TEST_SEED:-$((EPOCHSECONDS % 32768))}

main() {
    local tool
    begin_plain
    for tool in nbdkit qemu-nbd qemu-storage-daemon fio ip; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    echo "# SLUICE_TEST_SEED=$SEED"
    run_case "nbdkit, unix" with_servers under_nbdkit_unix
    run_case "nbdkit, tcp" with_servers under_nbdkit_tcp
    run_case "qemu-nbd" with_servers under_qemu_nbd
    run_case "qemu-storage-daemon" with_servers under_storage_daemon
    run_case "our own server" with_servers under_our_server
    run_case "file system on a loop device" with_servers with_file_system
    run_case "holes" with_servers tells_holes
    run_case "server with errors" with_servers server_errs
    run_case "server killed" with_servers server_is_killed
    run_case "server stopped" with_servers server_is_stopped
    run_case "connections cut" with_servers connections_are_cut
    run_case "link down and up" with_servers link_goes
    run_case "smaller server" with_servers server_shrinks
    run_case "upgrade" with_servers is_upgraded
    run_case "words of ublksrv" with_servers words_of_ublksrv
    run_case "server that comes later" with_servers server_comes_later
    run_case "bad options" with_servers refuses_bad_options
    finish
}

# kit [ARGUMENT...]: nbdkit as a process of the case, on the socket `sock`. Sets KIT.
kit() {
    rm -f sock
    nbdkit -f -U sock "$@" 2> kit.log &
    KIT=$!
    appears sock
}

# answers URI: waits until a server does.
answers() {
    for _ in {1..100}; do
        if nbdinfo --size "$1" > size.txt 2> err.txt; then return; fi
        sleep 0.05
    done
    fail "no server: $(cat err.txt kit.log)"
}

# serve SPEC [OPTION...]: as the file `disk`. Sets ID and SERVER.
serve() {
    "$SLUICE" add --frontend fuse --at disk "${@:2}" "$1" > add.txt
    note_added
}

uri() {
    echo "nbd+unix:///?socket=$CASE/sock"
}

# load NAME: verified random reads and writes for some seconds, in the background.
load() {
    fio --name=load --filename=disk --ioengine=io_uring --direct=1 --rw=randrw --bsrange=4k-64k \
        --iodepth=16 --size=32M --time_based --runtime="$SECONDS_EACH" --verify=crc32c \
        --verify_backlog=64 --verify_fatal=1 --output=fio.log &
    LOAD=$!
}

load_is_well() {
    wait "$LOAD" || fail "$(tail -n 20 fio.log)"
}

copy_and_compare() {
    head -c 16M /dev/urandom > data
    dd if=data of=disk bs=1M conv=notrunc,fsync oflag=direct status=none
    cmp -n $((16 << 20)) data disk
}

under_nbdkit_unix() {
    truncate -s 64M image.raw
    kit file image.raw
    serve "nbd($(uri), connections=2)" -q 2
    verify_with_fio --filename=disk --direct=1 --bsrange=512-64k --size=32M
    copy_and_compare
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'nbd: connections 4' stat.txt || fail "$(cat stat.txt)"
    stop_server
    cmp -n $((16 << 20)) data image.raw
    end_kit
}

under_nbdkit_tcp() {
    truncate -s 64M image.raw
    nbdkit -f -i 127.0.0.1 -p 10873 file image.raw 2> kit.log &
    KIT=$!
    answers nbd://127.0.0.1:10873/
    serve "nbd(nbd://127.0.0.1:10873/, send_zc)"
    verify_with_fio --filename=disk --direct=1 --bsrange=512-64k --size=32M
    copy_and_compare
    stop_server
    end_kit
}

# It ends with its last client: the connection that found out the size is the one that serves.
under_qemu_nbd() {
    truncate -s 64M image.raw
    qemu-nbd -f raw -k "$CASE/sock" -x disk image.raw &
    local server=$!
    appears sock
    serve "nbd+unix:///disk?socket=$CASE/sock" -q 2
    verify_with_fio --filename=disk --direct=1 --bsrange=512-64k --size=32M
    copy_and_compare
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'nbd: connections 1' stat.txt || fail "$(cat stat.txt)"
    stop_server
    wait $server
    cmp -n $((16 << 20)) data image.raw
}

under_storage_daemon() {
    qemu-img create -q -f qcow2 image.qcow2 64M
    qemu-storage-daemon --blockdev driver=file,node-name=f,filename=image.qcow2 \
        --blockdev driver=qcow2,node-name=q,file=f --nbd-server addr.type=unix,addr.path=sock \
        --export type=nbd,id=e,node-name=q,name=disk,writable=on &
    local server=$!
    appears sock
    refused "there is 'disk'" \
        "$SLUICE" add --frontend fuse --at disk "nbd+unix:///none?socket=$CASE/sock"
    serve "nbd+unix:///disk?socket=$CASE/sock"
    verify_with_fio --filename=disk --direct=1 --bsrange=512-64k --size=32M
    copy_and_compare
    stop_server
    kill $server
    wait $server
    qemu-img compare -f raw -F qcow2 data image.qcow2 > compare.txt || true
    qemu-img check -q image.qcow2
}

under_our_server() {
    truncate -s 64M image.raw
    "$SLUICE" add --frontend nbd --listen unix:sock -q 2 image.raw > add.txt
    note_added
    local first=$ID first_server=$SERVER
    serve "nbd($(uri), connections=2)" -q 2
    verify_with_fio --filename=disk --direct=1 --bsrange=512-64k --size=32M
    copy_and_compare
    stop_server
    ID=$first SERVER=$first_server
    stop_server
    cmp -n $((16 << 20)) data image.raw
}

with_file_system() {
    truncate -s 256M image.raw
    kit file image.raw
    "$SLUICE" add --frontend loop "$(uri)" > add.txt
    note_added
    local device
    read -r device < add.txt
    mkfs.ext4 -q "$device"
    mkdir mount
    mount "$device" mount
    cp -r "$SLUICE_SOURCE_DIR/src" mount/
    sync -f mount
    unmount mount
    e2fsck -fn "$device" > fsck.txt 2>&1 || fail "$(cat fsck.txt)"
    mount -o ro "$device" mount
    diff -r "$SLUICE_SOURCE_DIR/src" mount/src
    unmount mount
    stop_server
    end_kit
}

tells_holes() {
    truncate -s 64M image.raw
    dd if=/dev/urandom of=image.raw bs=1M count=1 seek=8 conv=notrunc status=none
    kit file image.raw
    "$SLUICE" add --frontend nbd --listen unix:ours "$(uri)" > add.txt
    note_added
    nbdinfo --map "nbd+unix:///?socket=$CASE/ours" > map.txt
    grep -qE '^ *0 +8388608 +3' map.txt || fail "the hole is not told: $(cat map.txt)"
    grep -qE '^ *8388608 +1048576 +0' map.txt || fail "the data is not told: $(cat map.txt)"
    qemu-io -f raw -c 'discard 8M 1M' -c 'write -z -u 0 64k' -c flush \
        "nbd+unix:///?socket=$CASE/ours" > io.txt
    stop_server
    same "blocks" "$(stat -c %b image.raw)" 0
    end_kit
}

# T2.3: every error of the server reaches the user, and no other request.
server_errs() {
    kit --filter=error memory 64M error-pread=EIO error-pread-rate=1 error-file="$CASE/errs"
    serve "$(uri)"
    copy_and_compare
    touch errs
    if dd if=disk of=/dev/null bs=4k count=1 iflag=direct status=none 2> dd.txt; then
        fail "a read succeeds that the server has failed"
    fi
    rm errs
    cmp -n $((16 << 20)) data disk
    stop_server
    end_kit
}

server_is_killed() {
    truncate -s 64M image.raw
    kit file image.raw
    serve "nbd($(uri), reconnect-trust=process)"
    load
    sleep 1
    end_kit
    sleep 0.3
    kit file image.raw
    load_is_well
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'reconnects 1' stat.txt || fail "$(cat stat.txt)"
    dd if=/dev/zero of=disk bs=4k count=1 conv=notrunc,fsync status=none
    stop_server
    end_kit
}

# The writes that it has answered may be lost with its machine, as far as anyone can know.
server_is_stopped() {
    truncate -s 64M image.raw
    qemu-nbd -t -e 8 -f raw -k "$CASE/sock" image.raw 2> qemu.log &
    local server=$!
    appears sock
    serve "nbd($(uri), timeout=500ms)"
    dd if=/dev/urandom of=disk bs=4k count=1 conv=notrunc,fsync status=none
    load
    sleep 1
    kill -STOP $server
    sleep 1.5
    kill -CONT $server
    load_is_well
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'reconnects 1' stat.txt || fail "$(cat stat.txt)"
    if dd if=/dev/zero of=disk bs=4k count=1 conv=notrunc,fsync status=none 2> dd.txt; then
        fail "the flush after a lost connection succeeds"
    fi
    stop_server
    kill $server
    wait $server || true
}

# In front of our own server: nbdkit 1.32 may abort when a client hangs up in the middle.
connections_are_cut() {
    truncate -s 64M image.raw
    "$SLUICE" add --frontend nbd --listen unix:sock image.raw > add.txt
    note_added
    local first=$ID first_server=$SERVER
    mkfifo ready
    /usr/bin/python3 "$SLUICE_SOURCE_DIR/tests/support/cutting_proxy.py" cut sock "$SEED" > ready &
    local proxy=$!
    read -r _ < ready
    serve "nbd(nbd+unix:///?socket=$CASE/cut, connections=2, reconnect-trust=process)"
    load
    load_is_well
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -qE 'reconnects ([3-9]|[0-9]{2,})' stat.txt || fail "nothing was cut: $(cat stat.txt)"
    stop_server
    kill $proxy
    ID=$first SERVER=$first_server
    stop_server
}

# A namespace of its own, which ends with its process.
link_goes() {
    truncate -s 64M image.raw
    unshare -n sleep 120 &
    local other=$!
    until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do
        sleep 0.05
    done
    ip link add name "sl$$" type veth peer name far netns $other
    ip address add 10.123.45.1/30 dev "sl$$"
    ip link set "sl$$" up
    nsenter -n -t $other ip address add 10.123.45.2/30 dev far
    nsenter -n -t $other ip link set far up
    nsenter -n -t $other nbdkit -f -p 10809 file image.raw 2> kit.log &
    KIT=$!
    answers nbd://10.123.45.2/
    serve "nbd(nbd://10.123.45.2/, timeout=1s, reconnect-trust=process)"
    load
    sleep 1
    ip link set "sl$$" down
    sleep 2
    ip link set "sl$$" up
    load_is_well
    stop_server
    kill $other
    end_kit
}

# T2.19.
server_shrinks() {
    truncate -s 64M image.raw
    kit file image.raw
    serve "$(uri)"
    end_kit
    truncate -s 32M image.raw
    kit file image.raw
    refused 'Input/output error' dd if=disk of=/dev/null bs=4k count=1 iflag=direct status=none
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'has 33554432 bytes now, and had 67108864' stat.txt || fail "$(cat stat.txt)"
    stop_server
    end_kit
}

is_upgraded() {
    truncate -s 64M image.raw
    kit file image.raw
    serve "$(uri)" --mode copy
    load
    sleep 1
    "$SLUICE" upgrade -n "$ID"
    note_added
    load_is_well
    dd if=/dev/zero of=disk bs=4k count=1 conv=notrunc,fsync status=none
    stop_server
    end_kit
}

words_of_ublksrv() {
    truncate -s 64M image.raw
    kit -e disk file image.raw
    "$SLUICE" add -t nbd --frontend fuse --at disk --unix sock --export_name disk --read_only \
        > add.txt
    note_added
    cmp disk image.raw
    stop_server
    end_kit
    nbdkit -f -i localhost -p 10874 file image.raw 2> kit.log &
    KIT=$!
    answers nbd://localhost:10874/
    "$SLUICE" add -t nbd --frontend fuse --at disk --host localhost --port 10874 --send_zc \
        > add.txt
    note_added
    copy_and_compare
    stop_server
    end_kit
}

server_comes_later() {
    truncate -s 8M disk.raw
    local uri="nbd+unix:///?socket=$CASE/sock"
    refused 'cannot use nbd+unix' "$SLUICE" add --wait 200ms --at at "$uri"
    "$SLUICE" add --wait 60s --at at "$uri" > add.txt 2> wait.log &
    local added=$!
    sleep 0.3
    nbdkit -f -U sock file disk.raw 2> nbdkit.log &
    wait "$added" || fail "it did not wait: $(cat wait.log)"
    note_added
    same size "$(stat -c %s at)" 8388608
    stop_server
    # A signal ends the wait, and nothing is left.
    "$SLUICE" add --foreground --wait 60s --at at "nbd+unix:///?socket=$CASE/none" > add.txt 2>&1 &
    added=$!
    sleep 0.3
    kill -TERM "$added"
    wait_for_end "$added"
    [ ! -e at ] || fail 'a file was left behind'
    refused '--wait takes a time' "$SLUICE" add --wait soon --at at disk.raw
}

refuses_bad_options() {
    local add=("$SLUICE" add --frontend fuse --at disk)
    truncate -s 1M image.raw
    refused "Connection refused" "${add[@]}" nbd://127.0.0.1:10875/
    refused "cannot find host 'no.such.host.invalid'" "${add[@]}" nbd://no.such.host.invalid/
    refused "cannot open '$CASE/none/'" "${add[@]}" "nbd+unix:///?socket=$CASE/none/sock"
    refused "No such file or directory" "${add[@]}" "nbd+unix:///?socket=$CASE/sock"
    refused "has a relative socket path" "${add[@]}" "nbd+unix:///?socket=sock"
    refused "names no socket: add ?socket=PATH" "${add[@]}" "nbd+unix:///disk"
    refused "has the unknown parameter 'tls'" "${add[@]}" "nbd://localhost/?tls=1"
    refused "it has no server" "${add[@]}" "nbd(connections=2)"
    refused "which server is meant" "${add[@]}" "nbd(nbd://localhost/, host=localhost)"
    refused "port goes with host=HOST" "${add[@]}" "nbd(nbd://localhost/, port=1)"
    refused "reconnect is 'soon'" "${add[@]}" "nbd(nbd://localhost/, reconnect=soon)"
    refused "timeout is '1ms'" "${add[@]}" "nbd(nbd://localhost/, timeout=1ms)"
    refused "can be process or nothing" "${add[@]}" "nbd(nbd://localhost/, reconnect-trust=me)"
    refused "send_zc is for TCP" "${add[@]}" "nbd(nbd+unix:///?socket=$CASE/sock, send_zc)"
    kit null 0
    refused "the export is empty" "${add[@]}" "$(uri)"
    end_kit
    kit null 100 --filter=blocksize-policy blocksize-minimum=512 blocksize-preferred=4096
    refused "less than one block of 512" "${add[@]}" "$(uri)"
    end_kit
    [ ! -e disk ] || fail "a file was left behind"
    same "state files" "$(ls state)" ""
}

main
