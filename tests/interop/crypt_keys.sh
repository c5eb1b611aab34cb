#!/usr/bin/env bash
# Target crypt: where keys and headers come from besides files, and that no other process gets the
# key from the server: tokens of LUKS2, credentials of systemd, detached headers that are stacks.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

QUICK=(--batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000)

main() {
    begin_qcow2
    command -v cryptsetup > /dev/null || { echo "skipped: there is no cryptsetup"; exit 77; }
    run_case "the server of a user is not dumpable" is_not_dumpable
    run_case "no core file" leaves_no_core
    run_case "a token gives the key" opened_by_token
    run_case "tokens that do not" refused_tokens
    run_case "a credential of systemd" from_credential
    run_case "header in a qcow2 image" headed qcow2:head.qcow2
    run_case "header of another server" headed_by_nbd
    run_case "header of no spec" headed_wrongly
    run_case "speeds of ciphers" compared
    finish
}

# format: the volume `v` with the passphrase in `key`.
format() {
    [ -e key ] || { printf secret > key && chmod 600 key; }
    truncate -s 32M v
    cryptsetup luksFormat "${QUICK[@]}" --type luks2 v key
}

use() {
    qemu-img compare -q -f raw -F raw oracle "$URI" || fail "other content than the oracle"
    write_randomly --no-trim
}

# user COMMAND...
user() {
    timeout 60 setpriv --reuid nobody --regid nogroup --clear-groups \
        env -i PATH="$PATH" SLUICE_STATE_DIR="$CASE/theirs/state" "$@"
}

# T7.14. Neither the memory nor the descriptors are open to other processes of the user, as those of
# other servers are.
is_not_dumpable() {
    format
    cp "$SLUICE" sluice
    chmod 755 "$WORK" "$CASE"
    mkdir theirs
    mv v key theirs
    cp theirs/v theirs/plain
    chown -R nobody theirs
    cd theirs
    trap 'user ../sluice del -a --force > /dev/null 2>&1 || true' EXIT
    user ../sluice add --frontend nbd --listen unix:plain.sock plain > add.txt
    SERVER=$(user ../sluice list --json | json_pid)
    user cat "/proc/$SERVER/environ" > /dev/null || fail "no user can look at its servers"
    user ../sluice del -a > del.txt
    user ../sluice add --frontend nbd --listen unix:sock 'crypt(v, key_file=key)' > add.txt
    SERVER=$(user ../sluice list --json | json_pid)
    looked_at "$SERVER"
    URI="nbd+unix:///?socket=$PWD/sock"
    nbdcopy "$URI" oracle
    user ../sluice upgrade -n 0 > upgrade.txt
    SERVER=$(user ../sluice list --json | json_pid)
    looked_at "$SERVER"
    write_randomly --no-trim
    user ../sluice list > list.txt
    grep -q LIVE list.txt || fail "list: $(cat list.txt)"
    user ../sluice stat -n 0 > stat.txt
    user ../sluice del -a > del.txt
    user test -w /dev/fuse || return 0
    # The keeper of such a server unmounts as always.
    user ../sluice add --at view 'crypt(v, key_file=key)' > add.txt
    user cmp oracle view
    kill -KILL "$(user ../sluice list --json | json_pid)"
    user ../sluice del -a --force > del.txt
    mounted=$(grep -c "$PWD/view" /proc/self/mountinfo || true)
    same "mounts that are left" "$mounted" 0
}

json_pid() {
    /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])'
}

# looked_at PROCESS: in vain.
looked_at() {
    local place
    same "owner of its memory" "$(stat -c %u "/proc/$1/mem")" 0
    for place in environ mem maps; do
        if user head -c 1 "/proc/$1/$place" > /dev/null 2>&1; then fail "$place can be read"; fi
    done
    if user ls "/proc/$1/fd" > /dev/null 2>&1; then fail "its descriptors can be seen"; fi
}

# As root, and by a signal that the server does not handle.
leaves_no_core() {
    format
    cat > core.py << 'END'
import os, resource, signal, subprocess, sys, time
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
server = subprocess.Popen([sys.argv[1], 'add', '--foreground', '--frontend', 'nbd', '--listen',
                           'unix:sock', 'crypt(v, key_file=key)'])
for _ in range(400):
    if os.path.exists('sock'): break
    time.sleep(0.05)
else: sys.exit('there is no server')
time.sleep(0.2)
server.send_signal(signal.SIGTRAP)
status = os.waitpid(server.pid, 0)[1]
assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTRAP, status
assert not os.WCOREDUMP(status), 'there is a core file'
END
    /usr/bin/python3 core.py "$SLUICE"
    ls core* > cores.txt
    same "core files" "$(cat cores.txt)" core.py
}

# put_key NAME: the passphrase to the keyring of the user, by number 248, which is add_key.
put_key() {
    /usr/bin/python3 - "$1" "$(cat key)" << 'END' || skip "there is no keyring"
import ctypes, sys
name, text = sys.argv[1].encode(), sys.argv[2].encode()
sys.exit(ctypes.CDLL(None).syscall(248, b'user', name, text, len(text), -4) < 0)
END
}

# The kernel's keyring has the passphrase.
opened_by_token() {
    local which name=sluice-test-$$
    format
    cryptsetup token add --key-description "$name" --key-slot 0 v
    put_key "$name"
    "$SLUICE" crypt info v > info.txt
    grep -q 'token 0 *luks2-keyring' info.txt || fail "$(cat info.txt)"
    serve 'crypt(v, token=any)'
    nbdcopy "$URI" oracle
    for which in 0 luks2-keyring; do
        use
        "$SLUICE" upgrade -n "$ID" > upgrade.txt
        use
        end
        serve "crypt(v, token=$which)"
    done
    use
    end
    serve 'crypt(v, key_file=key)'
    use
    end
}

refused_tokens() {
    local name=sluice-test-$$
    format
    refused 'it has no tokens' "$SLUICE" add 'crypt(v, token=any)'
    refused 'leave out keyslot' "$SLUICE" add 'crypt(v, token=any, keyslot=0)'
    cryptsetup token add --key-description "$name-missing" --key-slot 0 v
    refused "('luks2-keyring') gives no passphrase" "$SLUICE" add 'crypt(v, token=0)'
    refused "it has no token '7'" "$SLUICE" add 'crypt(v, token=7)'
    printf other > other
    put_key "$name-missing"
    cryptsetup luksChangeKey "${QUICK[@]}" --key-file key --key-slot 0 v other
    refused 'opens a keyslot' "$SLUICE" add 'crypt(v, token=0)'
    cryptsetup token import --json-file - v << 'END'
{"type": "sluice-unknown", "keyslots": ["0"]}
END
    refused 'plug-in is not installed' "$SLUICE" add 'crypt(v, token=sluice-unknown)'
    # What a header wants of memory is limited for tokens, too.
    cryptsetup luksConvertKey --batch-mode --pbkdf argon2id --pbkdf-memory 65536 \
        --pbkdf-force-iterations 4 --key-file other v
    refused 'of memory to open' "$SLUICE" add 'crypt(v, token=0, pbkdf_memory=32k)'
}

# As LoadCredential= leaves it: a directory that only this user may enter.
from_credential() {
    export CREDENTIALS_DIRECTORY=$CASE/credentials
    format
    mkdir "$CREDENTIALS_DIRECTORY"
    mv key "$CREDENTIALS_DIRECTORY/disk"
    chmod 400 "$CREDENTIALS_DIRECTORY/disk"
    chmod 500 "$CREDENTIALS_DIRECTORY"
    serve "crypt(v, key_file=$CREDENTIALS_DIRECTORY/disk)"
    nbdcopy "$URI" oracle
    use
    rm -r "$CREDENTIALS_DIRECTORY"  # the unit has ended
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    use
    end
}

# detach: `v` has the data, head.img the header.
detach() {
    printf secret > key && chmod 600 key
    truncate -s 8M v
    cryptsetup luksFormat "${QUICK[@]}" --type luks2 --header head.img v key
}

# T7.7: headed SPEC
headed() {
    detach
    qemu-img convert -f raw -O qcow2 head.img head.qcow2
    cp head.qcow2 before
    "$SLUICE" crypt info "crypt(v, header=$1)" > info.txt
    grep -q 'type *LUKS2' info.txt || fail "$(cat info.txt)"
    serve "crypt(v, key_file=key, header=$1)"
    nbdcopy "$URI" oracle
    same size "$(stat -c %s oracle)" $((8 << 20))
    use
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    use
    kill -KILL "$SERVER" 2> /dev/null || true
    end
    mv head.qcow2 "it's the head.qcow2"
    serve "crypt(v, key_file=key, header=\"qcow2(\\\"it's the head.qcow2\\\")\")"
    use
    end
    cmp "it's the head.qcow2" before || fail "the header was written"
}

headed_by_nbd() {
    detach
    nbdkit -f -r -U header.sock file file=head.img 2> kit.log &
    KIT=$!
    trap 'kill -KILL "$KIT" 2> /dev/null || true' EXIT
    appears header.sock
    serve "crypt(v, key_file=key, header=nbd+unix:///?socket=$CASE/header.sock)"
    nbdcopy "$URI" oracle
    use
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    use
    end
    end_kit
}

headed_wrongly() {
    detach
    truncate -s 1M other
    refused "option 'header'" "$SLUICE" add 'crypt(v, key_file=key, header="stripe(")'
    refused "unknown target 'strip'" "$SLUICE" add 'crypt(v, key_file=key, header="strip(a)")'
    refused "does not exist" "$SLUICE" add 'crypt(v, key_file=key, header=missing)'
    refused 'no LUKS header' "$SLUICE" add 'crypt(v, key_file=key, header=other)'
}

compared() {
    "$SLUICE" crypt bench > bench.txt
    grep -q '^aes-xts-plain64 *512 *4096 *[1-9]' bench.txt || fail "$(cat bench.txt)"
    "$SLUICE" crypt bench --json > bench.json
    /usr/bin/python3 -c 'import json; f = json.load(open("bench.json"))
assert len(f) == 6 and all(each["decrypting_mib_per_s"] > 1 for each in f), f'
    refused 'takes no SPEC' "$SLUICE" crypt bench v
}

main
