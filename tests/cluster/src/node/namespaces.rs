//! Where a node is: processes, mounts and a network of its own, which end together with one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::{FIRST, Place, SECOND, program};
use crate::process::{output, poll_until};
use crate::supervisor::supervisor;
use crate::{Error, Process};

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

/// How long a node takes to end at most, and how often it is looked at.
const END_TIMEOUT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(200);
/// Where the kernel shows cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Removes the cgroups. They are in use until the last process of the nodes is gone, which nothing announces.
const REMOVE_CGROUPS: &str = r#"for group in /sys/fs/cgroup/GROUP* /sys/fs/cgroup/*/GROUP*; do
  tries=0
  while [ -d "$group" ] && [ $tries -lt 100 ]; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
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
    place: &'static Place,
    directory: PathBuf,
}

impl Namespaces {
    /// Makes those of the first node, with an address for the API server on the machine's side and one for the node on
    /// the other.
    pub(crate) async fn create() -> Result<Self, Error> {
        ended(&FIRST).await?;
        supervisor().at_end(&restore()?)?;
        let namespaces = Self::unshare(&FIRST).await?;
        namespaces.connect(None).await?;
        Ok(namespaces)
    }

    /// Makes those of the second node, which reaches everybody by way of this one.
    pub(super) async fn another(&self) -> Result<Self, Error> {
        let namespaces = Self::unshare(&SECOND).await?;
        namespaces.connect(Some(self)).await?;
        Ok(namespaces)
    }

    async fn unshare(place: &'static Place) -> Result<Self, Error> {
        let directory = supervisor().directory(place.name)?;
        create_cgroups(place.cgroup)?;
        let unshare = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"].map(str::to_owned);
        let pause = program("node/pause")?.display().to_string();
        let log = directory.join("namespaces.log");
        let holder = Process::start(Path::new("unshare"), unshare.into_iter().chain([pause]), &log)?;
        poll_until(&holder, async || Ok(inside(holder.pid()).is_some())).await?;
        let pid = inside(holder.pid()).unwrap_or_default();
        let namespaces = Self {
            holder,
            pid,
            place,
            directory,
        };
        namespaces.run("sh", &["-c", PRIVATE]).await?;
        Ok(namespaces)
    }

    /// A link between the machine, or the other node, and this node. Pods are behind the node.
    async fn connect(&self, other: Option<&Self>) -> Result<(), Error> {
        let Place {
            link,
            network,
            gateway,
            address,
            pods,
            ..
        } = self.place;
        ip(
            None,
            &format!("link add {link} type veth peer name eth0 netns {}", self.pid),
        )
        .await?;
        if let Some(other) = other {
            ip(None, &format!("link set {link} netns {}", other.pid)).await?;
            ip(None, &format!("route replace {network} via {}", other.place.address)).await?;
        }
        for command in [
            format!("address add {gateway}/24 dev {link}"),
            format!("link set {link} up"),
            format!("route add {pods} via {address}"),
        ] {
            ip(other, &command).await?;
        }
        for command in [
            "link set lo up",
            &format!("address add {address}/24 dev eth0"),
            "link set eth0 up",
            &format!("route add default via {gateway}"),
        ] {
            ip(Some(self), command).await?;
        }
        self.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
            .await
            .map(drop)
    }

    /// Which node they are for.
    pub(super) fn place(&self) -> &'static Place {
        self.place
    }

    /// Where the files of the node are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends everything inside.
    pub(super) fn end(&self) {
        self.holder.signal(Signal::KILL);
    }

    /// Ends everything inside without a word to anybody: connections stay open at their other ends.
    pub(super) async fn lose_power(&self) -> Result<(), Error> {
        ip(Some(self), "link delete eth0").await?;
        self.holder.kill().await;
        Ok(())
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

/// Waits for a node of before that is on its way out: what it leaves is removed after its last process has ended.
async fn ended(place: &Place) -> Result<(), Error> {
    let link = Path::new("/sys/class/net").join(place.link);
    let hierarchies = hierarchies()?;
    let left = || {
        hierarchies
            .iter()
            .any(|hierarchy| hierarchy.join(place.cgroup).exists())
    };
    let until = Instant::now() + END_TIMEOUT;
    while link.exists() || left() {
        if Instant::now() >= until {
            return if link.exists() { Err(Error::NodeRuns) } else { Ok(()) };
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Whether cgroups are those of v2.
fn is_unified() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").is_file()
}

/// The one hierarchy of cgroups, or those of v1.
fn hierarchies() -> Result<Vec<PathBuf>, Error> {
    if is_unified() {
        return Ok(vec![CGROUPS.into()]);
    }
    let entries = fs::read_dir(CGROUPS).map_err(Error::io(format!("read {CGROUPS}")))?;
    let entries = entries.flatten().map(|entry| entry.path());
    Ok(entries.filter(|path| path.join("cgroup.procs").is_file()).collect())
}

/// A cgroup in each hierarchy, with the processors and memory of its parent where a new one has none (cgroup v1), and
/// with what its parent may hand down (v2).
fn create_cgroups(name: &str) -> Result<(), Error> {
    let unified = is_unified();
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
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
    Ok(REMOVE_CGROUPS.replace("GROUP", FIRST.cgroup) + &sysctls?)
}

/// Runs a command of `ip` inside, or on the machine.
async fn ip(inside: Option<&Namespaces>, command: &str) -> Result<(), Error> {
    let arguments: Vec<&str> = command.split(' ').collect();
    let said = match inside {
        Some(namespaces) => namespaces.run("ip", &arguments).await,
        None => run("ip", &arguments).await,
    };
    said.map(drop)
}

/// Runs a program on the machine, and returns its standard output.
async fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    output(Command::new(program).args(arguments)).await
}
