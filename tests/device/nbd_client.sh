#!/usr/bin/env bash
# Target nbd on ublk: the pages of the device's own requests, lent to sockets. Servers are nbdkit's;
# they are killed, stopped and replaced, and so is ours. T2.x are the traps of NBD clients.
# SLUICE_TEST_SECONDS=N: the time of each verified load (3).
# seconds: 80
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_writer.sh"

SECONDS_EACH=${SLUICE_TEST_SECONDS:-3}
EIO="Input/output error|I/O error"

main() {
    local mode
    command -v nbdkit > /dev/null || { echo "skipped: there is no nbdkit"; exit 77; }
    for mode in $MODES; do
        run_case "verified load, mode $mode" verified_in "$mode"
    done
    run_case "verified load, tcp, send_zc" verified_tcp
    run_case "a file system" file_system
    run_case "the export is killed and comes back under verified load" comes_back
    run_case "the export is killed for good" stays_away
    run_case "the export says nothing" says_nothing
    run_case "our server is killed under load" killed
    run_case "upgrade under load" upgraded
    run_case "swap space" swap_space
    finish
}

# kit [ARGUMENT...]: nbdkit as a process of the case, on the socket `sock`. Sets KIT.
kit() {
    rm -f sock
    nbdkit -f -U sock "$@" 2> kit.log &
    KIT=$!
    wait_for 10 [ -S sock ]
}

end_kit() {
    kill -KILL "$KIT"
    wait "$KIT" 2> /dev/null || true
}

uri() {
    echo "nbd+unix:///?socket=$CASE/sock"
}

# counted NAME: prints this counter of the target.
counted() {
    sluice stat -n "$ID" > stat.txt
    sed -nE "s/.*nbd: .*$1 ([0-9]+).*/\\1/p" stat.txt | head -n 1
}

verified() {
    timeout 300 fio --name=verify --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=512-128k --iodepth=16 --size=12M --verify=crc32c --verify_fatal=1 \
        --output=fio.log || fail "$(tail -n 20 fio.log)"
}

verified_in() {
    truncate -s 64M image
    kit file image
    add "nbd($(uri), connections=2)" --mode "$1" -q 2
    same mode "$(field mode)" "$1"
    verified
    dd if=/dev/urandom of="$DEV" bs=1M count=8 oflag=direct conv=fsync status=none
    dd if="$DEV" of=read bs=1M count=8 iflag=direct status=none
    cmp read image -n 8388608
    case $1 in
        # All that is written, and what is read in requests of more than 16 KiB.
        auto|register)
            [ "$(counted direct_bytes)" -gt $((16 << 20)) ] || fail "$(cat stat.txt)"
            ;;
    esac
    del
    end_kit
}

verified_tcp() {
    nbdkit -f -i 127.0.0.1 -p 10809 memory 64M 2> kit.log &
    KIT=$!
    wait_for 10 listens 10809
    add 'nbd(nbd://127.0.0.1:10809/, send_zc)' -z
    verified
    [ "$(counted direct_bytes)" -gt $((8 << 20)) ] || fail "$(cat stat.txt)"
    del
    end_kit
}

listens() {
    (: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

file_system() {
    truncate -s 400M image
    kit file image
    add "$(uri)"
    mkfs.ext4 -qF "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    cp -r "$SLUICE_SOURCE_DIR/src" mnt/
    sync -f mnt
    fstrim mnt
    umount mnt
    e2fsck -fn "$DEV" > check.log 2>&1 || fail "$(cat check.log)"
    del
    end_kit
    add -t loop -f image
    mount -o ro "$DEV" mnt
    diff -r "$SLUICE_SOURCE_DIR/src" mnt/src
    umount mnt
    del
}

# load: verified random reads and writes for some seconds, in the background. Sets LOAD.
load() {
    timeout 300 fio --name=load --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=4k-64k --iodepth=16 --size=32M --time_based --runtime="$SECONDS_EACH" \
        --verify=crc32c --verify_backlog=64 --verify_fatal=1 --output=fio.log &
    LOAD=$!
}

load_is_well() {
    wait "$LOAD" || fail "$(tail -n 20 fio.log)"
}

# T2.16.
comes_back() {
    truncate -s 64M image
    kit file image
    add "nbd($(uri), connections=2, reconnect-trust=process)" -q 2
    load
    sleep 1
    end_kit
    sleep 0.3
    kit file image
    load_is_well
    [ "$(counted reconnects)" -ge 1 ] || fail "$(cat stat.txt)"
    dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct conv=fsync status=none
    del
    end_kit
}

# T2.16, T2.17: requests fail when the time for a new connection is over, and the device can go.
stays_away() {
    local began=$SECONDS
    truncate -s 64M image
    kit file image
    add "nbd($(uri), reconnect=2s)"
    dd if=/dev/urandom of="$DEV" bs=1M count=4 oflag=direct conv=fsync status=none
    end_kit
    fails "$EIO" timeout 60 dd if="$DEV" of=read bs=4k count=1 iflag=direct
    [ $((SECONDS - began)) -lt 30 ] || fail "it took $((SECONDS - began)) s"
    kit file image
    wait_for 20 dd if="$DEV" of=read bs=1M count=4 iflag=direct status=none
    cmp read image -n 4194304
    end_kit
    del
}

# T2.18.
says_nothing() {
    local began reader
    truncate -s 64M image
    kit file image
    add "nbd($(uri), timeout=1s, reconnect=2s)"
    kill -STOP "$KIT"
    dd if="$DEV" of=read bs=4k count=1 iflag=direct 2> dd.log &
    reader=$!
    sleep 0.5
    began=$SECONDS
    sluice del -n "$ID" --force
    [ $((SECONDS - began)) -lt 20 ] || fail "the deletion took $((SECONDS - began)) s"
    wait $reader || true
    kill -CONT "$KIT"
    end_kit
}

killed() {
    truncate -s 64M image
    kit file image
    add "$(uri)" -r 1 -i 1 -q 2
    write_numbered "$DEV" book &
    wait_for 20 [ -e book.started ]
    kill_server
    sluice recover -n "$ID" > /dev/null
    sleep 0.5
    touch book.stop
    wait $!
    verify_numbered "$DEV" book
    verify_numbered image book
    del
    end_kit
}

upgraded() {
    truncate -s 64M image
    kit file image
    add "$(uri)" -r 1 -i 1
    load
    sleep 1
    sluice upgrade -n "$ID" > /dev/null
    load_is_well
    dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct conv=fsync status=none
    del
    end_kit
}

# It is not safe, and says so; nothing refuses it, and as long as the server has memory it works.
swap_space() {
    local before swapped pressed=0 group=/sys/fs/cgroup/sluice-test-$$
    kit memory 256M
    add "$(uri)"
    sluice stat -n "$ID" | grep -q 'swap safe: no (.*nbd: a write to the server needs memory' ||
        fail "$(sluice stat -n "$ID")"
    same "swap safe" "$(field swap_safe)" false
    [ -e /sys/fs/cgroup/cgroup.controllers ] || return 0
    mkdir "$group"
    echo 32M > "$group/memory.max"
    mkswap "$DEV" > /dev/null
    swapon "$DEV"
    before=$(pages_swapped)
    (echo "$BASHPID" > "$group/cgroup.procs"; press 96) || pressed=$?
    swapped=$(($(pages_swapped) - before))
    swapoff "$DEV"
    rmdir "$group"
    same "status of the load" "$pressed" 0
    [ $swapped -gt 5000 ] || fail "only $swapped pages were swapped out"
    del
    end_kit
}

pages_swapped() {
    awk '/^pswpout/ { print $2 }' /proc/vmstat
}

# press MIB: fills memory, and checks the content of each page.
press() {
    timeout 120 python3 -c '
import mmap, struct, sys
pages = int(sys.argv[1]) * 256
memory = mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(pages):
    struct.pack_into("Q", memory, i * 4096, i)
for i in reversed(range(pages)):
    assert struct.unpack_from("Q", memory, i * 4096) == (i,), i
' "$1"
}

main
