#!/usr/bin/env bash
# Target thin on FUSE, loop and NBD front ends: verified loads under which snapshots are taken and
# deleted, servers that are killed and replaced, file systems with fstrim, full pools that grow,
# stacks below and above, several volumes of one pool, and incremental backups. thin_check is the
# judge of what is left. T6.x are the traps of thin pools.
# seconds: 60
# shellcheck source=tests/interop/lib_mirror.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_mirror.sh"
# shellcheck source=tests/device/lib_writer.sh
. "$(dirname "${BASH_SOURCE[0]}")/../device/lib_writer.sh"

main() {
    local path tool
    begin
    for tool in fio nbdkit nbdinfo nbdcopy qemu-img thin_check mkfs.ext4 python3; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    for path in $PATHS; do
        [ "$path" = passthrough ] || run_case "snapshots under load, $path" snapshots "$path"
    done
    run_case "killed" killed
    run_case "upgraded" upgraded
    run_case "slices of one file, upgraded and killed" sliced
    run_case "file system on a loop device" file_system
    run_case "full and grown under load" full_under_load
    run_case "full, and nobody helps" full_and_deleted
    run_case "grows by itself" grows_by_itself
    run_case "on a qcow2 image, and on a mirror of exports" stacked
    run_case "external origin" external_origin
    run_case "several volumes, and a backup" several_volumes
    run_case "metadata snapshot" metadata_snapshot
    run_case "bad words" bad_words
    finish
}

# make_pool [DATA_SIZE]: with volume 1.
make_pool() {
    truncate -s 8M meta
    truncate -s "${1:-256M}" data
    "$SLUICE" thin create-pool meta data > create.txt
    "$SLUICE" thin create meta 1
}

# Nothing is damaged, and nothing leaked (T6.14).
is_sound() {
    thin_check -q meta > check.txt 2>&1 || fail "thin_check: $(cat check.txt)"
    "$SLUICE" thin check meta > check.txt || fail "$(cat check.txt)"
}

# sum_of VOLUME: of what it has, by a server of its own.
sum_of() {
    local spec="thin(meta, data, volume=$1, size=64M, read_only)"
    "$SLUICE" add --frontend fuse --at look "$spec" \
        > look.txt
    sha256sum < look
    "$SLUICE" del "$CASE/look" > del.txt
}

# T6.11: each snapshot is of one moment. Its content never changes.
snapshots() {
    local id
    make_pool
    serve "thin(meta, data, volume=1, size=64M)" -q 2 --mode "$1"
    same "data path" "$(field mode)" "$1"
    load 3
    for id in 2 3 4 5; do
        sleep 0.3
        ctl snapshot $id
    done
    ctl delete 3
    ctl snapshot 6 origin=2
    load_is_well
    [ "$(number blocks_copied)" -gt 0 ] || fail "nothing was shared: $(cat stat.txt)"
    stop_server
    is_sound
    same "snapshot of a snapshot" "$(sum_of 6)" "$(sum_of 2)"
    sum_of 5 > five.sum
    serve "thin(meta, data, volume=1, size=64M)"
    load 1
    load_is_well
    stop_server
    sum_of 5 | cmp - five.sum
    is_sound
}

# T6.10: all volumes are there. What was flushed is.
killed() {
    local round
    make_pool
    serve "thin(meta, data, volume=1, size=64M)" -q 2
    for round in $(up_to 3 6); do
        fio --name=flushed --filename=disk --rw=randwrite --bs=16k --size=16M --offset=32M \
            --io_size=2M --randseed="$round" --verify=crc32c --do_verify=0 --end_fsync=1 \
            --direct=1 --verify_state_save=0 --output=fio.log
        fio --name=load --filename=disk --ioengine=libaio --direct=1 --rw=randwrite --iodepth=16 \
            --bsrange=4k-128k --size=16M --time_based --runtime=20 --output=load.log 2>&1 &
        sleep 0.3
        ctl snapshot $((10 + round))
        sleep "0.$((round % 3))1"
        kill_server
        wait $! || true
        is_sound
        serve "thin(meta, data, volume=1, size=64M)" -q 2
        fio --name=flushed --filename=disk --rw=randwrite --bs=16k --size=16M --offset=32M \
            --io_size=2M --randseed="$round" --verify=crc32c --verify_only=1 --direct=1 \
            --verify_state_save=0 --output=fio.log || fail "$(cat fio.log)"
    done
    same volumes "$("$SLUICE" ctl -n "$ID" / list --json | grep -c '"id"')" $((round + 1))
    stop_server
    is_sound
}

upgraded() {
    make_pool
    serve "thin(meta, data, volume=1, size=64M)" -q 2 --mode copy
    load 4
    sleep 0.5
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    note_server
    ctl snapshot 2
    sleep 0.5
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    note_server
    load_is_well
    stop_server
    is_sound
}

# As LVM lays out a pool.
sliced() {
    local spec metadata data
    truncate -s 400M disk.raw
    metadata="loop(disk.raw, offset=1M, size=8M)"
    data="linear(loop(disk.raw, offset=100M, size=128M), loop(disk.raw, offset=16M, size=64M))"
    spec="thin($metadata, $data, volume=1, size=64M)"
    "$SLUICE" thin create-pool "$metadata" "$data" > create.txt
    "$SLUICE" thin create "$metadata" 1
    refused "that do not overlap" "$SLUICE" thin trim "$metadata" "loop(disk.raw)"
    refused "that do not overlap" "$SLUICE" add --frontend fuse --at disk \
        "thin($metadata, loop(disk.raw, offset=8M), volume=1, size=64M)"
    serve "$spec" -q 2 --mode copy
    load 4
    refused "attached for writing elsewhere" "$SLUICE" thin info "loop(disk.raw, offset=300M)"
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    note_server
    ctl snapshot 2
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    note_server
    refused "attached for writing elsewhere" "$SLUICE" thin info "loop(disk.raw, offset=300M)"
    load_is_well
    load 3
    sleep 0.3
    kill_server
    wait "$LOAD" || true
    "$SLUICE" thin check "$metadata" > check.txt || fail "$(cat check.txt)"
    serve "$spec" -q 2 --mode copy
    load 1
    load_is_well
    stop_server
    "$SLUICE" thin trim "$metadata" "$data" > trim.txt
    "$SLUICE" thin check "$metadata" > check.txt || fail "$(cat check.txt)"
}

# Discards reach the pool, and the data file.
file_system() {
    local used
    need_loop_device
    make_pool 512M
    DEV=$("$SLUICE" add --frontend loop "thin(meta, data, volume=1, size=2G)" | head -n 1)
    note_server
    mkfs.ext4 -q "$DEV"
    mkdir mounted
    mount "$DEV" mounted
    head -c 100M /dev/urandom > mounted/file
    sync
    used=$(used_blocks)
    [ "$used" -gt 1600 ] || fail "$used blocks for 100 MiB"
    ctl snapshot 2
    rm mounted/file
    sync
    fstrim mounted
    [ "$(used_blocks)" -ge "$used" ] || fail "the snapshot has lost blocks: $(used_blocks) of $used"
    ctl delete 2
    sync
    [ "$(used_blocks)" -lt $((used - 1500)) ] || fail "still $(used_blocks) of $used blocks"
    head -c 50M /dev/urandom > mounted/other
    fstrim mounted
    umount mounted
    e2fsck -fn "$DEV" > e2fsck.txt 2>&1 || fail "$(cat e2fsck.txt)"
    "$SLUICE" del -n "$ID"
    is_sound
    # What the snapshot alone had.
    "$SLUICE" thin trim meta data > trim.txt
    [ "$(du -m data | cut -f1)" -lt 140 ] || fail "the data file has $(du -m data)"
    is_sound
}

need_loop_device() {
    [ -e /dev/loop-control ] || modprobe loop || true
    [ -e /dev/loop-control ] || fail "this kernel has no loop devices"
}

used_blocks() {
    echo $(($(number data_blocks) - $(number data_blocks_free)))
}

# Writes wait, and go on once there is space.
full_under_load() {
    make_pool 8M
    serve "thin(meta, data, volume=1, size=64M, no_space_timeout=60s)" -q 2
    load 8
    wait_until is_full
    truncate -s 64M data
    "$SLUICE" resize -n "$ID" > resize.txt
    load_is_well
    same "data blocks" "$(number data_blocks)" 1024
    stop_server
    is_sound
}

is_full() {
    [ "$(number data_blocks_free)" = 0 ]
}

# All else goes on meanwhile, and a deletion makes space.
full_and_deleted() {
    make_pool 8M
    serve "thin(meta, data, volume=1, size=64M, no_space_timeout=0s)"
    dd if=/dev/urandom of=disk bs=1M count=6 conv=notrunc status=none oflag=direct
    ctl snapshot 2
    dd if=/dev/urandom of=disk bs=1M count=2 conv=notrunc status=none oflag=direct
    refused 'No space' dd if=/dev/zero of=disk bs=64k seek=300 count=1 conv=notrunc oflag=direct
    refused 'No space' dd if=/dev/zero of=disk bs=64k seek=60 count=1 conv=notrunc oflag=direct
    cmp -n $((6 << 20)) disk /dev/zero > cmp.txt || true # all can be read
    "$SLUICE" events > events.txt
    grep -q 'all data blocks are in use' events.txt || fail "no event: $(cat events.txt)"
    ctl delete 2
    dd if=/dev/zero of=disk bs=64k seek=60 count=1 conv=notrunc oflag=direct status=none
    stop_server
    is_sound
}

grows_by_itself() {
    make_pool 8M
    serve "thin(meta, data, volume=1, size=64M, autogrow=8M)" -q 2
    load 3
    load_is_well
    [ "$(stat -c %s data)" -ge $((20 << 20)) ] || fail "the data file did not grow"
    stop_server
    is_sound
}

stacked() {
    make_pool 64M
    qemu-img create -q -f qcow2 data.qcow2 64M
    serve "thin(meta, qcow2:data.qcow2, volume=1, size=64M)"
    load 1
    ctl snapshot 2
    load_is_well
    stop_server
    is_sound
    qemu-img check -q data.qcow2
    truncate -s 48M a.img b.img
    nbdkit -f -U left file a.img 2> kit.log &
    local left=$!
    nbdkit -f -U right file b.img 2> kit.log &
    local right=$!
    # shellcheck disable=SC2064
    trap "kill $left $right" EXIT
    appears left
    appears right
    local legs="nbd+unix:///?socket=$CASE/left, nbd+unix:///?socket=$CASE/right"
    IFS=, read -r one other <<< "$legs"
    "$SLUICE" mirror create --assume_clean "$one" "${other# }" > create.txt
    truncate -s 8M meta
    "$SLUICE" thin create-pool --force meta "mirror($legs)" > create.txt
    "$SLUICE" thin create meta 1
    serve "thin(meta, mirror($legs), volume=1, size=64M)"
    load 1
    ctl snapshot 2
    load_is_well
    stop_server
    is_sound
}

# Its bytes are seen where nothing was written, and are never written themselves.
external_origin() {
    make_pool
    head -c 5000000 /dev/urandom > base
    truncate -s 5000192 base
    cp base oracle
    truncate -s 64M oracle
    sha256sum base > base.sum
    serve "thin(meta, data, loop(base, read_only), volume=1, size=64M)"
    cmp oracle disk
    dd if=/dev/urandom of=part bs=4k count=9 status=none
    dd if=part of=disk bs=4k seek=1217 conv=notrunc status=none
    dd if=part of=oracle bs=4k seek=1217 conv=notrunc status=none
    sync disk
    cmp oracle disk
    stop_server
    sha256sum -c --quiet base.sum
    is_sound
}

# Each export is a volume. The backup is a copy of one snapshot, brought up to another one by what
# differs.
several_volumes() {
    local uri
    make_pool
    "$SLUICE" thin create meta 2
    "$SLUICE" serve --listen "unix:$CASE/pool.sock" \
        live="thin(meta, data, pool=p, volume=1, size=32M)" \
        other="thin(pool=p, volume=2, size=32M)" > add.txt
    note_server
    uri="nbd+unix:///live?socket=$CASE/pool.sock"
    head -c 8M /dev/urandom > content
    nbdcopy content "nbd+unix:///other?socket=$CASE/pool.sock"
    nbdcopy content "$uri"
    "$SLUICE" ctl -n "$ID" /0 snapshot 11
    nbdcopy "$uri" backup
    python3 -c 'import nbd, os, sys
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
for place in (3 << 20, (9 << 20) + 512, 20 << 20):
    handle.pwrite(os.urandom(70000 // 512 * 512), place)
handle.trim(65536, 1 << 20)
handle.flush()' "$uri"
    "$SLUICE" ctl -n "$ID" /0 snapshot 12
    nbdinfo --map=sluice:thin-delta:11 "$uri" > map.txt
    python3 - "$uri" map.txt backup <<'END'
import nbd, sys
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
moved = 0
with open(sys.argv[3], "r+b") as backup:
    for line in open(sys.argv[2]):
        offset, length, flags = (int(each) for each in line.split()[:3])
        if flags == 0:
            continue
        backup.seek(offset)
        for place in range(offset, offset + length, 1 << 20):
            backup.write(handle.pread(min(1 << 20, offset + length - place), place))
        moved += length
assert 0 < moved <= 10 * 65536, moved
END
    nbdcopy "$uri" live
    cmp live backup
    refused 'does not support' nbdinfo --map=sluice:thin-delta:99 "$uri"
    "$SLUICE" del -n "$ID"
    is_sound
    same "the snapshot" "$(sum_of 12)" "$(truncate -s 64M backup && sha256sum < backup)"
}

metadata_snapshot() {
    make_pool
    serve "thin(meta, data, volume=1, size=64M)"
    dd if=/dev/urandom of=disk bs=1M count=4 conv=notrunc status=none oflag=direct
    ctl reserve-metadata-snapshot
    "$SLUICE" thin dump -m --force_share meta > before.xml
    thin_dump -m meta | cmp - before.xml
    dd if=/dev/urandom of=disk bs=1M count=4 seek=4 conv=notrunc,fsync status=none oflag=direct
    ctl snapshot 2
    "$SLUICE" thin dump -m --force_share meta | cmp - before.xml
    ctl release-metadata-snapshot
    stop_server
    is_sound
}

bad_words() {
    make_pool
    says 'no thin device 9' "thin(meta, data, volume=9, size=1M)"
    says 'needs two devices' "thin(meta, volume=1, size=1M)"
    says 'size' "thin(meta, data, volume=1)"
    says 'passdown, nopassdown or ignore' "thin(meta, data, volume=1, size=1M, discards=x)"
    says 'superblock' "thin(data, meta, volume=1, size=1M)"
    truncate -s 1M data
    says 'the data device only 16' "thin(meta, data, volume=1, size=1M)"
    truncate -s 256M data
    serve "thin(meta, data, volume=1, size=1M)"
    refused 'meta' "$SLUICE" thin create meta 7
    refused 'is a number' ctl create x
    refused 'is served' ctl delete 1
    refused 'no thin device 5' ctl snapshot 6 origin=5
    stop_server
    is_sound
}

# says TEXT SPEC: it is refused in these words.
says() {
    refused "$1" "$SLUICE" add --frontend fuse --at disk "$2"
}

main
