//! The users that the API server knows from the start.

use std::fs::File;
use std::io::Read as _;

use crate::Error;

/// Bearer tokens of the users that the API server knows from the start.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) admin: String,
    pub(crate) unprivileged: String,
    pub(crate) controller_manager: String,
    pub(crate) scheduler: String,
    pub(crate) kwok: String,
    pub(crate) kubelet: String,
    pub(crate) dns: String,
}

impl Tokens {
    pub(crate) fn random() -> Result<Self, Error> {
        let mut random = File::open("/dev/urandom").map_err(Error::io("open /dev/urandom"))?;
        let mut token = || {
            let mut bytes = [0; 16];
            random.read_exact(&mut bytes).map_err(Error::io("read /dev/urandom"))?;
            Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
        };
        Ok(Self {
            admin: token()?,
            unprivileged: token()?,
            controller_manager: token()?,
            scheduler: token()?,
            kwok: token()?,
            kubelet: token()?,
            dns: token()?,
        })
    }

    /// The lines of `--token-auth-file`: token, user, uid, groups. Every component has a user of its own, so that the
    /// audit log tells them apart, and the same rights, because what they may do is not under test.
    pub(crate) fn file(&self) -> String {
        let line = |token: &str, user: &str, group: &str| format!("{token},{user},{user},{group}\n");
        line(&self.admin, "admin", "system:masters")
            + &line(&self.unprivileged, "unprivileged", "")
            + &line(
                &self.controller_manager,
                "system:kube-controller-manager",
                "system:masters",
            )
            + &line(&self.scheduler, "system:kube-scheduler", "system:masters")
            + &line(&self.kwok, "kwok", "system:masters")
            + &line(&self.kubelet, "kubelet", "system:masters")
            + &line(&self.dns, "dns", "system:masters")
    }
}
