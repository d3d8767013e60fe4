//! Free TCP ports on the loopback address.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Below the range that Linux takes the local ports of outgoing connections from, so that no client of a test can be
/// given the port between our look and the server's bind.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// A port that nobody listens on. Test binaries start at a random one, and no port is given twice in turn, so two
/// rigs hardly ever pick the same; a server that finds it taken nevertheless has to be started with another one.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish() >> 1));
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(COUNT);
        let port = FIRST + u16::try_from(number).unwrap_or_default();
        // A socket that was bound to look would be inherited by a process that another thread is just starting, and
        // keep the port taken until that process runs its program.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return port;
        }
    }
}
