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
cargo deb --no-build --locked
