#!/bin/sh
# Run the steps of the Containerfile without an engine: its build stage in a fresh Debian, then hookward in what came of
# it, as the image's user. Needs root and debootstrap.
#
#   packaging/image_test.sh [ROOT]
#
# ROOT is a Debian that debootstrap has made before; MIRROR chooses where from. PIP_CERT, where pip has been told of one,
# holds in there too.
set -eu

root=${1:-}
if [ -z "$root" ]; then
    root=$(mktemp -d /tmp/hookward-image.XXXXXX)
    chmod 0755 "$root" # mktemp closes it to all users but root
    trap 'rm -rf --one-file-system "$root"' EXIT
    debootstrap --variant=minbase bookworm "$root" ${MIRROR:+"$MIRROR"} > /dev/null
fi

recipe=packaging/Containerfile
rm -rf "$root/src" "$root/image"
mkdir "$root/src"
cp /etc/resolv.conf "$root/etc/resolv.conf"
if [ -n "${PIP_CERT:-}" ]; then
    cp "$PIP_CERT" "$root/tmp/pip.pem"
fi
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin ${PIP_CERT:+PIP_CERT=/tmp/pip.pem} "$@"; }
# The lines of the build stage, in order: RUN in the Debian, COPY from here.
sed -n '/AS build/,/^FROM scratch/p' "$recipe" | while read -r step rest; do
    case $step in
        RUN)
            echo "RUN $rest"
            if ! inside sh -c "cd /src && $rest" > "$root/log" 2>&1 < /dev/null; then
                cat "$root/log"
                exit 1
            fi
            ;;
        COPY) for word in ${rest% *}; do
            mkdir -p "$root/src/$(dirname "$word")"
            cp -r "$word" "$root/src/$(dirname "$word")"
        done ;;
        FROM | WORKDIR | "" | "#"*) ;;
        *) echo "a step that is not known here: $step" && exit 1 ;;
    esac
done

image=$root/image
mknod -m 666 "$image/dev-null" c 1 3 2> /dev/null || true
mkdir -p "$image/dev" && mv "$image/dev-null" "$image/dev/null" # an engine makes /dev
guard() { chroot --userspec=65532:65532 "$image" /usr/bin/python3 -I /usr/bin/hookward "$@"; }
guard version | grep uvloop
guard demo --once | tail -n 1 | grep 'Every promise was kept'
chroot --userspec=65532:65532 "$image" /usr/bin/python3 -I -c '
import bz2, ctypes, hashlib, lzma, os, sqlite3, ssl, sys, uuid, zlib
sys.path.insert(1, "/usr/lib/hookward")
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
assert os.getuid() == 65532
assert ssl.create_default_context().get_ca_certs(), "no CAs"
assert not os.access("/usr", os.W_OK) and not os.access("/etc/hookward", os.W_OK)
assert os.access("/var/lib/hookward", os.W_OK)
assert os.listdir("/usr/bin") and set(os.listdir("/usr/bin")) == {"hookward", "python3", "python3.11"}
'
# What the pods of packaging/kubernetes mount: their configuration and its secrets, which are root's and the group's.
mounts=$image/run/secrets
mkdir -p "$mounts/hookward" "$mounts/tls"
cp packaging/kubernetes/base/hookward.toml "$image/etc/hookward/"
printf %s "$(inside openssl rand -hex 24)" > "$mounts/hookward/github.secret"
printf 'redis://:%s@hookward-redis:6379/0' "$(inside openssl rand -hex 24)" > "$mounts/hookward/redis.url"
inside openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=hooks.example.com \
    -keyout "${mounts#"$root"}/tls/tls.key" -out "${mounts#"$root"}/tls/tls.crt" 2> /dev/null
chgrp 65532 "$mounts"/*/*
chmod 0440 "$mounts"/*/*
guard check --strict --config /etc/hookward/hookward.toml | tail -n 1
rm -r "${image:?}/dev" "$image/run" "$image/etc/hookward/hookward.toml"
echo "image: $(du -sk "$image" | cut -f 1) KiB"
