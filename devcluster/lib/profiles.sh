# Profiles: a site's configuration in a small directory, profiles/NAME. See README.md for what may be in it.
# shellcheck shell=bash

# Those of the cluster at hand, in one order whoever names them: layers are built upon each other.
PROFILES=()

# choose_profiles NAME,…: those that are asked for, or none.
choose_profiles() {
    local name names=()
    IFS=, read -ra names <<<"$1"
    for name in "${names[@]}"; do
        [[ $name =~ ^[a-z][a-z-]*$ && -d $HERE/profiles/$name ]] || die "no profile $name; there are: $(profile_names)"
    done
    mapfile -t PROFILES < <(((${#names[@]} == 0)) || printf '%s\n' "${names[@]}" | sort -u)
}

profile_names() { (cd "$HERE/profiles" && echo *); }

# image_dirs: all layers of the hosts' root, those of profiles above the site's.
image_dirs() {
    local dirs name layer
    dirs=$(layer_dirs)
    for name in "${PROFILES[@]}"; do
        ! has_layer "$name" || {
            layer=$(profile_layer "$name" "$dirs")
            dirs=$layer:$dirs
        }
    done
    printf '%s\n' "$dirs"
}

has_layer() { [[ -d $HERE/profiles/$1/image ]]; }

# profile_layer NAME LOWER
profile_layer() {
    printf '%s/profile-%s\n' "$CACHE" "$(recipe "$2" image/profile.sh "profiles/$1/image")"
}

# build_profiles LOWER: called with the build's lock held.
build_profiles() {
    local lower=$1 name layer
    for name in "${PROFILES[@]}"; do
        has_layer "$name" || continue
        layer=$(profile_layer "$name" "$lower")
        build_layer "$layer" "$lower" profile.sh "6/6 adding what the profile $name needs" "$name"
        lower=$layer:$lower
    done
}

# profile_files UPPER: what the profiles have for each host's /etc, and a slurm.conf of them all.
profile_files() {
    local etc=$1/etc name conf
    conf=$(<"$HERE/etc/slurm/slurm.conf")
    for name in "${PROFILES[@]}"; do
        [[ ! -d $HERE/profiles/$name/etc ]] || cp -RT "$HERE/profiles/$name/etc" "$etc"
        [[ ! -e $HERE/profiles/$name/slurm.conf ]] || conf=$(merged "$conf" "$HERE/profiles/$name/slurm.conf")
    done
    printf '%s\n' "$conf" >"$etc/slurm/slurm.conf"
    printf '%s\n' "${PROFILES[@]}" >"$etc/slurm/profiles"
}

# merged TEXT FILE: TEXT without the settings that FILE has its own of, and FILE. Slurm takes no key twice.
merged() {
    awk -F= '
        NR == FNR {
            if (/^[A-Za-z]+=/ && !/^(NodeName|PartitionName)=/) gone[tolower($1)]
            own = own "\n" $0
            next
        }
        !(tolower($1) in gone)
        END { print own }' "$2" - <<<"$1"
}

# boot_profiles HOST login|node: what they have to start there before Slurm's own daemons.
boot_profiles() {
    local name
    for name in "${PROFILES[@]}"; do
        [[ ! -e $HERE/profiles/$name/$2.sh ]] || in_host "$1" root bash -s <"$HERE/profiles/$name/$2.sh" ||
            die "profile $name: $2.sh failed on $1"
    done
}
