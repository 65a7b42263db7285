#!/bin/sh
# Fill a folder with all that the image holds. Runs in Debian, as root, with the sources in the working directory.
#
#   packaging/image_root.sh FOLDER
set -eu

to=$1
# What Debian's Python and the extras load when hookward runs; found by asking ldd, and held to it by image_test.sh.
packages="libc6 libssl3 libexpat1 zlib1g libffi8 libsqlite3-0 libbz2-1.0 liblzma5 libuuid1 libcrypt1 libgcc-s1
    libpython3.11-minimal libpython3.11-stdlib python3.11-minimal"

mkdir -p "$to"
debs=$(mktemp -d)
chmod 0755 "$debs"
(
    cd "$debs"
    # shellcheck disable=SC2086  # a list of words
    apt-get -o APT::Sandbox::User=root download $packages
    for deb in *.deb; do
        dpkg-deb -x "$deb" "$to"
    done
)
rm -r "$debs" "${to:?}/usr/share" "${to:?}/etc"
ln -s python3.11 "$to/usr/bin/python3"
# Merged /usr, as everywhere since bookworm.
for folder in bin sbin lib lib64; do
    if [ -d "$to/$folder" ]; then
        mkdir -p "$to/usr/$folder"
        cp -a "$to/$folder/." "$to/usr/$folder/"
        rm -r "${to:?}/$folder"
    fi
    if [ -d "$to/usr/$folder" ]; then
        ln -s "usr/$folder" "$to/$folder"
    fi
done
find "$to/usr/bin" "$to/usr/sbin" -type f ! -name python3.11 -delete 2> /dev/null || true

mkdir -p "$to/etc/ssl/certs" "$to/etc/hookward" "$to/usr/lib/ssl" "$to/var/lib/hookward"
install -d -m 1777 "$to/tmp"
cp /etc/ssl/certs/ca-certificates.crt "$to/etc/ssl/certs/"
ln -s /etc/ssl/certs/ca-certificates.crt "$to/usr/lib/ssl/cert.pem"
echo 'hookward:x:65532:65532:hookward:/nonexistent:/nonexistent' > "$to/etc/passwd"
echo 'hookward:x:65532:' > "$to/etc/group"
echo 'hosts: files dns' > "$to/etc/nsswitch.conf"
chown 65532:65532 "$to/var/lib/hookward"

# With the extras: nothing can be added to an image without a package manager.
python3 -m pip install -q --no-compile --root-user-action=ignore --target "$to/usr/lib/hookward" '.[pubkey,redis]'
rm -rf "$to/usr/lib/hookward/bin"
cat > "$to/usr/bin/hookward" << 'END'
import sys

sys.path.insert(1, "/usr/lib/hookward")

from proxy.ops.cli import main

sys.exit(main())
END
# Compiled once, here: the image is not written to.
find "$to" -name __pycache__ -prune -exec rm -r {} +
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$to" -p / \
    "$to/usr/lib/hookward" "$to/usr/lib/python3.11"
