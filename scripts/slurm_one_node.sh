#!/usr/bin/env bash
# A Slurm of one node, this machine, for tests: Debian's slurmctld, slurmd and munge, with everything that they write in one folder.
#
#   scripts/slurm_one_node.sh start DIR     then: source DIR/env
#   scripts/slurm_one_node.sh stop DIR
#
# Needs root; installs with apt-get what is missing. Nothing under /etc is touched. Tried with Slurm 22.05 (Debian 12).
set -euo pipefail
if [ $# -ne 2 ] || { [ "$1" != start ] && [ "$1" != stop ]; }; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$2"
dir=$(realpath "$2")

# Debian puts daemons where a user's PATH does not lead.
export PATH="$PATH:/usr/sbin:/sbin"

# The process whose number a daemon wrote, if it is still that daemon.
ended() { # NAME
    local pid
    pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ]
}

stop() {
    local name
    if [ -f "$dir/slurm.conf" ] && ! ended slurmctld; then
        SLURM_CONF=$dir/slurm.conf timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
        sleep 2
    fi
    for name in slurmd slurmctld munged; do
        ended "$name" || kill "$(cat "$dir/$name.pid")"
        for _ in $(seq 100); do
            ended "$name" && break
            sleep 0.1
        done
        ended "$name" || kill -9 "$(cat "$dir/$name.pid")"
    done
}

if [ "$1" = stop ]; then
    stop
    exit
fi

if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null || ! command -v sbatch >/dev/null; then
    apt-get update
    # Their services are not what is started here; a container has none to start.
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends slurmctld slurmd slurm-client munge
fi

stop
# Another one may be here.
port=16817
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 2)); done
node=$(hostname -s)
mkdir -p "$dir/state" "$dir/spool"
chmod 755 "$dir"
head -c 1024 /dev/urandom > "$dir/munge.key"
chmod 400 "$dir/munge.key"
# A cgroup plugin is always begun; of version 1 it makes empty lists only, while nothing uses it.
cat > "$dir/cgroup.conf" <<CONF
CgroupPlugin=cgroup/v1
CgroupMountpoint=$dir/cgroup
CONF
mkdir -p "$dir/cgroup"
# A requeued job waits until its credential has ended: 5 seconds, not 2 minutes.
cat > "$dir/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=4096 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
cat > "$dir/env" <<ENV
export SLURM_CONF=$dir/slurm.conf
ENV
export SLURM_CONF=$dir/slurm.conf
munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
    state=$(timeout 5 sinfo -h -o %T 2>/dev/null || true)
    if [ "$state" = idle ]; then
        echo "Slurm $(sbatch --version | cut -d' ' -f2) on $node is idle; source $dir/env"
        exit 0
    fi
    case $state in down* | drained*) scontrol update "NodeName=$node" State=RESUME 2>/dev/null || true ;; esac
    sleep 0.5
done
echo "error: no idle node after 30 s (it is ${state:-not answering})" >&2
tail -n 20 "$dir"/*.log >&2
exit 1
