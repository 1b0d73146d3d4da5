#!/usr/bin/env bash
# A Slurm cluster on this machine, to try the slurm engine of cmd.sh: a controller and some nodes.
#
# Usage: tools/slurm_cluster.sh start|stop|status [options]
#
# Needs Slurm and munge, for example: apt-get install slurm-wlm munge. Everything it writes lies in
# one directory; no service of the machine is touched. Slurm's commands find the cluster by
#   export SLURM_CONF=DIR/slurm.conf
#
# Options:
#   --dir DIR       where configuration, state and logs lie (default: .cache/slurm here)
#   --nodes N       nodes, of one CPU each (default: 2)
#   --port N        the controller's port; the nodes take the next ones (default: 26817)
#   --help          this text
set -euo pipefail

action=""
case ${1:-} in
  start | stop | status)
    action=$1
    shift
    ;;
esac
dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache/slurm
nodes=2
port=26817
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/parse_options.sh"
[[ -n $action ]] || die "no action" "say start, stop or status"
[[ $nodes =~ ^[1-9][0-9]*$ ]] || die "--nodes '$nodes' is no number of nodes" "give 1 or more"
[[ $port =~ ^[1-9][0-9]*$ ]] || die "--port '$port' is no port" "give one above 1023"
export PATH=$PATH:/usr/sbin:/sbin # where distributions put daemons
export SLURM_CONF=$dir/slurm.conf

write_config() {
  local host user
  host=$(hostname -s) user=$(id -un)
  cat >"$SLURM_CONF" <<CONF
ClusterName=fairstream
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/%n.log
# No cgroups and no database: neither needs to be there.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  local node
  for node in $(seq "$nodes"); do
    echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + node)) CPUs=1" \
      >>"$SLURM_CONF"
  done
}

start_munge() { # a key of its own, so that nobody else's credentials count
  mkdir -p "$dir/munge"
  chmod 700 "$dir" "$dir/munge"
  if [[ ! -f $dir/munge/key ]]; then
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
  fi
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge.socket" \
    --pid-file="$dir/munged.pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
}

running() { # running NAME: does the daemon of that name live?
  [[ -f $dir/$1.pid ]] && kill -0 "$(<"$dir/$1.pid")" 2>/dev/null
}

all_idle() {
  [[ $(sinfo --noheader --states=idle --format=%D 2>/dev/null) == "$nodes" ]]
}

start() {
  local tool node
  for tool in munged slurmctld slurmd sinfo; do
    command -v "$tool" >/dev/null ||
      die "$tool not found" "install Slurm, for example: apt-get install slurm-wlm munge"
  done
  if running slurmctld; then
    echo "already running: export SLURM_CONF=$SLURM_CONF"
    return
  fi
  mkdir -p "$dir/state"
  write_config
  start_munge
  slurmctld -c
  for node in $(seq "$nodes"); do
    mkdir -p "$dir/n$node"
    slurmd -N "n$node"
  done
  for _ in $(seq 150); do
    if all_idle; then
      echo "running: export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.2
  done
  stop
  die "the nodes did not come up in 30 s" "see the logs in $dir; --port takes other ports"
}

stop() { # nodes first, the key's keeper last
  local pid_file
  for pid_file in "$dir"/n*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
    [[ -f $pid_file ]] || continue
    local pid
    pid=$(<"$pid_file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    rm -f "$pid_file"
  done
}

case $action in
  start) start ;;
  stop)
    stop
    echo "stopped"
    ;;
  status)
    running slurmctld || die "not running" "run: $0 start"
    sinfo
    ;;
esac
