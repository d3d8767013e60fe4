//! Whatever happens to this process, nothing it started outlives it.
//!
//! Every process of the rig is put into one process group. A watchdog outside the group reads a pipe whose other end
//! only this process holds: when the pipe closes, because this process returned, panicked or was killed, the watchdog
//! kills the group and removes the directory. Destructors of statics never run, and `PR_SET_PDEATHSIG` needs unsafe
//! code and follows the thread instead of the process, so neither would do.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::Error;

/// Reads one word. "keep" dismisses the watchdog; the end of input makes it clean up.
const WATCHDOG: &str = r#"read -r word
[ "$word" = keep ] && exit
kill -s KILL -- "-$1"
[ ! -f "$2/at-end" ] || sh "$2/at-end"
rm -rf -- "$2""#;

/// The processes and files of the rig in this process.
pub(crate) struct Supervisor {
    /// Where all files of the rig are.
    root: PathBuf,
    /// The leader of the process group: it does nothing, and gives the group its number.
    leader: Child,
    watchdog: Child,
    directories: AtomicU32,
    kept: AtomicBool,
}

/// The supervisor of this process, started at the first call.
///
/// # Panics
///
/// When `sh` and `cat` cannot be run or there is no place for temporary files.
pub(crate) fn supervisor() -> &'static Supervisor {
    static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();
    SUPERVISOR.get_or_init(|| Supervisor::start().expect("the rig needs `sh`, `cat` and a temporary directory"))
}

impl Supervisor {
    fn start() -> Result<Self, Error> {
        let root = tempfile::Builder::new()
            .prefix("pytorchjob-test-")
            .tempdir()
            .map_err(Error::io("create the directory of the test cluster"))?;
        // Null output: a watchdog holding the standard output of `cargo test` would keep a pipe behind it open.
        let leader = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("run `cat`"))?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &leader.id().to_string()])
            .arg(root.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("run `sh`"))?;
        Ok(Self {
            root: root.keep(),
            leader,
            watchdog,
            directories: AtomicU32::new(0),
            kept: AtomicBool::new(false),
        })
    }

    /// The process group for everything that is started.
    pub(crate) fn group(&self) -> u32 {
        self.leader.id()
    }

    /// A new directory, removed when this process ends.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let number = self.directories.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(format!("{number}-{name}"));
        fs::create_dir(&path).map_err(Error::io(format!("create {}", path.display())))?;
        Ok(path)
    }

    /// Has a shell script run when the processes have been killed, before the files are removed.
    pub(crate) fn at_end(&self, script: &str) -> Result<(), Error> {
        let path = self.root.join("at-end");
        fs::write(&path, script).map_err(Error::io(format!("write {}", path.display())))
    }

    /// Whether [`keep_running`] was called.
    pub(crate) fn kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }
}

/// What is left running after [`keep_running`].
#[derive(Debug)]
pub struct Kept {
    /// A shell command that ends the processes and removes their files.
    pub stop: String,
    /// Where the files are: logs, kubeconfigs, data.
    pub directory: &'static Path,
}

/// Leaves every cluster and operator of this process running when it ends, and says how to stop them.
pub fn keep_running() -> Result<Kept, Error> {
    let supervisor = supervisor();
    supervisor.kept.store(true, Ordering::Relaxed);
    if let Some(mut pipe) = supervisor.watchdog.stdin.as_ref() {
        pipe.write_all(b"keep\n")
            .map_err(Error::io("dismiss the watchdog of the test cluster"))?;
    }
    let root = &supervisor.root;
    Ok(Kept {
        stop: format!(
            // What is killed may write until it is gone.
            "kill -s KILL -- -{group}; for _ in $(seq 100); do kill -s 0 -- -{group} 2>/dev/null || break; sleep 0.1; \
             done; [ ! -f {root}/at-end ] || sh {root}/at-end; rm -rf {root}",
            group = supervisor.group(),
            root = root.display()
        ),
        directory: root,
    })
}
