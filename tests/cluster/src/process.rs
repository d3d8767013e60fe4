//! A child process with a log file, signals and its use of the machine.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::Error;
use crate::supervisor::supervisor;

/// Each start of a process must be done in this time. A loaded machine needs ten seconds.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// How often a starting process is asked whether it is ready. Nothing announces it.
const POLL: Duration = Duration::from_millis(25);

/// A running program. It is killed and reaped when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: u32,
    /// Refers to this process alone, even after its number has been given to another one.
    pidfd: OwnedFd,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Reaps the child, on a thread, so that it is not bound to the tokio runtime of the test that happened to start
    /// it.
    reaper: Option<JoinHandle<()>>,
}

impl Process {
    /// Runs `program`, with standard output and error going to the file `log`.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> Result<Self, Error> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = File::create(log).map_err(Error::io(format!("create {}", log.display())))?;
        let errors = output
            .try_clone()
            .map_err(Error::io(format!("duplicate {}", log.display())))?;
        let group = i32::try_from(supervisor().group()).unwrap_or_default();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(group)
            .spawn()
            .map_err(Error::io(format!("run {}", program.display())))?;
        // The child is not reaped before its thread starts, so the number is still its own here.
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(|errno| Error::io(format!("open a pidfd of {name}"))(errno.into()))?;
        let (pid, (sender, exit)) = (child.id(), watch::channel(None));
        let reaper = thread::spawn(move || {
            // `wait` fails only for a child that somebody else has reaped, and nobody else has it.
            if let Ok(status) = child.wait() {
                sender.send_replace(Some(status));
            }
        });
        Ok(Self {
            name,
            log: log.to_owned(),
            pid,
            pidfd,
            exit,
            reaper: Some(reaper),
        })
    }

    /// The name of the program.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How the process ended, or `None` while it runs.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    ///
    /// When the thread that reaps the process is gone, which would be a defect of the rig.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .expect("the reaper sends the exit status before it ends");
        status.expect("awaited above")
    }

    /// Waits for the end of the process, and fails with the end of its log after `timeout`.
    pub async fn exited_within(&self, timeout: Duration) -> Result<ExitStatus, Error> {
        tokio::time::timeout(timeout, self.exited())
            .await
            .map_err(|_| self.late("did not end within", timeout))
    }

    /// Freezes the process: it holds what it holds, and does nothing, until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal. The signal is lost when the process has ended already.
    pub fn signal(&self, signal: Signal) {
        // The one way to fail for a child of our own is ESRCH: it has ended.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Kills the process and waits until it is gone.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.exited().await;
    }

    /// Resident memory in bytes; `None` when the process has ended.
    #[must_use]
    pub fn rss_bytes(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The largest resident memory so far in bytes; `None` when the process has ended.
    #[must_use]
    pub fn peak_rss_bytes(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    }

    /// User and system time used so far by all threads, in steps of 10 ms; `None` when the process has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The second field is the name in parentheses, and may contain blanks. utime and stime are fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let ticks = ticks()? + ticks()?;
        Some(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Everything the process has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last `lines` lines of the log under a heading.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let tail = &all[all.len().saturating_sub(lines)..];
        format!(
            "--- {}: last {} of {} lines of its log\n{}",
            self.name,
            tail.len(),
            all.len(),
            tail.join("\n")
        )
    }

    /// An error that says that the process `what` `timeout`.
    pub(crate) fn late(&self, what: &'static str, timeout: Duration) -> Error {
        Error::Late {
            name: self.name.clone(),
            what,
            timeout,
            log: self.log_tail(40),
        }
    }

    /// Fails when the process has ended.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        match self.exit_status() {
            Some(status) => Err(Error::Exited {
                name: self.name.clone(),
                status,
                log: self.log_tail(40),
            }),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if supervisor().kept() {
            return;
        }
        self.signal(Signal::KILL);
        if let Some(reaper) = self.reaper.take() {
            // An error would say that the reaper panicked; a second panic here would hide the first.
            let _ = reaper.join();
        }
    }
}

/// Asks again and again until `ready` says yes, the process has ended or it has had its time. An answer that does not
/// come does not keep the end from being noticed.
pub(crate) async fn poll_until(process: &Process, ready: impl AsyncFn() -> Result<bool, Error>) -> Result<(), Error> {
    let poll = async {
        while !ready().await? {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        _ = process.exited() => process.check_running(),
        result = tokio::time::timeout(START_TIMEOUT, poll) => {
            result.unwrap_or_else(|_| Err(process.late("was not ready within", START_TIMEOUT)))
        }
    }
}

/// Runs a program to its end, and returns its standard output.
pub(crate) async fn output(command: &mut tokio::process::Command) -> Result<String, Error> {
    let (program, arguments) = {
        let command = command.as_std();
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        (
            command.get_program().to_string_lossy().into_owned(),
            arguments.join(" "),
        )
    };
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::io(format!("run {program}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Program {
        program,
        arguments,
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
