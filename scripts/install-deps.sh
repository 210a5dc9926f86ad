#!/bin/bash
# install-deps.sh [--check] [build|test]: the Debian 12 packages that Tomoscribe needs.
#
# build  what building, installing and running need; what "make demo" installs
# test   these and what "make test" and "make check" need (the default)
# --check  only says what is missing; exit 1 when something is
#
# Installs only what is missing, so a second run changes nothing. Without the right to install it prints the
# command for an administrator and exits 1.
set -euo pipefail

build_packages=(build-essential cmake ninja-build pkg-config
    libdnnl-dev libgdcm-dev libnifti2-dev libcjson-dev libpcre2-dev libutf8proc-dev libzip-dev zlib1g-dev
    libpng-dev libssl-dev
    wordnet-base # synonyms for METEOR
    python3 # make demo puts truth beside answers
    libcmocka-dev) # the presets configure the tests too
test_packages=(clang clang-format libclang-rt-14-dev lld python3-pip
    locales # a program around the library that writes 0,5
    libopenmpi-dev openmpi-bin) # training in several processes; built in where it is installed

check=false
set_name=test
for argument in "$@"; do
    case $argument in
        --check) check=true ;;
        build | test) set_name=$argument ;;
        *)
            echo "usage: install-deps.sh [--check] [build|test]" >&2
            exit 2
            ;;
    esac
done

wanted=("${build_packages[@]}")
if [ "$set_name" = test ]; then
    wanted+=("${test_packages[@]}")
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    cat >&2 <<'LIST'
install-deps.sh: this system has no apt-get. Install with its own package manager, with development files:
  a C17 and C++17 compiler, CMake 3.25 or newer, Ninja, pkg-config
  oneDNN 2.6, GDCM 3.0, nifti_clib (nifti2), cJSON, PCRE2 (8 bit), utf8proc, libzip, zlib, libpng, libcrypto, cmocka
  for the tests also clang with its sanitizer and libFuzzer runtimes, clang-format, lld, Python 3, Open MPI, the sources of locales
LIST
    exit 1
fi

is_installed() {
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
    echo "install-deps.sh: all ${#wanted[@]} packages are installed"
    exit 0
fi
if $check; then
    echo "install-deps.sh: missing: ${missing[*]}"
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "install-deps.sh: packages are missing and this user may not install them; ask an administrator to run:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends -y ${missing[*]}" >&2
    exit 1
fi

echo "install-deps.sh: installing ${missing[*]}"
# A list that could not be refreshed may still be good enough; the installation tells.
"${as_root[@]}" apt-get update -q || echo "install-deps.sh: the package lists could not be refreshed" >&2
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; then
    echo "install-deps.sh: apt-get could not install: ${missing[*]}; the names are those of Debian 12" >&2
    exit 1
fi
