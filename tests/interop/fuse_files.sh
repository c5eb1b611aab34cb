#!/usr/bin/env bash
# The file that FUSE serves is a plain file to programs: fio verifies it, with direct and buffered
# I/O, several jobs at once, at any byte; it is mapped and written at the same time; qemu-img
# converts and compares it; impossible operations are refused. SLUICE_TEST_FULL=1: fio verifies four
# times as much.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_fuse.sh"

main() {
    local path
    begin
    MIB=16
    ! full || MIB=64
    for path in $PATHS; do
        run_case "fio verifies direct I/O, $path" verify "$path" --direct=1 --bsrange=4k-256k
        run_case "fio verifies buffered I/O, $path" verify "$path" --direct=0 --bsrange=4k-256k
        run_case "fio verifies any bytes, $path" verify "$path" --direct=0 --bs_unaligned=1 \
            --bsrange=512-70000
        run_case "fio verifies 4 KiB, two queues, $path" verify_two_queues "$path"
        run_case "mapped and written at once, $path" map_and_write "$path"
        run_case "qemu-img converts and compares, $path" convert "$path"
        run_case "holes and zeroes, $path" punch "$path"
        run_case "the end of the file, $path" end_of_file "$path"
        run_case "an O_DIRECT backing on a disk, $path" backing_on_disk "$path"
    done
    run_case "passthrough only for a bare and whole file" no_passthrough
    finish
}

verify() {
    local path=$1
    shift
    serve_file "$path"
    verify_with_fio --filename=disk --size=${MIB}M --numjobs=3 --offset_increment=64M "$@"
    stop_serving
}

verify_two_queues() {
    serve_file "$1" -q 2
    verify_with_fio --filename=disk --size=$((MIB / 2))M --numjobs=2 --offset_increment=64M \
        --direct=1 --bs=4k
    stop_serving
}

map_and_write() {
    serve_file "$1"
    python3 "$SLUICE_SOURCE_DIR/tests/interop/fuse_map.py" disk
    stop_serving
}

convert() {
    serve_file "$1"
    head -c 20000000 /dev/urandom > data
    qemu-img create -q -f qcow2 other.qcow2 256M
    dd if=data of=disk bs=100000 conv=notrunc status=none
    cmp -n 20000000 data disk
    qemu-img convert -f raw -O qcow2 disk copy.qcow2
    qemu-img compare -q -f raw -F qcow2 disk copy.qcow2
    qemu-io -f qcow2 -c "write -P 7 1M 3M" copy.qcow2 > /dev/null
    qemu-img convert -n -f qcow2 -O raw copy.qcow2 disk
    qemu-img compare -q -f raw -F qcow2 disk copy.qcow2
    stop_serving
    qemu-img compare -q -f raw -F qcow2 image.raw copy.qcow2
}

punch() {
    serve_file "$1"
    head -c 4194304 /dev/zero | tr '\0' x > ones
    dd if=ones of=disk bs=1M conv=notrunc status=none
    fallocate -p -o 1000 -l 2000000 disk
    fallocate -z -o 3000000 -l 777 disk
    cmp -n 1000 disk ones
    cmp -n 2000000 -i 1000:0 disk /dev/zero
    cmp -n 998999 -i 2001000 disk ones
    cmp -n 777 -i 3000000:0 disk /dev/zero
    cmp -n 1000000 -i 3000777 disk ones
    refused "not supported" fallocate -o 0 -l 4096 disk
    stop_serving
}

end_of_file() {
    serve_file "$1"
    same "size" "$(stat -c %s disk)" 268435456
    same "kind" "$(stat -c %F disk)" "regular file"
    same "read over the end" "$(tail -c 10 disk | wc -c)" 10
    refused "not permitted" truncate -s 1M disk
    # With passthrough it is the backing file, and grows.
    [ "$1" = passthrough ] ||
        refused "No space left" dd if=/dev/zero of=disk bs=4k seek=65536 count=1 conv=notrunc
    stop_serving
}

# If /tmp is on a disk, direct I/O on the backing requires aligned memory.
backing_on_disk() {
    serve_file "$1"
    python3 - << 'END'
import os
disk = os.open("disk", os.O_RDWR)
for length in (1, 511, 513, 4095, 100001):
    data = os.urandom(length + 3)[3:]
    assert os.pwrite(disk, data, 12345) == length
    assert os.pread(disk, length, 12345) == data
os.fsync(disk)
END
    stop_serving
}

no_passthrough() {
    truncate -s 64M a.raw
    refused "not a single bare file" "$SLUICE" add --frontend fuse --at "$CASE/disk" \
        --mode passthrough 'linear(a.raw)'
    refused "only a part" "$SLUICE" add --frontend fuse --at "$CASE/disk" \
        --mode passthrough 'loop(a.raw, size=32M)'
    refused "only a part" "$SLUICE" add --frontend fuse --at "$CASE/disk" \
        --mode passthrough 'loop(a.raw, offset=1M)'
    [ ! -e disk ] || fail "disk was left behind"
}

main
