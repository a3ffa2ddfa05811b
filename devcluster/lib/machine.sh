# What this machine has: tools, its Debian mirror, its pip index. The repository names no host of either.
# shellcheck shell=bash

need_tools() {
    local pair missing=()
    for pair in debootstrap:debootstrap unshare:util-linux nsenter:util-linux ip:iproute2 flock:util-linux \
        findmnt:util-linux awk:mawk xz:xz-utils; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    ((${#missing[@]})) || return 0
    say "installing on this machine: ${missing[*]}"
    {
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    } >"$CACHE/logs/machine.log" 2>&1 || die "apt-get install ${missing[*]} failed: see $CACHE/logs/machine.log"
}

# The first plain Debian archive in the machine's own apt sources, in either of apt's two formats.
debian_mirror() {
    local uri
    uri=$(
        shopt -s nullglob
        cat /dev/null /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
            awk '
                /^[[:space:]]*#/ { next }
                tolower($1) == "uris:" { for (i = 2; i <= NF; i++) print $i }
                $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; break } }
            ' | grep -E '^https?://.*/debian/?$' | head -n 1
    ) || true
    [[ $uri ]] || die "no Debian archive found in /etc/apt/sources.list or /etc/apt/sources.list.d"
    printf '%s\n' "${uri%/}"
}

# apt options for inside the image: the machine's proxies, and a mirror whose Release file may be past its date.
apt_options() {
    printf '%s\n' -o Acquire::Check-Valid-Until=false
    apt-config dump 2>/dev/null |
        sed -nE 's/^(Acquire::https?::Proxy) "(.+)";$/-o\n\1=\2/p'
}

# The machine's pip settings that make sense for another Python in another root, as PIP_* assignments, one a line.
# Constraints and local directories are left out: they are about this machine's own interpreter.
pip_settings() {
    command -v pip >/dev/null || return 0
    pip config list 2>/dev/null | awk -F= '
        {
            key = $1; sub(/^.*\./, "", key)
            value = substr($0, length($1) + 2); gsub(/^\047|\047$/, "", value)
        }
        key ~ /^(index-url|proxy|trusted-host|timeout|default-timeout|retries|client-cert)$/ { keep[key] = value }
        key == "extra-index-url" {
            n = split(value, urls, /[[:space:]]+/); kept = ""
            for (i = 1; i <= n; i++) if (urls[i] ~ /^https?:/) kept = kept (kept ? " " : "") urls[i]
            if (kept) keep[key] = kept
        }
        END {
            for (key in keep) {
                name = toupper(key); gsub(/-/, "_", name)
                print "PIP_" name "=" keep[key]
            }
        }'
}

# The certificates that this machine trusts, which may be more than Debian's: pip has to accept the same index.
ca_bundle() {
    local file
    for file in "${PIP_CERT-}" "$(pip config get global.cert 2>/dev/null || true)" "${SSL_CERT_FILE-}" \
        /etc/ssl/certs/ca-certificates.crt; do
        [[ -r $file ]] && printf '%s\n' "$file" && return
    done
    printf '/dev/null\n'
}
