#!/usr/bin/env bash
# NBD under TLS, both ways: certificates and shared keys, with libnbd, QEMU, nbdkit and openssl.
# T1.x and T2.x are the traps of NBD servers and clients.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

PORT=10911

main() {
    local tool
    begin_plain
    for tool in nbdkit nbdinfo nbdcopy qemu-nbd qemu-img openssl fio; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    make_secrets
    run_case "server, certificates" with_servers certificates
    run_case "server, clients with certificates" with_servers clients_are_verified
    run_case "server, keys" with_servers keys
    run_case "server, TLS as the client likes" with_servers tls_is_offered
    run_case "server, every command" with_servers every_command
    run_case "server, client that hangs up" with_servers client_hangs_up
    run_case "client, nbdkit with certificates" with_servers under_nbdkit_certificates
    run_case "client, nbdkit with keys" with_servers under_nbdkit_keys
    run_case "client, qemu-nbd" with_servers under_qemu_nbd
    run_case "client, server killed" with_servers server_is_killed
    run_case "client, wrong servers" with_servers wrong_servers
    run_case "whoever is refused learns why" with_servers refusals_arrive
    run_case "client, key against certificate" with_servers key_and_certificate
    run_case "client, sessions lost under load" with_servers sessions_are_lost
    run_case "bad options" with_servers refuses_bad_options
    finish
}

# PKI has the files of a server `localhost`, of a client, and of another authority; KEYS has keys.
make_secrets() {
    PKI=$WORK/pki OTHER=$WORK/other KEYS=$WORK/keys
    mkdir "$PKI" "$OTHER"
    authority "$PKI"
    authority "$OTHER"
    certificate "$PKI" server "DNS:localhost,IP:127.0.0.1"
    certificate "$PKI" client "DNS:client"
    mkdir "$WORK/no_client"
    cp "$PKI/ca-cert.pem" "$WORK/no_client"
    mkdir "$WORK/stranger"
    certificate "$OTHER" client "DNS:client"
    cp "$PKI/ca-cert.pem" "$OTHER"/client-*.pem "$WORK/stranger"
    printf 'me:%s\nyou:%s\n' "$(openssl rand -hex 32)" "$(openssl rand -hex 32)" > "$KEYS"
    printf 'me:%s\n' "$(openssl rand -hex 32)" > "$WORK/wrong_keys"
    export PKI OTHER KEYS
}

authority() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1/ca-key.pem" -out "$1/ca-cert.pem" \
        -subj "/CN=authority" -days 2 2> "$WORK/openssl.log"
}

# certificate DIRECTORY ROLE NAMES
certificate() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1/$2-key.pem" -out "$WORK/request" \
        -subj "/CN=$2" 2> "$WORK/openssl.log"
    echo "subjectAltName=$3" > "$WORK/extensions"
    openssl x509 -req -in "$WORK/request" -CA "$1/ca-cert.pem" -CAkey "$1/ca-key.pem" \
        -CAcreateserial -out "$1/$2-cert.pem" -days 2 -extfile "$WORK/extensions" \
        2> "$WORK/openssl.log"
}

# export_disk [OPTION...]: our server on PORT.
export_disk() {
    [ -e image.raw ] || truncate -s 32M image.raw
    "$SLUICE" add --frontend nbd --listen tcp:localhost:$PORT "$@" image.raw > add.txt
    note_added
}

copies_both_ways() {
    head -c 8M /dev/urandom > data
    truncate -s 32M data
    nbdcopy data "$1"
    nbdcopy "$1" back
    cmp data back
    rm back
}

# attach URI: our client, as the file `disk`.
attach() {
    "$SLUICE" add --frontend fuse --at disk "$1" > add.txt
    note_added
    verify_with_fio --filename=disk --direct=1 --bsrange=512-64k --size=16M
}

# kit OPTION...: nbdkit on PORT.
kit() {
    nbdkit -f -i localhost -p $PORT "$@" 2> kit.log &
    KIT=$!
    listens $PORT
}

certificates() {
    local uri="nbds://localhost:$PORT/?tls-certificates=$PKI"
    export_disk --tls-certificates "$PKI"
    grep -q "^nbds://localhost:$PORT/" add.txt || fail "$(cat add.txt)"
    nbdinfo "$uri" > info.txt
    grep -q 'with TLS' info.txt || fail "$(cat info.txt)"
    copies_both_ways "$uri"
    # shellcheck disable=SC2016
    nbdkit -U - nbd hostname=localhost port=$PORT tls=require tls-certificates="$PKI" \
        --run 'nbdcopy "$uri" back'
    cmp data back
    qemu-img compare --object "tls-creds-x509,id=t,dir=$PKI,endpoint=client" --image-opts \
        driver=raw,file.driver=file,file.filename=data \
        driver=nbd,host=localhost,port=$PORT,tls-creds=t > compare.txt
    # A client without TLS learns nothing of the exports.
    refused 'Operation not supported' nbdinfo --list "nbd://localhost:$PORT/"
    stop_server
    cmp data image.raw
}

clients_are_verified() {
    export_disk --tls-certificates "$PKI" --tls-verify-peer
    nbdinfo "nbds://localhost:$PORT/?tls-certificates=$PKI" > info.txt
    if nbdcopy "nbds://localhost:$PORT/?tls-certificates=$WORK/no_client" back 2> refused.txt; then
        fail "a client without a certificate is served"
    fi
    "$SLUICE" add --frontend fuse --at disk \
        "nbds://localhost:$PORT/?tls-certificates=$PKI" > other.txt
    "$SLUICE" del disk
    refused 'TLS' "$SLUICE" add --frontend fuse --at disk \
        "nbds://localhost:$PORT/?tls-certificates=$WORK/no_client"
    stop_server
}

keys() {
    local uri="nbds://me@localhost:$PORT/?tls-psk-file=$KEYS"
    export_disk --tls-psk "$KEYS"
    copies_both_ways "$uri"
    local first=$ID first_server=$SERVER
    attach "nbds://you@localhost:$PORT/?tls-psk-file=$KEYS"
    stop_server
    refused 'TLS' "$SLUICE" add --frontend fuse --at disk \
        "nbds://me@localhost:$PORT/?tls-psk-file=$WORK/wrong_keys"
    ID=$first SERVER=$first_server
    stop_server
}

tls_is_offered() {
    export_disk --tls-certificates "$PKI" --tls on
    nbdinfo "nbds://localhost:$PORT/?tls-certificates=$PKI" > info.txt
    grep -q 'with TLS' info.txt
    nbdinfo "nbd://localhost:$PORT/" > info.txt
    grep -q 'without TLS' info.txt
    stop_server
}

# T1.11: no reply of any kind leaves in the clear.
every_command() {
    export_disk --tls-psk "$KEYS"
    cat > check.py << 'PYTHON'
import nbd, sys
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.set_uri_allow_local_file(True)
h.connect_uri(sys.argv[1])
h.pwrite(b'x' * 70000, 1, nbd.CMD_FLAG_FUA)
assert h.pread(70002, 0) == b'\0' + b'x' * 70000 + b'\0'
h.zero(10, 5, nbd.CMD_FLAG_NO_HOLE)
h.trim(1 << 20, 0)
h.cache(1 << 20, 0)
h.flush()
found = []
h.block_status(1 << 20, 0, lambda *words: found.append(words))
assert found
try:
    h.pwrite(b'x' * 512, 32 << 20)
    raise AssertionError('a write beyond the end succeeds')
except nbd.Error:
    pass
assert h.pread(512, 1 << 20) == b'\0' * 512
h.shutdown()
PYTHON
    /usr/bin/python3 check.py "nbds://me@localhost:$PORT/?tls-psk-file=$KEYS"
    stop_server
}

# T1.8, T1.10: at any moment, and without a word; the server then does nothing.
client_hangs_up() {
    local step before after
    export_disk --tls-certificates "$PKI"
    cat > hang_up.py << 'PYTHON'
import socket, ssl, sys
port, pki, step = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
s = socket.create_connection(('localhost', port))
s.recv(18)
s.sendall(b'\0\0\0\3' + b'IHAVEOPT' + (5).to_bytes(4, 'big') + bytes(4))
s.recv(20)
if step == 0:
    sys.exit()
if step == 1:
    s.sendall(b'\x16\x03\x01\x02\0\x01\0')  # a part of a ClientHello
    sys.exit()
if step == 2:
    s.sendall(b'x' * 100)
    sys.exit()
context = ssl.create_default_context(cafile=pki + '/ca-cert.pem')
t = context.wrap_socket(s, server_hostname='localhost')
if step == 4:
    t.sendall(b'IHAVE')
PYTHON
    for step in 0 1 2 3 4; do
        /usr/bin/python3 hang_up.py $PORT "$PKI" $step
    done
    sleep 0.3
    before=$(awk '{ print $14 + $15 }' "/proc/$SERVER/stat")
    sleep 1
    after=$(awk '{ print $14 + $15 }' "/proc/$SERVER/stat")
    [ $((after - before)) -le 1 ] || fail "the server is busy: $before, $after"
    nbdinfo --size "nbds://localhost:$PORT/?tls-certificates=$PKI" > size.txt
    stop_server
}

under_nbdkit_certificates() {
    kit --tls=require --tls-certificates="$PKI" memory 64M
    attach "nbds://localhost:$PORT/?tls-certificates=$PKI"
    stop_server
    end_kit
}

under_nbdkit_keys() {
    kit --tls=require --tls-psk="$KEYS" memory 64M
    attach "nbds://me@localhost:$PORT/?tls-psk-file=$KEYS"
    stop_server
    end_kit
}

under_qemu_nbd() {
    truncate -s 32M image.raw
    qemu-nbd -t -f raw -p $PORT -x disk --object \
        "tls-creds-x509,id=t,dir=$PKI,endpoint=server,verify-peer=yes" --tls-creds t image.raw \
        2> qemu.log &
    local server=$!
    listens $PORT
    attach "nbds://localhost:$PORT/disk?tls-certificates=$PKI"
    stop_server
    kill $server
    wait $server || true
}

server_is_killed() {
    truncate -s 32M image.raw
    kit --tls=require --tls-certificates="$PKI" file image.raw
    "$SLUICE" add --frontend fuse --at disk \
        "nbd(nbds://localhost:$PORT/?tls-certificates=$PKI, reconnect-trust=process)" > add.txt
    note_added
    fio --name=load --filename=disk --ioengine=libaio --direct=1 --rw=randrw --bsrange=4k-64k \
        --iodepth=16 --size=16M --time_based --runtime=3 --verify=crc32c --verify_backlog=64 \
        --verify_fatal=1 --output=fio.log &
    local load=$!
    sleep 1
    end_kit
    sleep 0.2
    kit --tls=require --tls-certificates="$PKI" file image.raw
    wait $load || fail "$(cat fio.log)"
    "$SLUICE" stat -n "$ID" > stat.txt
    grep -q 'reconnects 1' stat.txt || fail "$(cat stat.txt)"
    stop_server
    end_kit
}

# T2.7: no plaintext where TLS was asked for. T2.8: another's certificate is none.
wrong_servers() {
    local add=("$SLUICE" add --frontend fuse --at disk)
    kit memory 1M
    refused 'it refuses TLS, which is required' \
        "${add[@]}" "nbds://localhost:$PORT/?tls-certificates=$PKI"
    end_kit
    kit --tls=require --tls-certificates="$PKI" memory 1M
    refused 'it requires TLS: use nbds://' "${add[@]}" "nbd://localhost:$PORT/"
    refused 'certificate verify failed' \
        "${add[@]}" "nbds://localhost:$PORT/?tls-certificates=$OTHER"
    refused 'certificate verify failed' "${add[@]}" "nbds://localhost:$PORT/"
    refused 'certificate verify failed: hostname mismatch' \
        "${add[@]}" "nbds://localhost:$PORT/?tls-certificates=$PKI&tls-hostname=elsewhere"
    "${add[@]}" "nbds://127.0.0.1:$PORT/?tls-certificates=$PKI" > add.txt
    "$SLUICE" del disk
    "${add[@]}" "nbds://localhost:$PORT/?tls-certificates=$OTHER&tls-verify-peer=0" > add.txt
    "$SLUICE" del disk
    end_kit
}

# With TLS 1.3 a client believes that all is agreed when the server looks at its certificate.
refusals_arrive() {
    local version round add=("$SLUICE" add --frontend fuse --at disk)
    local uri="nbds://localhost:$PORT/?tls-certificates="
    truncate -s 1M image.raw
    "$SLUICE" add --foreground --listen tcp:localhost:$PORT --tls-certificates "$PKI" \
        --tls-verify-peer image.raw > add.txt 2> server.log &
    listens $PORT
    export OPENSSL_CONF=$CASE/openssl.conf
    for version in TLSv1.2 TLSv1.3; do
        printf '%s\n' 'openssl_conf = a' '[a]' 'ssl_conf = b' '[b]' 'system_default = c' '[c]' \
            "MaxProtocol = $version" > openssl.conf
        for round in {1..3}; do
            refused "the server refuses our certificate: unknown CA" \
                "${add[@]}" "$uri$WORK/stranger"
            refused "wants a certificate of us" "${add[@]}" "$uri$WORK/no_client"
            refused "certificate verify failed" "${add[@]}" "$uri$OTHER"
        done
        for _ in {1..50}; do
            [ "$(grep -c 'the client refuses our certificate: unknown CA' server.log)" -lt 3 ] ||
                break
            sleep 0.05
        done
        same "alerts of $round clients" \
            "$(grep -c 'the client refuses our certificate: unknown CA' server.log)" 3
        : > server.log
    done
}

# A key protects only if nothing but the key will do.
key_and_certificate() {
    kit --tls=require --tls-certificates="$PKI" memory 1M
    refused 'TLS' "$SLUICE" add --frontend fuse --at disk \
        "nbds://me@localhost:$PORT/?tls-psk-file=$KEYS"
    end_kit
    /usr/bin/python3 -c '
import socket, ssl, sys
listener = socket.create_server(("localhost", int(sys.argv[1])))
print("ready", flush=True)
s, _ = listener.accept()
s.sendall(b"NBDMAGICIHAVEOPT\0\3")
s.recv(4)
s.recv(16)
s.sendall((0x3e889045565a9).to_bytes(8, "big") + (5).to_bytes(4, "big") +
          (1).to_bytes(4, "big") + bytes(4))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2] + "/server-cert.pem", sys.argv[2] + "/server-key.pem")
try:
    t = context.wrap_socket(s, server_side=True)
    print("served", t.recv(100), flush=True)
except ssl.SSLError as error:
    print("refused", flush=True)' $((PORT + 1)) "$PKI" > server.txt &
    appears server.txt
    refused 'TLS' timeout 20 "$SLUICE" add --frontend fuse --at disk \
        "nbds://me@localhost:$((PORT + 1))/?tls-psk-file=$KEYS"
}

# Whoever loses a session under load comes to an end with it.
sessions_are_lost() {
    truncate -s 32M image.raw
    local round
    kit --tls=require --tls-certificates="$PKI" file image.raw
    "$SLUICE" add --frontend fuse --at disk \
        "nbd(nbds://localhost:$PORT/?tls-certificates=$PKI, connections=3, timeout=2s,
             reconnect-trust=process)" > add.txt
    note_added
    fio --name=load --filename=disk --ioengine=libaio --direct=1 --rw=randwrite --bs=64k \
        --iodepth=16 --size=16M --time_based --runtime=5 --output=fio.log &
    local load=$!
    for round in 1 2 3 4 5 6; do
        sleep 0.4
        end_kit
        kit --tls=require --tls-certificates="$PKI" file image.raw
    done
    wait $load || fail "$(cat fio.log)"
    same "round" "$round" 6
    stop_server
    end_kit
}

refuses_bad_options() {
    local add=("$SLUICE" add --frontend nbd --listen unix:sock)
    truncate -s 1M image.raw
    refused "two kinds of TLS" "${add[@]}" --tls-psk "$KEYS" --tls-certificates "$PKI" image.raw
    refused "--tls on needs" "${add[@]}" --tls on image.raw
    refused "give off, on or require" "${add[@]}" --tls maybe --tls-psk "$KEYS" image.raw
    refused "--tls off does not go with" "${add[@]}" --tls off --tls-psk "$KEYS" image.raw
    refused "--tls-verify-peer needs" "${add[@]}" --tls-verify-peer image.raw
    refused "server-cert.pem: No such file or directory" "${add[@]}" --tls-certificates . image.raw
    refused "is not NAME:KEY" "${add[@]}" --tls-psk image.raw image.raw
    : > empty
    refused "has no key" "${add[@]}" --tls-psk empty image.raw
    local client=("$SLUICE" add --frontend fuse --at disk)
    refused "has the relative path 'pki'" "${client[@]}" "nbds://localhost/?tls-certificates=pki"
    refused "does not say which name" "${client[@]}" "nbds+unix:///?socket=/none/sock"
    refused "has no key: add tls-psk-file=FILE" "${client[@]}" "nbds://localhost/?tls-type=psk"
    refused "protects nothing" "${client[@]}" "nbd(nbds://localhost/, nbd://localhost/)"
    refused "has a NUL" "${client[@]}" "nbds://localhost/?tls-hostname=%00"
    mkdir locked
    openssl req -x509 -newkey rsa:2048 -keyout locked/server-key.pem -passout pass:secret \
        -out locked/server-cert.pem -subj "/CN=x" 2> openssl.log
    refused "locked/server-key.pem" "${add[@]}" --tls-certificates locked image.raw
    refused "anonymous TLS" "${client[@]}" "nbds://localhost/?tls-type=anon"
    refused "has several keys" "${client[@]}" "nbds://localhost/?tls-psk-file=$KEYS"
    refused "has no key of the name nobody" \
        "${client[@]}" "nbds://nobody@localhost/?tls-psk-file=$KEYS"
    [ ! -e sock ] || fail "a socket was left behind"
    same "state files" "$(ls state)" ""
}

main
