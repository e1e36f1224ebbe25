#!/usr/bin/env bash
# Builds the Debian package: the binary, what is generated from it (man pages, completions), the units.
# Usage: systemd/package.sh   (prints the path of the .deb)
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-deb >/dev/null || cargo install --locked cargo-deb >&2
cargo build --release --locked >&2
package=target/package
rm -rf "$package" && mkdir -p "$package"
target/release/makegood man "$package/man" >&2
for shell in bash zsh fish; do
    target/release/makegood completions "$shell" >"$package/$shell"
done
mv "$package/bash" "$package/makegood.bash"
mv "$package/zsh" "$package/_makegood"
mv "$package/fish" "$package/makegood.fish"
deb=$(cargo deb --no-build --locked | tail -n 1)
# cargo-deb writes no checksums of the files, which `dpkg --verify` and debsums look for.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
dpkg-deb --raw-extract "$deb" "$tree"
(cd "$tree" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group --build "$tree" "$deb" >&2
printf '%s\n' "$deb"
