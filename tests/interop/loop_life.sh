#!/usr/bin/env bash
# A loop device on FUSE grows under load, and ends by del, by SIGTERM or by SIGKILL with I/O in
# flight. Nothing hangs or is left behind, and its FUSE mount is not visible in the file tree.
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_loop.sh"

main() {
    local path
    begin_loop
    for path in $PATHS; do
        run_case "killed and gone, $path" killed "$path" 1
    done
    run_case "killed and gone, buffered" killed copy 0
    run_case "killed while mounted" killed_while_mounted
    run_case "terminated under load" terminated
    run_case "not deleted while in use" in_use
    run_case "deleted by force while in use" forced
    for path in $PATHS; do
        run_case "grows under load, $path" grows "$path"
    done
    run_case "upgraded under load" upgraded
    run_case "nowhere in the file tree" invisible
    run_case "several at once" several
    MANY=60
    ! full || MANY=200
    run_case "$MANY at once" many
    finish
}

many() {
    local number
    for ((number = 1; number <= MANY; ++number)); do
        "$SLUICE" add --frontend loop null:64M > "out.$number" 2> "err.$number" &
    done
    wait
    same "devices" "$("$SLUICE" list -v | grep -c '^dev id')" $MANY
    same "different paths" "$(head -qn1 out.* | sort -u | wc -l)" $MANY
    "$SLUICE" del -a
    same "devices left" "$("$SLUICE" list 2> /dev/null)" ""
    same "state files left" "$(ls "$SLUICE_STATE_DIR")" ""
}

start_load() {
    fio --name=load --filename="$DEV" --size=256M --rw=randrw --bs=64k --ioengine=libaio \
        --direct=1 --iodepth=32 --time_based --runtime=3 > load.log 2>&1 &
    LOAD=$!
    while [ "$(stat -c %b image.raw)" -lt 2000 ]; do sleep 0.02; done
}

# Requests fail and do not hang; with passthrough they do not even fail, because the kernel has the
# backing file. When fio has ended the device is no longer open, and the kernel detaches it.
killed() {
    serve_loop "$1" "$2"
    start_load
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    wait_for_end "$LOAD"
    [ "$1" = passthrough ] || grep -q "error" load.log ||
        fail "fio did not notice: $(cat load.log)"
    wait_until_detached
}

killed_while_mounted() {
    serve_loop copy 1
    mkfs.ext4 -q "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    echo text > mnt/file
    sync -f mnt
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    refused "rror" timeout 10 dd if=/dev/zero of=mnt/other bs=1M count=1 oflag=direct
    losetup -d "$DEV"
    timeout 10 umount mnt
    wait_until_detached
    e2fsck -fy image.raw > check.log 2>&1 || [ $? -le 1 ] || fail "$(cat check.log)"
    local again
    again=$(losetup -f --show image.raw)    # `mount -o loop` would query all loop devices
    mount "$again" mnt
    losetup -d "$again"     # takes effect once it is unmounted
    same "what was synced" "$(cat mnt/file)" text
    umount mnt
}

terminated() {
    serve_loop copy 1
    start_load
    kill -TERM "$SERVER"
    wait_for_end "$SERVER"
    wait_for_end "$LOAD"
    wait_until_detached
}

in_use() {
    serve_loop copy 1
    exec 5< "$DEV"
    refused "is in use (process" "$SLUICE" del -n "$ID"
    head -c 4096 "$DEV" > /dev/null
    exec 5<&-
    stop_loop
}

forced() {
    serve_loop copy 1
    exec 5<> "$DEV"
    "$SLUICE" del -n "$ID" --force
    wait_for_end "$SERVER"
    refused "rror" timeout 10 dd if="$DEV" of=/dev/null bs=4k count=1 iflag=direct
    exec 5<&-
    wait_until_detached
}

grows() {
    serve_loop "$1" 1
    start_load
    truncate -s 768M image.raw
    "$SLUICE" resize -n "$ID" 768M
    same "size" "$(blockdev --getsize64 "$DEV")" $((768 << 20))
    head -c 1M /dev/urandom > random.raw
    dd if=random.raw of="$DEV" bs=1M seek=767 oflag=direct status=none
    dd if="$DEV" bs=1M skip=767 iflag=direct status=none | cmp - random.raw
    wait_for_end "$LOAD"
    ! grep -q "error=" load.log || fail "$(cat load.log)"
    stop_loop
    cmp -i $((767 << 20)):0 image.raw random.raw
}

upgraded() {
    serve_loop copy 1
    fio --name=verify --filename="$DEV" --size=128M --rw=randrw --bs=64k --ioengine=libaio \
        --direct=1 --iodepth=16 --verify=crc32c --time_based --runtime=4 > load.log 2>&1 &
    LOAD=$!
    for _ in {1..10}; do "$SLUICE" upgrade -n "$ID" > /dev/null; done
    wait "$LOAD" || fail "$(cat load.log)"
    SERVER=$(field pid)
    stop_loop
}

invisible() {
    local number
    serve_loop copy 1
    number=$(field file_system)
    number=${number%% *}
    [[ $number == *:* ]] || fail "no file system in the record"
    same "mounts of it" "$(awk -v number="$number" '$3 == number' /proc/self/mountinfo)" ""
    grep -q fuse.sluice "/proc/$SERVER/mountinfo" && fail "the server itself sees the mount"
    stop_loop
}

# Several `add` race for the free numbers.
several() {
    local i adders=() devices
    for i in {1..8}; do
        truncate -s 16M "image$i.raw"
        "$SLUICE" add --frontend loop "image$i.raw" > "device$i.txt" &
        adders+=($!)
    done
    for i in "${adders[@]}"; do wait "$i"; done
    devices=$(cat device*.txt | grep -c '^/dev/loop')
    same "devices" "$devices" 8
    same "different ones" "$(cat device*.txt | grep '^/dev/loop' | sort -u | wc -l)" 8
    for i in "$SLUICE_STATE_DIR"/device-*.json; do "$SLUICE" del -n "$(id_of "$i")"; done
}

main
