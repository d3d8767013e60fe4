//! etcd: its start, and what is copied of it and restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::Error;
use crate::binaries::locate;
use crate::process::{Process, output, poll_until};

const PEER: &str = "--initial-advertise-peer-urls=http://127.0.0.1:0";
const PEERS: &str = "--initial-cluster=default=http://127.0.0.1:0";
/// Time in which etcd ends in order.
const END: Duration = Duration::from_secs(30);

/// A copy of what etcd had stored.
#[derive(Debug)]
pub struct Backup(PathBuf);

/// Starts etcd with its files in `directory`, and waits until it serves everything that is in them.
pub(crate) async fn start_etcd(directory: &Path) -> Result<Process, Error> {
    let socket = directory.join("etcd.sock");
    let arguments = [
        format!("--data-dir={}", directory.join("etcd").display()),
        // A socket in our own directory can collide with nobody's.
        format!("--listen-client-urls=unix://{}", socket.display()),
        // etcd refuses to advertise a socket. No client asks for what is advertised, and no peer will come.
        "--advertise-client-urls=http://127.0.0.1:0".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        PEER.to_owned(),
        PEERS.to_owned(),
        // The data is worth nothing after the test, and waiting for the disk is most of the time of a write.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let etcd = Process::start(&locate("etcd")?, &arguments, &directory.join("etcd.log"))?;
    poll_until(&etcd, async || Ok(is_healthy(&socket).await)).await?;
    Ok(etcd)
}

/// It listens before it leads, and until then it does not show what it wrote last.
async fn is_healthy(socket: &Path) -> bool {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    ask.await.is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

/// Ends etcd in order, after which everything is in its file.
pub(crate) async fn end(etcd: &Process) -> Result<(), Error> {
    etcd.signal(Signal::TERM);
    etcd.exited_within(END).await?;
    Ok(())
}

/// Copies the files of etcd while it stands still.
pub(crate) async fn back_up(etcd: &Process, directory: &Path) -> Result<Backup, Error> {
    let copy = directory.join("backup");
    let mut cp = Command::new("cp");
    cp.arg("-r").arg(directory.join("etcd")).arg(&copy);
    etcd.pause();
    let copied = output(&mut cp).await;
    etcd.resume();
    copied.map(|_| Backup(copy))
}

/// Makes the copy what etcd starts with. With a `bump`, as Kubernetes advises, revisions go on that much above those of
/// the copy, so that none is given twice, and watches of what came after it are refused.
pub(crate) async fn restore(directory: &Path, backup: Backup, bump: Option<u64>) -> Result<(), Error> {
    let (data, snapshot) = (directory.join("etcd"), directory.join("snapshot"));
    fs::remove_dir_all(&data).map_err(Error::io(format!("remove {}", data.display())))?;
    fs::rename(&backup.0, &data).map_err(Error::io(format!("rename {}", backup.0.display())))?;
    // An etcd that ends in order leaves everything in one file.
    end(&start_etcd(directory).await?).await?;
    fs::rename(data.join("member/snap/db"), &snapshot).map_err(Error::io(format!("write {}", snapshot.display())))?;
    fs::remove_dir_all(&data).map_err(Error::io(format!("remove {}", data.display())))?;
    let mut etcdutl = Command::new(locate("etcdutl")?);
    etcdutl
        .args(["snapshot", "restore"])
        .arg(&snapshot)
        .arg("--data-dir")
        .arg(data);
    // That file has no checksum at its end.
    etcdutl.args([PEER, PEERS, "--skip-hash-check"]);
    if let Some(bump) = bump {
        etcdutl.arg(format!("--bump-revision={bump}")).arg("--mark-compacted");
    }
    output(&mut etcdutl).await.map(drop)
}
