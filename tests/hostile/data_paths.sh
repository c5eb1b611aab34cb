#!/usr/bin/env bash
# The kernel refuses a data path of FUSE, at every step at which it can: another data path is used,
# and the record has the reason. A user who requested the path by name gets one sentence. Nothing is
# left behind.
#
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib_fuse.sh"

BACKING_OPEN=16:1=0x4010e501    # ioctl; x86-64
IO_URING_SETUP=425

main() {
    begin
    [[ $PATHS == *passthrough* ]] || { echo "skipped: this kernel has no passthrough"; exit 77; }
    run_case "on an overlay the kernel goes on by itself" on_overlay
    run_case "on an overlay on an overlay" on_overlay_on_overlay
    run_case "on a file served by passthrough, and on that again" on_passthrough
    run_case "root of a user namespace" in_user_namespace
    run_case "a container that refuses passthrough" no_backing_open
    run_case "a container that refuses io_uring" no_io_uring
    run_case "no room for io_uring's buffers" no_room_for_uring
    run_case "a loop device on a file without direct I/O" loop_without_direct_io
    run_case "buffered_io is not passed over" buffered
    finish
}

# served [OPTION...]: serves image.raw as the file `disk`, by any data path.
served() {
    "$SLUICE" add --frontend fuse --at "$CASE/disk" "$@" > add.txt || fail "was not added"
    note_server
    carries_data disk image.raw
}

# carries_data FILE IMAGE
carries_data() {
    head -c 1000000 /dev/urandom > data
    dd if=data of="$1" bs=64k conv=notrunc,fsync status=none
    cmp -n 1000000 data "$1"
    cmp -n 1000000 data "$2"
}

# not_by PATH WORDS: PATH was refused for the reason WORDS, and another data path is used.
not_by() {
    [ "$(field mode)" != "$1" ] || fail "served by $1"
    field mode_reason | grep -qF "not '$1': " || fail "no word of $1: $(field mode_reason)"
    field mode_reason | grep -qF -- "$2" || fail "'$2' is not in: $(field mode_reason)"
}

# not_by_name PATH WORDS COMMAND...: if PATH is requested by name, COMMAND fails with one sentence
# and leaves nothing behind.
not_by_name() {
    local path=$1 words=$2
    shift 2
    refused "$words" "$@" add --frontend fuse --at "$CASE/disk" --mode "$path" image.raw
    same "lines" "$(wc -l < refused.txt)" 1
    [ ! -e disk ] || fail "disk was left behind"
    same "records" "$(find "$SLUICE_STATE_DIR" -name '*.json' | wc -l)" 0
}

make_overlay() {
    mkdir -p "$2/upper" "$2/work" "$2/merged"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/merged"
}

on_overlay() {
    mkdir plain
    make_overlay plain one
    truncate -s 16M one/merged/image.raw
    ln -s one/merged/image.raw image.raw
    served image.raw
    same "data path" "$(field mode)" passthrough
    stop_serving
}

on_overlay_on_overlay() {
    mkdir plain
    make_overlay plain one
    mkdir space
    mount -t tmpfs tmpfs space
    make_overlay one/merged space/two
    truncate -s 16M space/two/merged/image.raw
    ln -s space/two/merged/image.raw image.raw
    served image.raw
    not_by passthrough "too many stacked file systems"
    stop_serving
    not_by_name passthrough "too many stacked file systems" "$SLUICE"
    "$SLUICE" add --frontend loop image.raw > add.txt
    note_server
    carries_data "$(head -n 1 add.txt)" image.raw
    not_by passthrough "too many stacked file systems"
    stop_server
}

# Sluice declares the smallest stacking depth, so that one more file system can be stacked on it.
on_passthrough() {
    truncate -s 16M image.raw
    local levels=(image.raw first second third) level paths=""
    for level in 1 2 3; do
        "$SLUICE" add --frontend fuse --at "$CASE/${levels[level]}" "${levels[level - 1]}" > add.txt
        ID=$(sed -nE 's/^dev id ([0-9]+):.*/\1/p' add.txt)
        paths+="$(field mode) "
        carries_data "${levels[level]}" image.raw
    done
    same "the first two" "${paths% * }" "passthrough passthrough"
    not_by passthrough "too many stacked file systems"
    for level in 3 2 1; do
        ID=$(record_of "$CASE/${levels[level]}")
        "$SLUICE" del -n "$ID"
    done
}

record_of() {
    local record
    for record in "$SLUICE_STATE_DIR"/device-*.json; do
        ! grep -qF "\"$1\"" "$record" || id_of "$record"
    done
}

in_user_namespace() {
    unshare -Urm true 2> /dev/null || { echo "# not tested: no user namespaces"; return 0; }
    truncate -s 16M image.raw
    CASE=$CASE SLUICE=$SLUICE unshare -Urm bash -c '
        set -e
        "$SLUICE" add --frontend fuse --at "$CASE/disk" image.raw > add.txt
        printf "any bytes" | dd of=disk bs=1000 conv=notrunc,fsync status=none
        grep -q "any bytes" image.raw
        "$SLUICE" list -v > list.txt
        "$SLUICE" del -n 0'
    grep -q "not 'passthrough': " list.txt || fail "$(cat list.txt)"
}

no_backing_open() {
    truncate -s 16M image.raw
    local refuse="$SLUICE_SOURCE_DIR/tests/support/refuse_call.py" outside=$SLUICE
    [ "$(uname -m)" = x86_64 ] || { echo "# not tested: the number of ioctl"; return 0; }
    not_by_name passthrough "refuses the backing file" "$refuse" "$BACKING_OPEN" "$outside"
    "$refuse" "$BACKING_OPEN" "$outside" add --frontend fuse --at "$CASE/disk" image.raw > add.txt
    note_server
    carries_data disk image.raw
    not_by passthrough "refuses the backing file"
    stop_serving
}

# Without io_uring nothing can be served; the message says so once.
no_io_uring() {
    truncate -s 16M image.raw
    local refuse="$SLUICE_SOURCE_DIR/tests/support/refuse_call.py"
    not_by_name uring "io_uring commands do not reach" "$refuse" "$IO_URING_SETUP" "$SLUICE"
    not_by_name copy "io_uring_disabled" "$refuse" "$IO_URING_SETUP" "$SLUICE"
}

# FUSE over io_uring has a queue for every processor, the next best data path one for each thread.
no_room_for_uring() {
    [[ $PATHS == *" uring"* ]] || { echo "# not tested: no FUSE over io_uring"; return 0; }
    [ "$(getconf _NPROCESSORS_CONF)" -gt 1 ] || { echo "# not tested: one processor"; return 0; }
    truncate -s 16M image.raw
    (
        ulimit -v $((900 << 10))
        served -q 1 -d 1024 'linear(image.raw)'
    )
    note_server
    not_by uring "no address space"
    stop_serving
    (
        ulimit -v $((900 << 10))
        refused "no address space" "$SLUICE" add --frontend fuse --at "$CASE/disk" --mode uring \
            -q 1 -d 1024 'linear(image.raw)'
    )
    [ ! -e disk ] || fail "disk was left behind"
}

# The file system of the backing has no O_DIRECT: with passthrough every request would fail.
loop_without_direct_io() {
    mkdir memory
    mount -t ramfs ramfs memory
    truncate -s 16M memory/image.raw
    "$SLUICE" add --frontend loop memory/image.raw > add.txt
    note_server
    carries_data "$(head -n 1 add.txt)" memory/image.raw
    not_by passthrough "does not support the direct I/O"
    stop_server
}

buffered() {
    truncate -s 16M image.raw
    served 'loop(image.raw, buffered_io=yes)'
    not_by passthrough "buffered_io"
    stop_serving
}

main
