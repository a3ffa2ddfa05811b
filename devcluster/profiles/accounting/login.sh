# MariaDB, slurmdbd, and accounts: science for alice and bob, of which alice may have the small QOS tiny too; locked,
# which only bob is in.
# shellcheck shell=bash
set -euo pipefail

running() { pgrep -x "$1" >/dev/null; }
answers() { for ((try = 0; try < 300; try++)); do ! "$@" >/dev/null 2>&1 || return 0 && sleep 0.1; done; }

if ! running mariadbd; then
    install -d -o mysql -g mysql /run/mysqld
    setsid --fork setpriv --reuid mysql --regid mysql --init-groups \
        mariadbd --skip-networking --innodb-snapshot-isolation=OFF --innodb-lock-wait-timeout=900 \
        --innodb-buffer-pool-size=32M --innodb-flush-log-at-trx-commit=0 \
        </dev/null >>/var/log/mariadb.log 2>&1
fi
answers mariadb --execute 'SELECT 1'
mariadb --execute "CREATE DATABASE IF NOT EXISTS slurm_acct_db;
    CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED VIA unix_socket;
    GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"

if ! running slurmdbd; then
    chown slurm:slurm /etc/slurm/slurmdbd.conf
    chmod 600 /etc/slurm/slurmdbd.conf
    sed -i '/^Auth/d' /etc/slurm/slurmdbd.conf
    sed -n 's/^AuthType=/&/p' /etc/slurm/slurm.conf >>/etc/slurm/slurmdbd.conf
    slurmdbd
fi
answers sacctmgr --noheader show cluster
if [[ ! $(sacctmgr --noheader --parsable2 show account science format=account) ]]; then
    sacctmgr --immediate add cluster devcluster
    sacctmgr --immediate add qos tiny set maxtresperjob=cpu=2 maxwall=10 flags=denyonlimit
    sacctmgr --immediate add account science,locked
    sacctmgr --immediate add user alice,bob account=science
    sacctmgr --immediate add user bob account=locked
    sacctmgr --immediate modify user alice set qos+=tiny
fi >/dev/null
