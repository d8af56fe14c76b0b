#!/bin/sh
# What can be said about units and maintainer scripts without installing them: syntax, exposure, shellcheck.
set -eu
cd "$(dirname "$0")/../.."

# systemd's scale times ten; the aim for the daemon is 15.
gate=25
for unit in systemd/*.service; do
    # Not in a pipe, which would hide its answer.
    analysis=$(systemd-analyze security --offline=true --no-pager --threshold=$gate "$unit") || { echo "$analysis"; exit 1; }
    echo "$analysis" | tail -n 1
done

# `verify` wants the programs that a unit starts to be there.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
for program in linkerd-proxy-harness harnessctl; do
    printf '#!/bin/sh\n' >"$root/$program"
    chmod 755 "$root/$program"
done
for unit in systemd/*.service systemd/*.path; do
    sed "s|/usr/bin/|$root/|; s|^User=.*|User=daemon|; s|^Group=.*|Group=daemon|" "$unit" >"$root/${unit##*/}"
done
said=$(systemd-analyze verify --man=no "$root"/*.service "$root"/*.path 2>&1) || { echo "$said"; exit 1; }
if [ -n "$said" ]; then
    echo "$said"
    exit 1
fi

shellcheck packaging/debian/p* packaging/tests/*.sh
for script in packaging/debian/p*; do
    lines=$(wc -l <"$script")
    [ "$lines" -le 20 ] || { echo "$script has $lines lines"; exit 1; }
done
