# Shared by the scripts; sourced, not run. Changes to the top of the tree and defines a few helpers.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Debian's cargo is in /usr/bin, rustup's in ~/.cargo/bin.
case ":$PATH:" in
    *":$HOME/.cargo/bin:"*) ;;
    *) [ ! -d "$HOME/.cargo/bin" ] || PATH="$HOME/.cargo/bin:$PATH" ;;
esac
case ":$PATH:" in
    *:/usr/sbin:*) ;;
    *) PATH="$PATH:/usr/sbin:/sbin" ;;
esac
export PATH

TARGET_DIR="${CARGO_TARGET_DIR:-target}"
case "$TARGET_DIR" in
    /*) ;;
    *) TARGET_DIR="$PWD/$TARGET_DIR" ;;
esac

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Prints the comment at the head of the calling script, without its first line and the comment signs.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root: network namespaces and packages cannot be made without it"; }

# The oldest Rust the workspace builds with.
rust_version_needed() { awk -F'"' '/^rust-version *=/ { print $2; exit }' Cargo.toml; }

# True when a version of Rust is that one or newer.
is_new_enough() { [ "$(printf '%s\n%s\n' "$(rust_version_needed)" "$1" | sort -V | head -n 1)" = "$(rust_version_needed)" ]; }

# True when cargo and rustc are there and new enough.
has_rust() {
    local found
    command -v cargo >/dev/null && found=$(rustc --version 2>/dev/null | awk '{ print $2 }') && [ -n "$found" ] && is_new_enough "$found"
}
