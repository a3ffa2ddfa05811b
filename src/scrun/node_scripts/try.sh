# `try_runtime DIRECTORY RUNTIME CONFIG` succeeds if the runtime makes that container in DIRECTORY, a name in the user's
# own directory, which is made and removed. The container's name has the job's id, for a site's Epilog.
try_runtime() {
    case $1 in *[\&,:\\\"]*) return 1 ;; esac
    (
        mkdir -m 700 -- "$1" && cd -P -- "$1" && mkdir tree tree/dev upper work root && : >tree/nothing &&
            chmod 755 tree/nothing && printf %s "$3" | sed "s,@DIR@,$1,g" >config.json || exit
        tried=scrun-try.$SLURM_JOB_ID.$$
        eval "$2 create --bundle . $tried" </dev/null
        made=$?
        eval "$2 delete --force $tried" </dev/null
        exit $made
    ) >/dev/null 2>&1
    set -- "$1" $?
    rm -rf --one-file-system -- "$1"
    return $2
}
