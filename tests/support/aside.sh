#!/usr/bin/env bash
# Runs a command such that loop devices of other users that do not answer do not block it.
#
#   aside.sh COMMAND [ARGUMENT...]
#   aside.sh --hung                 only prints these devices
#
# mkfs and fsck query the file of every mounted loop device, and wait for ever if the file is on a
# FUSE or NFS server that hangs. If there is such a device, the command runs in a mount namespace
# without the mounts of that device; otherwise it runs directly.
set -eu

PATIENCE_TENTHS=20

main() {
    local hung
    hung=$(hung_devices)
    if [ "${1-}" = --hung ]; then
        echo "$hung"
        return
    fi
    [ -n "$hung" ] && [ "$(id -u)" = 0 ] || exec "$@"
    echo "aside.sh: these do not answer, and what is mounted from them is left out:" $hung >&2
    # shellcheck disable=SC2016
    exec unshare --mount --propagation private bash -c '
        source=$1 hung=$2
        shift 2
        . "$source" --functions
        leave_out "$hung"
        exec "$@"' bash "${BASH_SOURCE[0]}" "$hung" "$@"
}

# A query may never return, even if it is killed: it runs in the background and is not waited for.
hung_devices() {
    local answers device left
    answers=$(mktemp -d)
    for device in $(attached); do
        (losetup "/dev/$device" && : > "$answers/$device") < /dev/null > /dev/null 2>&1 &
    done
    for _ in $(seq $PATIENCE_TENTHS); do
        left=$(comm -23 <(attached) <(LC_ALL=C ls "$answers"))
        [ -n "$left" ] || break
        sleep 0.1
    done
    rm -rf "$answers"
    echo "$left"
}

attached() {
    local directory
    for directory in /sys/block/loop*/loop; do
        [ ! -e "$directory" ] || basename "${directory%/loop}"
    done | LC_ALL=C sort
}

# leave_out DEVICES: unmounts file systems on these devices, except those that contain the current
# directory or /tmp.
leave_out() {
    local device point hung
    while read -r device point; do
        point=$(printf '%b' "$point")
        [[ $PWD/ != "${point%/}"/* && /tmp/ != "${point%/}"/* ]] || continue
        for hung in $1; do
            [[ $device == "/dev/$hung" || $device == "/dev/${hung}p"* ]] || continue
            timeout -s KILL 5 umount --lazy --no-canonicalize "$point" || true
        done
    done < <(awk '$1 ~ "^/dev/loop" { print $1, $2 }' /proc/self/mounts)
}

[ "${1-}" = --functions ] || main "$@"
