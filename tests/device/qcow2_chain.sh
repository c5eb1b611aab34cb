#!/usr/bin/env bash
# Target qcow2 on ublk, with a file system in use on it: git clones and builds go on while the
# device moves along a chain of images, and while snapshots are taken. QEMU's tools are the judge of
# the images.
# seconds: 80
# shellcheck source=tests/device/lib_filesystems.sh
. "$(dirname "$0")/lib_filesystems.sh"

main() {
    command -v qemu-img > /dev/null || { echo "skipped: there is no qemu-img"; exit 77; }
    make_repository
    run_case "commit and pivot" commits
    run_case "killed while it commits, recovered, and committed again" killed
    run_case "upgraded while it streams" upgraded
    run_case "an internal snapshot in the middle" keeps_snapshot
    finish
}

# serve IMAGE [ARGUMENT...]: a device on the image, with a new file system on mnt.
serve() {
    mkdir mnt
    qemu-img create -q -f qcow2 "$1" 192M
    add "qcow2:$1" -q 2 "${@:2}"
    make_fs ext4
    mount "$DEV" mnt
}

# work NAME: clones and builds in a folder of this name. In the background: end with end_work.
work() {
    mkdir "mnt/$1"
    (use "mnt/$1") &
    WORKER=$!
    sleep "${2:-0.3}"
}

end_work() {
    wait "$WORKER" || fail 'the clone or the build has failed'
}

# pivots: as soon as it is possible.
pivots() {
    for _ in {1..300}; do
        sluice ctl "$ID" / commit pivot > ctl.txt 2>&1 && return
        grep -q 'not yet moved' ctl.txt || fail "$(cat ctl.txt)"
        sleep 0.05
    done
    fail "the job does not come to its end: $(cat ctl.txt)"
}

# has_all IMAGE NAME...: once the device is gone, the image has a sound file system with this work.
has_all() {
    local image=$1 name
    shift
    umount mnt
    check_fs ext4
    del
    qemu-img check "$image" > check.txt || [ "${LEAKS:-no}$?" = yes3 ] || fail "$(cat check.txt)"
    qemu-img convert -f qcow2 -O raw "$image" copy.raw
    add "qcow2($image, read_only)" --mode copy
    cmp copy.raw "$DEV"
    mount -o ro,noload "$DEV" mnt
    for name; do has_work "$name"; done
    umount mnt
    del
}

has_work() {
    git -C "mnt/$1/clone" fsck --full --no-progress
    diff -r "$WORK/repository/tree" "mnt/$1/clone/tree"
    cmp program "mnt/$1/clone/project/program"
}

# The device goes from base.qcow2 to image.qcow2, and back.
commits() {
    serve base.qcow2
    work one 0
    end_work
    work two
    sluice ctl "$ID" / external-snapshot image.qcow2 > ctl.txt
    end_work
    work three
    sluice ctl "$ID" / commit > ctl.txt
    pivots
    end_work
    has_all base.qcow2 one two three
    qemu-img check -q image.qcow2
    qemu-img compare -q image.qcow2 base.qcow2 || fail 'the former image shows another disk'
}

killed() {
    local LEAKS=yes
    serve base.qcow2 -r 1
    work one 0
    end_work
    sluice ctl "$ID" / external-snapshot image.qcow2 > ctl.txt
    put_data
    work two
    sluice ctl "$ID" / commit > ctl.txt
    kill_server
    sluice recover -n "$ID" > recover.txt
    sluice ctl "$ID" / commit > ctl.txt
    pivots
    end_work
    has_all base.qcow2 one two
    qemu-img compare -q image.qcow2 base.qcow2 || fail 'the former image shows another disk'
}

upgraded() {
    serve base.qcow2 -r 1
    put_data
    sluice ctl "$ID" / external-snapshot image.qcow2 > ctl.txt
    work two
    sluice ctl "$ID" / stream > ctl.txt
    sluice upgrade -n "$ID" > upgrade.txt
    end_work
    wait_for 20 streamed
    rm base.qcow2
    has_all image.qcow2 two
}

streamed() {
    ! qemu-img info -U image.qcow2 | grep -q '^backing file:'
}

# put_data: so much that a job needs a while.
put_data() {
    head -c 64M /dev/urandom > mnt/data
    sync -f mnt
}

# What a snapshot has is what the disk had at that moment, and stays: a file system to be replayed,
# with all that was there before.
keeps_snapshot() {
    serve image.qcow2
    work one 0
    end_work
    work two
    sluice ctl "$ID" / snapshot-create middle > ctl.txt
    qemu-img convert -U -l middle -f qcow2 -O raw image.qcow2 before.raw
    end_work
    work three
    sluice ctl "$ID" / snapshot-create later > ctl.txt
    sluice ctl "$ID" / snapshot-delete later > ctl.txt
    end_work
    rm -r mnt/one
    has_all image.qcow2 two three
    qemu-img convert -l middle -f qcow2 -O raw image.qcow2 after.raw
    cmp before.raw after.raw
    e2fsck -fp after.raw > check.log 2>&1 || [ $? = 1 ] || fail "$(cat check.log)"
    add -t loop -f after.raw
    mount "$DEV" mnt
    has_work one
    umount mnt
    del
}

main
