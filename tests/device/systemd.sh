#!/usr/bin/env bash
# A system booted by systemd, with udev and the journal, serves the devices of /etc/sluice: they
# start at boot, before the file systems on them are mounted, and stop after these are unmounted.
# systemd is process 1 of a namespace in the guest, and uses the guest's root.
# seconds: 145
. "$(dirname "$0")/lib.sh"

UUID=5a1b0c8e-0000-4000-8000-000000005a1e

main() {
    [ "$(hostname)" = sluice-guest ] ||
        { echo "skipped: only in a guest is it safe; SLUICE_DEVICE_TESTS=guest does so"; exit 77; }
    for program in /lib/systemd/systemd /lib/systemd/systemd-udevd; do
        [ -x $program ] || { echo "skipped: there is no $program"; exit 77; }
    done
    install_devices
    boot
    run_case "there after boot, mounted, and told in the journal" booted
    run_case "udev knows them: names, model, serial, what is on them" known_to_udev
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
    mkdir -p /etc/sluice /srv/data /srv/lasting
    truncate -s 256M /srv/data.img /srv/second.img /srv/lasting.img
    mkfs.ext4 -qF -L sluice-data /srv/data.img
    mkfs.ext4 -qF -U $UUID /srv/lasting.img
    echo '{"spec": "/srv/data.img", "number": 0}' > /etc/sluice/data.json
    echo '{"spec": "/srv/second.img", "number": 7, "frontend": "loop",
           "name": "other"}' > /etc/sluice/second.json
    echo '{"spec": "/srv/lasting.img", "number": 3, "user_recovery": 1,
           "user_recovery_reissue": true}' > /etc/sluice/lasting.json
    # The line that the unit file shows, and a line that finds its device by UUID.
    sed -nE '/^# +.dev.sluice/{ s/^# +//; s/NAME/data/g; p }' \
        /usr/lib/systemd/system/sluice@.service > /etc/fstab
    echo "UUID=$UUID /srv/lasting ext4 x-systemd.requires=sluice@lasting.service,nofail 0 2" \
        >> /etc/fstab
    # Disables all other units that are enabled on this machine.
    mount -t tmpfs units /etc/systemd/system
    systemctl -q enable sluice@data sluice@second sluice@lasting
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

# Runs a command in the booted system, outside any session.
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
    same "devices" "$(inside sluice list --json | grep -c '^    "id"')" 3
    inside sh -c 'echo text > /srv/data/file'
}

known_to_udev() {
    local second
    same "/dev/sluice/data" "$(inside readlink -f /dev/sluice/data)" /dev/ublkb0
    same "/dev/sluice/lasting" "$(inside readlink -f /dev/sluice/lasting)" /dev/ublkb3
    second=$(inside sluice list other --json | sed -nE 's/^ *"device": "(.*)",$/\1/p')
    same "/dev/sluice/other" "$(inside readlink -f /dev/sluice/other)" "$second"
    same "by-uuid" "$(inside readlink -f /dev/disk/by-uuid/$UUID)" /dev/ublkb3
    same "by-label" "$(inside readlink -f /dev/disk/by-label/sluice-data)" /dev/ublkb0
    same "by-id" "$(inside readlink -f /dev/disk/by-id/sluice-data)" /dev/ublkb0
    same "mounted by its UUID" "$(inside findmnt -n -o SOURCE /srv/lasting)" /dev/ublkb3
    same "lsblk" "$(inside lsblk -dn -o FSTYPE,UUID,MODEL,SERIAL /dev/ublkb3 | tr -s ' ')" \
        "ext4 $UUID Sluice loop lasting"
    same "lsblk of a loop device" "$(inside lsblk -dn -o MODEL,SERIAL "$second" | tr -s ' ')" \
        "Sluice loop other"
    inside umount /srv/lasting
    # udev probes a device again after a write, and makes links to its partitions.
    inside sh -c 'echo "label: gpt
        size=64M" | sfdisk -q /dev/sluice/lasting'
    wait_for 60 inside test -b /dev/sluice/lasting-part1
    # The link is there before udev watches the device: it would not see what is written now.
    inside udevadm settle --timeout=50
    inside mkfs.ext4 -qF -L sluice-part /dev/sluice/lasting-part1
    wait_for 60 inside test -b /dev/disk/by-label/sluice-part
    inside sluice add --quiet --name passing null:64M > path
    same "a link while it is there" "$(inside readlink -f /dev/sluice/passing)" "$(cat path)"
    inside sluice del passing
    wait_for 60 inside test ! -L /dev/sluice/passing
}

# is_served NAME ID: the server is the main process of the unit, and in the cgroup of the unit.
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

# Upgrades twice, each time by a service; systemd kills all processes that it leaves behind.
upgraded() {
    local before
    for _ in 1 2; do
        before=$(server_of 7)
        # A service of this type has started when it has ended; other types need D-Bus to wait.
        inside systemd-run -q --property Type=oneshot --collect sluice upgrade -n 7
        [ "$before" != "$(server_of 7)" ] || fail "it is the same process still"
        is_served second 7
    done
    inside systemctl stop sluice@second
    same "result" "$(shown second Result)" success
    same "devices" "$(inside sluice list --json | grep -c '^    "id"')" 2
    wait_for 60 inside test ! -L /dev/sluice/other
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

# kill_main NAME: kills its server, and waits until systemd has started another.
kill_main() {
    inside systemctl kill -s KILL --kill-who=main "sluice@$1"
    wait_for 20 is_again "$1"
}

is_again() {
    [ "$(shown "$1" NRestarts) $(shown "$1" ActiveState)" = "1 active" ]
}

# A program that has the device open notices only a delay.
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
