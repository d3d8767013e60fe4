//! Where a node is: processes, mounts and a network of its own, which end together with one process.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::process::Command;

use super::{ADDRESS, API_SERVER, PODS, program};
use crate::process::{output, poll_until};
use crate::supervisor::supervisor;
use crate::{Error, Process};

/// The device by which the machine reaches the node. One node at a time.
const LINK: &str = "ptj-node";
/// Parent of the cgroups of all pods.
pub(super) const CGROUP: &str = "pytorchjob-test-node";

/// Directories that the programs of a node write into, whatever they are told.
const PRIVATE: &str = "mount --make-rshared / && for directory in /run /var/lib /var/log; do mount -t tmpfs none $directory || exit; done";

/// What the kubelet sets for the whole machine.
const SYSCTLS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Removes the cgroups. They are in use until the last process of the node is gone, which nothing announces.
const REMOVE_CGROUPS: &str = r#"for controller in /sys/fs/cgroup /sys/fs/cgroup/*; do
  tries=0
  while [ -d "$controller/GROUP" ] && [ $tries -lt 100 ]; do
    find "$controller/GROUP" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    tries=$((tries + 1))
  done
done
"#;

/// The namespaces, held by a process that does nothing else. When it ends, the kernel kills all others in them and
/// takes mounts and network devices down.
#[derive(Debug)]
pub(crate) struct Namespaces {
    holder: Process,
    /// The first process inside, as the machine numbers it.
    pid: u32,
    directory: PathBuf,
}

impl Namespaces {
    /// Makes them, with an address for the API server on the machine's side and one for the node on the other.
    pub(crate) async fn create() -> Result<Self, Error> {
        if Path::new("/sys/class/net").join(LINK).exists() {
            return Err(Error::NodeRuns);
        }
        let directory = supervisor().directory("node")?;
        supervisor().at_end(&restore()?)?;
        create_cgroups()?;
        let unshare = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"].map(str::to_owned);
        let pause = program("node/pause")?.display().to_string();
        let log = directory.join("namespaces.log");
        let holder = Process::start(Path::new("unshare"), unshare.into_iter().chain([pause]), &log)?;
        poll_until(&holder, async || Ok(inside(holder.pid()).is_some())).await?;
        let pid = inside(holder.pid()).unwrap_or_default();
        let namespaces = Self { holder, pid, directory };
        namespaces.run("sh", &["-c", PRIVATE]).await?;
        namespaces.connect().await?;
        Ok(namespaces)
    }

    /// A link between the machine and the node. Pods are behind the node.
    async fn connect(&self) -> Result<(), Error> {
        let pid = self.pid.to_string();
        let (machine, node) = (format!("{API_SERVER}/24"), format!("{ADDRESS}/24"));
        for command in [
            format!("link add {LINK} type veth peer name eth0 netns {pid}"),
            format!("address add {machine} dev {LINK}"),
            format!("link set {LINK} up"),
            format!("route add {PODS} via {ADDRESS}"),
        ] {
            let arguments: Vec<&str> = command.split(' ').collect();
            run("ip", &arguments).await?;
        }
        for command in [
            "link set lo up".to_owned(),
            format!("address add {node} dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {API_SERVER}"),
        ] {
            let arguments: Vec<&str> = command.split(' ').collect();
            self.run("ip", &arguments).await?;
        }
        self.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
            .await
            .map(drop)
    }

    /// Where the files of the node are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends everything inside.
    pub(super) fn end(&self) {
        self.holder.signal(Signal::KILL);
    }

    /// Starts a program inside. It ends when the process that is returned is killed.
    pub(super) fn start(&self, program: &Path, arguments: &[String], log: &Path) -> Result<Process, Error> {
        let name = program.display().to_string();
        let mut all = self.enter();
        all.extend(["setpriv", "--pdeathsig=KILL"].map(str::to_owned));
        all.push(name);
        all.extend_from_slice(arguments);
        Process::start(Path::new("nsenter"), all, log)
    }

    /// Runs a program inside, and returns its standard output.
    pub(super) async fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut all = self.enter();
        all.push(program.to_owned());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        run("nsenter", &all).await
    }

    fn enter(&self) -> Vec<String> {
        let target = format!("--target={}", self.pid);
        [target.as_str(), "--mount", "--net", "--pid", "--"]
            .map(str::to_owned)
            .into()
    }
}

/// The process that `unshare` has started, once it holds the namespaces.
fn inside(unshare: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
    let child: u32 = children.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    (name == "pause\n").then_some(child)
}

/// A cgroup in each hierarchy, with the processors and memory of its parent where a new one has none (cgroup v1), and
/// with what its parent may hand down (v2).
fn create_cgroups() -> Result<(), Error> {
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers").is_file();
    let hierarchies: Vec<PathBuf> = if unified {
        vec![root.to_owned()]
    } else {
        let entries = fs::read_dir(root).map_err(Error::io("read /sys/fs/cgroup"))?;
        let entries = entries.flatten().map(|entry| entry.path());
        entries.filter(|path| path.join("cgroup.procs").is_file()).collect()
    };
    for hierarchy in hierarchies {
        let group = hierarchy.join(CGROUP);
        fs::create_dir_all(&group).map_err(Error::io(format!("create the cgroup {}", group.display())))?;
        let copied = |file: &str| {
            let parents = fs::read_to_string(hierarchy.join(file)).unwrap_or_default();
            // Read-only or absent where nothing has to be copied.
            let _ = fs::write(group.join(file), parents.trim());
        };
        if unified {
            let controllers = fs::read_to_string(hierarchy.join("cgroup.controllers")).unwrap_or_default();
            let all: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
            for directory in [&hierarchy, &group] {
                let file = directory.join("cgroup.subtree_control");
                fs::write(&file, all.join(" ")).map_err(Error::io(format!("write {}", file.display())))?;
            }
        } else {
            copied("cpuset.cpus");
            copied("cpuset.mems");
        }
    }
    Ok(())
}

/// A script that puts the machine back as it is now.
fn restore() -> Result<String, Error> {
    let set = |name| {
        let path = format!("/proc/sys/{name}");
        let value = fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
        Ok(format!("echo {} > {path}\n", value.trim()))
    };
    let sysctls: Result<String, Error> = SYSCTLS.into_iter().map(set).collect();
    Ok(REMOVE_CGROUPS.replace("GROUP", CGROUP) + &sysctls?)
}

/// Runs a program on the machine, and returns its standard output.
async fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    output(Command::new(program).args(arguments)).await
}
