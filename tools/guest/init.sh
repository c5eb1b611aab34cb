#!/bin/sh
# The guest's process 1, started by tools/vm: makes a usable Linux out of the host's root (mounted
# read-only by the kernel), runs one command and reports its exit status.
#
# $sluice_run, from the kernel command line, is the runner's private directory on the host:
#   guest.sh    read: what to mount and run, as shell assignments and functions
#   command.sh  run: the command, with its directory and environment
#   started     made when the command starts
#   beat        rewritten every second, so that the runner can tell a slow guest from a dead one
#   output      the command's standard output and error
#   status      its exit status; appears last, when everything before it has reached the host

# guest.sh sets the variables; both dash and bash have these ulimits.
# shellcheck disable=SC1091,SC2154,SC3045

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
guest=/run/sluice       # this script's own files inside the guest
shown=0                 # how many directories show() has shown
umask 022

main() {
    . "$sluice_run/guest.sh"
    enter_root
    mount_kernel_file_systems
    mount_host run "$sluice_run" $guest/run || give_up "cannot mount $sluice_run"
    mount_shares        # from guest.sh: calls share and show
    settle
    [ "$want_udev" = 1 ] && start_udevd
    run_command
    power_off
}

# Puts a writable overlay over the host's root and moves into it. pivot_root and not chroot, because
# a process inside a chroot may not make user namespaces.
enter_root() {
    mount -t tmpfs -o mode=755 sluice /mnt || give_up "cannot mount a tmpfs on /mnt"
    mkdir /mnt/upper /mnt/work /mnt/guest
    modprobe -d "$modules" overlay
    if ! mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/guest; then
        echo "sluice-guest: no overlay; the root stays read-only"
        umount /mnt
        mount -t tmpfs -o mode=755 run /run
        mkdir -p $guest/host $guest/run
        mount --bind / $guest/host
        mount -t tmpfs mnt /mnt
        mount -t tmpfs -o mode=1777 tmp /var/tmp
        return
    fi
    mkdir -p /mnt/guest/run /mnt/guest/proc /mnt/guest/sys /mnt/guest/dev /mnt/guest/tmp
    mount -t tmpfs -o mode=755 run /mnt/guest/run
    mkdir -p /mnt/guest$guest/host /mnt/guest$guest/run
    cd /mnt/guest || give_up "cannot enter the overlay"
    pivot_root . run/sluice/host || give_up "cannot move into the overlay"
    cd / || give_up "cannot enter the new root"
}

mount_kernel_file_systems() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs -o mode=755 devtmpfs /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
    ln -sf pts/ptmx /dev/ptmx
    ln -sfT /proc/self/fd /dev/fd
    ln -sf /proc/self/fd/0 /dev/stdin
    ln -sf /proc/self/fd/1 /dev/stdout
    ln -sf /proc/self/fd/2 /dev/stderr
    mount -t tmpfs -o mode=1777 shm /dev/shm
    mount -t tmpfs -o mode=1777,size=80% tmp /tmp
    mkdir -p /run/lock
    mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
        for controller in cpu io memory pids; do
            echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
        done 2> /dev/null
    mount -t debugfs debugfs /sys/kernel/debug
    [ ! -d /sys/kernel/config ] || mount -t configfs configfs /sys/kernel/config
    [ ! -d /sys/fs/fuse/connections ] || mount -t fusectl fusectl /sys/fs/fuse/connections
}

# mount_host TAG HOST_PATH WHERE: a directory of the host, writable.
mount_host() {
    mkdir -p "$3"
    case $kind in
    # How mount(8) has to pass the path depends on which mount interface of the kernel it uses.
    uml) mount -t hostfs -o "hostfs=$2" "$1" "$3" 2> /dev/null ||
        mount -t hostfs -o "$2" "$1" "$3" ;;
    qemu) mount -t virtiofs "$1" "$3" ;;
    esac
}

# share TAG PATH: a directory given by --share, at the same path.
share() {
    mount_host "$1" "$2" "$2" || give_up "cannot mount $2"
}

# show PATH: shows a directory of the host that one of our mounts (on /tmp, say) hides. As
# everywhere, writes to it stay in the guest. The path must not be in the mount options, whose
# syntax it could break.
show() {
    [ ! -e "$1" ] || return 0
    mkdir -p "$1"
    shown=$((shown + 1))
    below=$guest/shown$shown above=$guest/host/mnt/shown$shown
    mkdir -p $below
    mount --bind "$guest/host$1" $below || give_up "cannot show $1"
    mkdir -p $above/upper $above/work 2> /dev/null &&
        mount -t overlay -o lowerdir=$below,upperdir=$above/upper,workdir=$above/work root "$1" &&
        return
    mount --bind $below "$1" || give_up "cannot show $1"     # without an overlay: read-only
}

settle() {
    echo sluice-guest > /proc/sys/kernel/hostname
    echo "127.0.1.1 sluice-guest" >> /etc/hosts
    ip link set lo up || ifconfig lo up
    ulimit -c 0
    ulimit -n 1048576
    ulimit -l unlimited
    # The host's LVM would activate the volume groups that tests make.
    rm -f /lib/udev/rules.d/*-lvm.rules 2> /dev/null
    release=$(uname -r)
    mkdir -p "/lib/modules/$release"
    mount --bind "$guest/host$modules/lib/modules/$release" "/lib/modules/$release"
}

start_udevd() {
    for daemon in /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd; do
        [ -x $daemon ] || continue
        mkdir -p /run/udev
        $daemon --daemon && udevadm trigger && udevadm settle
        return
    done
    echo "sluice-guest: no systemd-udevd on the host, so none here"
}

# The output goes through a pipe and dd: the runner sees it at once, as each write is synchronous,
# and a command that dies with the guest loses at most what the pipe held.
run_command() {
    cd $guest/run || give_up "cannot enter the run directory"
    (while :; do date +%s > beat; sleep 1; done) &
    mkfifo $guest/pipe
    : > output
    dd if=$guest/pipe of=output bs=64k oflag=append,dsync conv=notrunc 2> /dev/null &
    writer=$!
    : > started
    setsid sh command.sh < /dev/null > $guest/pipe 2>&1 &
    wait $!
    status=$?
    # A daemon of the command may keep the pipe open for ever: wait only a short time.
    tries=0
    while kill -0 $writer 2> /dev/null && [ $tries -lt 100 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    sync_shares         # from guest.sh: calls sync_share
    echo $status > status.new
    sync -f status.new
    mv status.new status
}

# Syncs only the shares: a plain sync would hang on a device that the command left without a server.
sync_share() {
    timeout 60 sync -f "$1" || echo "sluice-guest: $1 may not be complete on the host"
}

give_up() {
    echo "sluice-guest: $*"
    power_off
}

power_off() {
    [ -e /proc/sysrq-trigger ] || mount -t proc proc /proc
    echo o > /proc/sysrq-trigger
    while :; do sleep 1; done
}

main
