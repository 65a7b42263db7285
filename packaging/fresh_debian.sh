#!/bin/sh
# Sourced by what tries a package in a fresh Debian, with `root`: one that debootstrap has made before, or "" for a new
# one, which is removed when the script ends. SUITE and MIRROR choose another one.
set -eu

if [ -z "$root" ]; then
    root=$(mktemp -d /tmp/hookward-debian.XXXXXX)
    chmod 0755 "$root" # mktemp closes it to all users but root
    trap 'rm -rf --one-file-system "$root"' EXIT
    debootstrap --variant=minbase "${SUITE:-bookworm}" "$root" ${MIRROR:+"$MIRROR"} > /dev/null
fi

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
quietly() { inside sh -c "$* > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }"; }
expect() { inside sh -c "$*" || { echo "FAILED: $*"; exit 1; }; echo "ok  $*"; }
