# shellcheck shell=bash
# For scripts that change the chain of a device in use, on top of lib_qcow2_disk.sh.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

# make_chain OPTIONS FORMAT: image.qcow2 on base: DISK bytes, with DATA of them in the backing file.
# What it shows is oracle.
make_chain() {
    head -c "${DATA:-6M}" /dev/urandom > oracle
    truncate -s "${DISK:-16M}" oracle
    qemu-img convert -f raw -O "$2" oracle base
    qemu-img create -q -f qcow2 -o "$1" -b base -F "$2" image.qcow2 "${DISK:-16M}"
    sha256sum base > base.sum
}

ctl() {
    "$SLUICE" ctl -n "$ID" / "$@"
}

# load: requests, for as long as it takes; waits for them: end_load.
load() {
    SEED=$((SEED + 1))
    /usr/bin/python3 "$WRITER" "$URI" oracle "$SEED" "$1" > load.txt 2>&1 &
    LOAD=$!
}
end_load() {
    wait "$LOAD" || fail "$(cat load.txt) seed $SEED"
}

# job_ended: waits for the end of the job.
job_ended() {
    for _ in {1..600}; do
        "$SLUICE" inspect -n "$ID" --json > inspect.json
        if [ "$(jq '[.. | .jobs? // empty | .[] | select(.running)] | length' inspect.json)" = 0 ]
        then
            [ "$(jq '[.. | .jobs? // empty | .[] | .errno] | add // 0' inspect.json)" = 0 ] ||
                fail "the job has failed: $(cat inspect.json)"
            return
        fi
        sleep 0.05
    done
    fail "the job does not end: $(cat inspect.json)"
}

# kill_server: the images are right then, but for leaks.
kill_server() {
    kill -KILL "$SERVER" 2> /dev/null || true  # it may have died at a step
    for _ in {1..100}; do kill -0 "$SERVER" 2> /dev/null || break; sleep 0.05; done
    for each in *.qcow2; do
        await_release "$each"
        qemu-img check "$each" > check.txt 2>&1 || [ $? = 3 ] || fail "$each: $(cat check.txt)"
    done
}

# spec_of_record: what a recovery opens.
spec_of_record() {
    jq -c '.spec' "$SLUICE_STATE_DIR/device-$ID.json"
}
