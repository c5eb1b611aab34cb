#!/usr/bin/env bash
# A Ceph cluster for tests: one monitor and one OSD, on 127.0.0.1 only. All of it is in one
# directory. Takes ten seconds.
#
#   ceph.sh start DIR PORT    then CEPH_CONF=DIR/ceph.conf, with a pool `rbd`
#   ceph.sh osd DIR           starts the OSD again
#   ceph.sh stop DIR
#
# Status 77: Ceph is not installed. The OSD keeps its data in a file, so that it survives a kill; a
# client that is gone loses its watches, and so its locks, after three seconds instead of thirty.
set -eu

dir=$2
export CEPH_CONF=$dir/ceph.conf

main() {
    case $1 in
        start) start "$3" ;;
        osd) start_osd ;;
        stop) stop ;;
        *) echo "usage: ceph.sh start|osd|stop DIR [PORT]" >&2; exit 2 ;;
    esac
}

start() {
    local tool fsid osd
    for tool in ceph-mon ceph-osd monmaptool ceph-authtool ceph rbd; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    mkdir -p "$dir"/mon "$dir"/osd
    fsid=$(< /proc/sys/kernel/random/uuid)
    osd=$(< /proc/sys/kernel/random/uuid)
    configure "$fsid" "$1" > "$CEPH_CONF"
    monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$1/0]" "$dir/monmap" \
        > "$dir/make.log"
    make_key mon. --cap mon 'allow *'
    make_key client.admin --cap mon 'allow *' --cap osd 'allow *'
    make_key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    ceph-mon -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring" >> "$dir/make.log" 2>&1
    ceph-mon -i a
    ceph osd new "$osd" >> "$dir/make.log"
    ceph-osd -i 0 --mkfs --osd-uuid "$osd" >> "$dir/make.log" 2>&1
    start_osd
    ceph osd pool create rbd 8 8 >> "$dir/make.log" 2>&1
    rbd pool init rbd
}

# make_key USER CAPABILITY...
make_key() {
    touch "$dir/keyring"
    ceph-authtool "$dir/keyring" --gen-key -n "$@" >> "$dir/make.log"
}

# configure FSID PORT
configure() {
    cat << END
[global]
fsid = $1
mon_initial_members = a
mon_host = [v2:127.0.0.1:$2/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
ms_bind_port_min = $(($2 + 1))
ms_bind_port_max = $(($2 + 60))
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = $dir/keyring
run_dir = $dir
crash_dir = $dir
log_file = $dir/\$name.log
pid_file = $dir/\$name.pid
admin_socket =
$(in_other_place)
[mon]
mon_data = $dir/mon
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_crit = 1
mon_data_avail_warn = 2
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
[osd]
osd_data = $dir/osd
osd_objectstore = bluestore
bluestore_block_size = 2147483648
osd_memory_target = 939524096
osd_client_watch_timeout = 3
[client]
log_file = /dev/null
pid_file =
END
}

# Programs that are not in /usr have their plug-ins beside them.
in_other_place() {
    local root
    root=$(command -v ceph-osd)
    root=${root%/usr/bin/ceph-osd}
    [ -n "$root" ] || return 0
    set -- "$root"/usr/lib/*/rados-classes
    echo "osd_class_dir = $1"
    echo "erasure_code_dir = ${1%/*}/ceph/erasure-code"
    echo "plugin_dir = ${1%/*}/ceph"
}

start_osd() {
    ceph-osd -i 0 > "$dir/osd.log" 2>&1
    until ceph osd stat | grep -q ' 1 up'; do sleep 0.1; done
}

# The OSD first, so that the monitor still hears of it.
stop() {
    local daemon pid
    for daemon in osd.0 mon.a; do
        pid=$(cat "$dir/$daemon.pid" 2> /dev/null) || continue
        kill -CONT "$pid" 2> /dev/null || continue
        kill "$pid"
        for _ in {1..100}; do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2> /dev/null || true
    done
    rm -rf "$dir"
}

main "$@"
