# `try_runtime DIRECTORY RUNTIME CONFIG` succeeds if the runtime makes that container in DIRECTORY, a name in the user's
# own directory, which is made and removed. `make_try` makes such a directory in /tmp, $own, and chooses a name in it, $try.
# The names are those that a site's Epilog (etc/epilog) looks for, in case that a step is killed here.
make_try() {
    own=$(umask 077 && mktemp -d "/tmp/scrun-$(id -u)-try-$SLURM_JOB_ID-XXXXXXXXXX") && try=$own/$SLURM_JOB_ID-try
}
try_runtime() {
    case $1 in *[\&,:\\\"]*) return 1 ;; esac
    (
        mkdir -m 700 -- "$1" && cd -P -- "$1" && mkdir tree tree/dev upper work root && : >tree/nothing &&
            chmod 755 tree/nothing && printf %s "$3" | sed "s,@DIR@,$1,g" >config.json || exit
        tried=scrun-try.$SLURM_JOB_ID.$$.0
        eval "$2 create --bundle . $tried" </dev/null
        made=$?
        eval "$2 delete --force $tried" </dev/null
        exit $made
    ) >/dev/null 2>&1
    set -- "$1" $?
    rm -rf --one-file-system -- "$1"
    return $2
}
