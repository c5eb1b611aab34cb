#!/usr/bin/env bash
# `add` refuses a file that is in use by the kernel or through a lower device: a file of a loop
# device under any name, a disk with a part in use, a device whose file another server has. It never
# waits for a file system that hangs, and --force overrides the refusal.
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib_loop.sh"

main() {
    begin_loop_plain
    run_case "behind a loop device" behind_a_loop_device
    run_case "mounted" mounted
    run_case "read only on both sides" read_only
    run_case "by other names" other_names
    run_case "by a name that is gone" name_that_is_gone
    run_case "in another mount namespace" other_namespace
    run_case "a part of the same disk" partitions
    run_case "a loop device on a loop device" on_a_loop_device
    run_case "a loop device whose file is served" file_is_served
    run_case "a file whose loop device is served" loop_device_is_served
    run_case "a disk that is mounted" mounted_disk
    run_case "swap" swap
    run_case "twice in one stack" twice
    run_case "neighbours that hang" neighbours_that_hang
    run_case "a way that hangs" way_that_hangs
    run_case "recovered only if forced" in_the_record
    finish
}

image() {
    truncate -s "${2:-16M}" "$1"
}

attach() {
    losetup -f --show "$@"
}

# free FILE...: each can be attached, here by the FUSE front end.
free() {
    local file
    for file in "$@"; do
        timeout 60 "$SLUICE" add -n 50 --frontend fuse --at "$CASE/view" "$file" > free.txt 2>&1 ||
            fail "$file: $(cat free.txt)"
        "$SLUICE" del -n 50
    done
}

add() {
    timeout 60 "$SLUICE" add --frontend fuse --at "$CASE/view" "$@" > /dev/null
}

behind_a_loop_device() {
    local loop
    image a.img
    image b.img
    loop=$(attach a.img)
    refused "is open for writing in $loop: detach that first with losetup -d $loop, or use --f" \
        add a.img
    refused "is open for writing in $loop" add --read_only a.img
    refused "is open for writing in $loop" add 'stripe(b.img, a.img)'
    add --force a.img
    "$SLUICE" del -a
    echo '{"spec": "a.img", "force": true, "at": "view"}' > config.json
    timeout 60 "$SLUICE" add --config config.json > /dev/null
    "$SLUICE" del -a
    losetup -d "$loop"
    free a.img
}

mounted() {
    image a.img
    mkfs.ext4 -q a.img
    mkdir mnt
    mount -o loop a.img mnt
    refused "is open for writing in /dev/loop" add a.img
    unmount mnt
    free a.img
}

read_only() {
    local loop
    image a.img
    loop=$(attach -r a.img)
    add --read_only a.img
    "$SLUICE" del -a
    refused "is open for reading in $loop: detach that first" add a.img
    refused "give the option read_only, or use --force" add a.img
}

other_names() {
    local loop
    mkdir one two
    image one/a.img
    loop=$(attach one/a.img)
    ln one/a.img hard.img
    ln -s one/a.img soft.img
    mount --bind one two
    refused "is open for writing in $loop" add hard.img
    refused "is open for writing in $loop" add soft.img
    refused "is open for writing in $loop" add two/a.img
    mv one/a.img one/b.img
    refused "is open for writing in $loop" add hard.img
    image "odd name (deleted)"
    free '"odd name (deleted)"'
    loop=$(attach "odd name (deleted)")
    refused "is open for writing in $loop" add '"odd name (deleted)"'
}

# The path of the loop device's file was removed, so the file may be any file with another hard
# link. A file with only one link can still be attached.
name_that_is_gone() {
    local loop
    image a.img
    image b.img
    ln a.img other.img
    loop=$(attach a.img)
    rm a.img
    refused "is open elsewhere, perhaps in $loop" add other.img
    free b.img
}

other_namespace() {
    mkdir there
    image there/a.img
    mkfifo ready go
    # shellcheck disable=SC2016
    unshare -m --propagation private bash -c '
        mkdir hidden && mount --bind there hidden && cd hidden
        losetup -f --show $PWD/a.img > ../loop
        echo > ../ready
        read -r _ < ../go
        losetup -d "$(cat ../loop)"' &
    # shellcheck disable=SC2064
    trap "kill $! 2> /dev/null || true" EXIT
    read -r _ < ready
    [ ! -e hidden/a.img ] || fail "this is no other namespace"
    refused "is open for writing in $(cat loop)" add there/a.img
    echo > go
    wait $!
    free there/a.img
}

partitions() {
    local disk part
    image disk.img 32M
    printf '2048,16384\n18432,16384\n' | sfdisk -q disk.img
    disk=$(attach -P disk.img)
    [ -b "${disk}p2" ] || { echo "# this kernel knows no partitions of loop devices"; return 0; }
    part=$(attach "${disk}p1")
    refused "is open for writing in $part" add "$disk"
    refused "is open for writing in $part" add "${disk}p1"
    free "${disk}p2"
    losetup -d "$part"
    part=$(attach "$disk")
    refused "is open for writing in $part" add "${disk}p2"
    losetup -d "$part"
    free "$disk" "${disk}p1"
}

on_a_loop_device() {
    local lower upper
    image a.img
    lower=$(attach a.img)
    upper=$(attach a.img)
    refused "'$lower' is on '$CASE/a.img', which is open for writing in $upper" add "$lower"
    losetup -d "$upper"
    free "$lower"
    mknod node b 7 "${lower#/dev/loop}"
    upper=$(attach "$PWD/node")
    refused "is open for writing in $upper" add "$lower"
    refused "is open for writing in $lower" add a.img
}

# losetup ignores Sluice's lock; but Sluice refuses to attach the loop device.
file_is_served() {
    local loop
    image a.img
    add a.img
    loop=$(attach a.img)
    refused "'$loop' is on '$CASE/a.img', which is attached elsewhere" \
        "$SLUICE" add --frontend fuse --at "$CASE/other" "$loop"
    refused "which is attached elsewhere" \
        "$SLUICE" add --frontend fuse --at "$CASE/other" --read_only "$loop"
    "$SLUICE" del -a
    free "$loop"
}

loop_device_is_served() {
    local loop
    image a.img
    loop=$(attach a.img)
    add "$loop"
    refused "is open for writing in $loop" "$SLUICE" add --frontend fuse --at "$CASE/other" a.img
}

mounted_disk() {
    local loop
    image a.img
    mkfs.ext4 -q a.img
    loop=$(attach a.img)
    mkdir mnt
    mount "$loop" mnt
    refused "is in use (mounted at $CASE/mnt): release it first, or give the option read_only" \
        add "$loop"
    unmount mnt
    mkswap -q "$loop"
    # shellcheck disable=SC2064
    trap "swapoff $loop 2> /dev/null || true" EXIT
    swapon "$loop"
    refused "is in use (swap)" add "$loop"
}

swap() {
    dd if=/dev/zero of=swap.img bs=1M count=8 status=none
    chmod 600 swap.img
    mkswap -q swap.img
    ln swap.img other.img
    trap 'swapoff swap.img 2> /dev/null || true' EXIT
    swapon swap.img
    refused "is swap space" add other.img
    swapoff swap.img
    free other.img
}

twice() {
    image a.img
    ln a.img b.img
    refused "this stack also has it attached as a whole" add 'stripe(a.img, b.img)'
}

# A file system that hangs does not matter for files on other file systems.
neighbours_that_hang() {
    local loop stuck seconds
    sleepy asleep
    image a.img
    image b.img
    stuck=$(attach asleep/x)
    loop=$(attach b.img)
    kill -STOP "$SLEEPY"
    seconds=$SECONDS
    free a.img "$loop"
    [ $((SECONDS - seconds)) -le 2 ] || fail "took $((SECONDS - seconds)) seconds"
    ! pgrep -lx sluice-look -r D || fail "something hangs"
    refused "is open for writing in $loop" add b.img
    kill -CONT "$SLEEPY"
    losetup -d "$stuck"
}

# The path of the loop device's file leads through the file system that hangs, so it cannot be
# resolved.
way_that_hangs() {
    local loop
    sleepy asleep
    image a.img
    image b.img
    mount --bind "$CASE" asleep/dir
    loop=$(attach asleep/dir/b.img)
    kill -STOP "$SLEEPY"
    add a.img 2> notes
    kill -CONT "$SLEEPY"
    grep -qF "cannot see whether $loop is on '$CASE/a.img': '$CASE/asleep/dir/b.img' does" \
        notes || fail "said '$(cat notes)'"
    "$SLUICE" del -a
    refused "is open for writing in $loop" add b.img
    losetup -d "$loop"
    umount asleep/dir
}

in_the_record() {
    image a.img
    attach a.img > /dev/null
    add --force a.img
    grep -q '"forced": true' "$SLUICE_STATE_DIR"/device-*.json
    "$SLUICE" upgrade -n "$(id_of "$SLUICE_STATE_DIR"/device-*.json)" > /dev/null
}

main
