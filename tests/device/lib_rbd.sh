# shellcheck shell=bash
# A Ceph cluster for device tests. Source it after lib.sh.

# start_cluster PORT: it ends with the script, which is skipped where there is no Ceph.
start_cluster() {
    CLUSTER=$(mktemp -d -t sluice-ceph.XXXXXX)
    trap 'status=$?; tests_ceph stop || true; (exit $status) || leave; leave' EXIT
    export CEPH_CONF=$CLUSTER/ceph.conf
    local status=0
    tests_ceph start "$1" || status=$?
    [ $status = 0 ] || exit $status
}

# tests_ceph start|stop [PORT]
tests_ceph() {
    "$SLUICE_SOURCE_DIR/tests/support/ceph.sh" "$1" "$CLUSTER" "${@:2}"
}

# spec IMAGE
spec() {
    echo "rbd(rbd/$1, conf=$CEPH_CONF)"
}
