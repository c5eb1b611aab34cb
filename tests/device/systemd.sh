#!/usr/bin/env bash
# A system booted by systemd, with udev and the journal, has the devices of /etc/sluice: they are
# there after boot, before what is mounted on them, and gone after that.
# systemd is process 1 of a namespace in the guest, whose root it takes as its own.
# timeout: 120
. "$(dirname "$0")/lib.sh"

main() {
    [ "$(hostname)" = sluice-guest ] ||
        { echo "skipped: only in a guest is it safe; SLUICE_DEVICE_TESTS=guest does so"; exit 77; }
    for program in /lib/systemd/systemd /lib/systemd/systemd-udevd; do
        [ -x $program ] || { echo "skipped: there is no $program"; exit 77; }
    done
    install_devices
    boot
    run_case "there after boot, mounted, and told in the journal" booted
    run_case "restarted: unmounted before, mounted again after" restarted
    run_case "upgraded: the new server is in the service, and stops as the first" upgraded
    run_case "killed: made again, what was mounted is unmounted" killed
    run_case "killed with recovery: goes on where it was" recovered
    run_case "a device without a file is refused" without_a_file
    run_case "power off: unmounted before the server ends" powered_off
    finish
}

install_devices() {
    cmake --install "$(dirname "$SLUICE")" --prefix /usr > "$WORK/install.log"
    mkdir -p /etc/sluice /srv/data
    truncate -s 256M /srv/data.img /srv/second.img /srv/lasting.img
    mkfs.ext4 -qF /srv/data.img
    echo '{"spec": "/srv/data.img", "number": 0}' > /etc/sluice/data.json
    echo '{"spec": "/srv/second.img", "number": 7, "frontend": "loop"}' > /etc/sluice/second.json
    echo '{"spec": "/srv/lasting.img", "number": 3, "user_recovery": 1,
           "user_recovery_reissue": 1}' > /etc/sluice/lasting.json
    # The line that the unit file shows.
    sed -nE 's,^# +(/dev/ublkb0 .*)NAME(.*),\1data\2,p' /usr/lib/systemd/system/sluice@.service \
        > /etc/fstab
    # Nothing else that this machine may have enabled.
    mount -t tmpfs units /etc/systemd/system
    systemctl -q enable sluice.target sluice@data sluice@second sluice@lasting
}

boot() {
    mkdir /sys/fs/cgroup/booted
    (
        echo 0 > /sys/fs/cgroup/booted/cgroup.procs
        exec unshare --mount --propagation private --pid --fork --mount-proc --cgroup --ipc --uts \
            bash -c '
                umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
                mount -t tmpfs -o mode=755 run /run && mount -t tmpfs tmp /tmp &&
                exec env -i PATH="$PATH" /lib/systemd/systemd'
    ) < /dev/null > "$WORK/systemd.log" 2>&1 &
    SYSTEM=$!
    wait_for 20 has_manager
    inside systemctl is-system-running --wait || inside systemctl --no-pager --failed
}

has_manager() {
    INIT=$(pgrep -P "$SYSTEM") && inside test -S /run/systemd/private
}

# A command in the booted system, from nobody's session.
inside() {
    timeout 60 nsenter -t "$INIT" --mount --pid --cgroup env -u SLUICE_STATE_DIR "$@"
}

booted() {
    is_served data 0
    is_served second 7
    is_served lasting 3
    is_mounted
    same "status" "$(shown data StatusText)" "/dev/ublkb0 is live, mode auto"
    inside journalctl -u sluice@data > journal
    grep -q 'sluice\[.*device 0 is live, mode auto' journal || fail "$(cat journal)"
    same "devices" "$(inside sluice list | grep -c '^dev id')" 3
    inside sh -c 'echo text > /srv/data/file'
}

# is_served NAME ID: by the process that systemd takes for the main one, in the unit's own group.
is_served() {
    same "state of $1" "$(shown "$1" ActiveState)" active
    same "main process of $1" "$(shown "$1" MainPID)" "$(server_of "$2")"
    inside cat "/proc/$(server_of "$2")/cgroup" > cgroup
    grep -q "/sluice@$1.service$" cgroup || fail "$1 is served in $(cat cgroup)"
}

is_mounted() {
    same "mounted device" "$(inside findmnt -n -o SOURCE /srv/data)" /dev/ublkb0
}

server_of() {
    inside sluice list -n "$1" --json | sed -nE 's/^ *"pid": ([0-9]+),?$/\1/p'
}

shown() {
    inside systemctl show --value -p "$2" "sluice@$1"
}

restarted() {
    local before
    before=$(server_of 0)
    inside systemctl restart sluice@data || fail "$(inside journalctl -u sluice@data)"
    [ "$before" != "$(server_of 0)" ] || fail "it is the same process still"
    is_served data 0
    mount_again
}

mount_again() {
    inside systemctl start srv-data.mount
    is_mounted
    same "what is there" "$(inside cat /srv/data/file)" text
}

# Twice, each time by a service whose remains systemd kills when it ends.
upgraded() {
    local before
    for _ in 1 2; do
        before=$(server_of 7)
        # Of this type its start is its end; to wait for another one takes D-Bus.
        inside systemd-run -q --property Type=oneshot --collect sluice upgrade -n 7
        [ "$before" != "$(server_of 7)" ] || fail "it is the same process still"
        is_served second 7
    done
    inside systemctl stop sluice@second
    same "result" "$(shown second Result)" success
    same "devices" "$(inside sluice list | grep -c '^dev id')" 2
    inside systemctl start sluice@second
    inside sluice upgrade -n 7 > shown
    kill_main second
    is_served second 7
}

killed() {
    kill_main data
    is_unmounted || fail "it is still mounted"
    is_served data 0
    mount_again
}

# kill_main NAME: kills its server, and waits until systemd has started another one.
kill_main() {
    inside systemctl kill -s KILL --kill-who=main "sluice@$1"
    wait_for 20 is_again "$1"
}

is_again() {
    [ "$(shown "$1" NRestarts) $(shown "$1" ActiveState)" = "1 active" ]
}

# What has it open notices nothing but the delay.
recovered() {
    exec 5<> /dev/ublkb3
    head -c 1M /dev/urandom > random
    kill_main lasting &
    dd if=random of=/dev/fd/5 bs=64k conv=fsync status=none
    wait $!
    is_served lasting 3
    cmp -n 1048576 random /dev/fd/5
    exec 5<&-
}

is_unmounted() {
    ! inside findmnt -n /srv/data > /dev/null
}

without_a_file() {
    fails "Assertion failed" inside systemctl start sluice@nothing
}

powered_off() {
    inside sh -c 'echo last > /srv/data/file'
    inside systemctl poweroff
    wait_for 30 gone "$SYSTEM"
    [ ! -e /dev/ublkb0 ] || fail "the device is still there"
    e2fsck -fn /srv/data.img > check.log 2>&1 || fail "$(cat check.log)"
    dumpe2fs -h /srv/data.img 2> /dev/null | grep features > features
    lacks needs_recovery features
    mount -o loop,ro /srv/data.img /srv/data
    same "what was written last" "$(cat /srv/data/file)" last
    umount /srv/data
}

main
