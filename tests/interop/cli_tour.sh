#!/usr/bin/env bash
# The tour of README.md runs word for word on this machine's own kernel. The build is installed into
# a temporary directory, and sudo is replaced, because root does not need it.
# alone: 1
set -u

main() {
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    [ "$(id -u)" = 0 ] || { echo "skipped: these tests need root"; exit 77; }
    local module
    for module in fuse loop; do modprobe -q $module || true; done
    [ -e /dev/fuse ] && [ -e /dev/loop-control ] ||
        { echo "skipped: this machine has no FUSE or no loop devices"; exit 77; }
    folder=$(mktemp -d) || exit 1
    trap leave EXIT
    trap 'exit 130' HUP INT TERM
    alone
    export SLUICE_STATE_DIR=$folder/state
    cmake --install "$(dirname "$SLUICE")" --prefix "$folder/usr" >"$folder/install.log" ||
        give_up "it cannot be installed: $(tail -n 5 "$folder/install.log")"
    PATH=$folder/usr/bin:$PATH
    mkdir "$folder/here"
    cd "$folder/here" || exit 1
    tour >"$folder/tour"
    [ "$(wc -l <"$folder/tour")" -ge 12 ] || give_up "no tour in README.md"
    # A mount on /mnt is only visible in this process and its children.
    unshare --mount --propagation private bash -e -u -o pipefail -c '
        sudo() { "$@"; }
        . "$1"' tour "$folder/tour" >"$folder/output" 2>"$folder/errors" ||
        give_up "it fails: $(cat "$folder/output" "$folder/errors")"
    as_it_says
    echo "the tour was a success"
}

# Prints the first code block of the section, without the installation, which is done already.
tour() {
    awk '/^## / { there = /tour/ } there && /^```/ { inside = !inside; next } there && inside' \
        "$SLUICE_SOURCE_DIR/README.md" | grep -v '^make && sudo make install$'
}

# Waits until no other script uses the global state: names of devices, FUSE over io_uring.
alone() {
    switch=/sys/module/fuse/parameters/enable_uring switched=''
    exec 8>/run/lock/sluice-tour.lock && flock 8
    [ -e $switch ] || return 0
    exec 9<$switch && flock 9
    switched=$(cat $switch)
    echo N >$switch
}

as_it_says() {
    [ ! -e /dev/sluice/demo ] && [ ! -e /dev/sluice/wide ] || give_up "a link is left"
    [ -z "$(ls "$SLUICE_STATE_DIR")" ] || give_up "devices are left: $(ls "$SLUICE_STATE_DIR")"
    [ "$(stat -c %s a.img)" = $((2 << 30)) ] || give_up "a.img has not grown"
    grep -q '^0 *demo *\(/dev/[a-z0-9]*\) *1G *LIVE ' "$folder/output" ||
        give_up "no line for the device: $(cat "$folder/output")"
    blkid -p -o value -s TYPE disk.img | grep -qx ext4 || give_up "there is no ext4 in disk.img"
}

give_up() {
    printf '%s\n' "$*"
    exit 1
}

leave() {
    local status=$?
    trap - EXIT
    "$SLUICE" del -a --force >/dev/null 2>&1
    [ -z "$switched" ] || echo "$switched" >$switch
    rm -rf "$folder"
    exit $status
}

main
