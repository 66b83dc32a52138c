//! KubeArmor's alerts, as its relay tells them all the time.
//!
//! They are heard on a thread of its own, and wait in a basket ([`basket`]) until the agent's loop takes
//! them, at every flush ([`ear`]). What was refused, and what was done and is judged, is put into the run of its
//! container, as if it had been seen here. On a node of a cluster it is not known here what is judged: what
//! was done is hearsay there, and the job judges it. Time in which nothing was heard is kept as a gap of all
//! that ran.

mod basket;
mod ear;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::config::BadConfig;
use crate::telemetry::{CertProvider, Feed, Relay, RelayError, TLS_CERT_PATH, Tls};

pub(super) use ear::Ear;

/// Where KubeArmor's alerts are heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KubeArmor {
    /// `HOST:PORT` of the relay, or of the node's own KubeArmor; null: see [`Relay::address`].
    pub grpc: Option<String>,
    /// By TLS.
    pub secure: bool,
    /// The directory with `ca.crt`, and with what [`Tls::read`] says.
    pub tls_cert_path: PathBuf,
    /// Where the certificate comes from that the relay may ask for.
    pub tls_cert_provider: CertProvider,
}

impl Default for KubeArmor {
    fn default() -> Self {
        Self {
            grpc: None,
            secure: false,
            tls_cert_path: TLS_CERT_PATH.into(),
            tls_cert_provider: CertProvider::External,
        }
    }
}

impl KubeArmor {
    pub(super) fn check(&self) -> Result<(), BadConfig> {
        if self.grpc.as_ref().is_some_and(String::is_empty) {
            let why = "kubearmor.grpc: HOST:PORT is needed; leave it out for $KUBEARMOR_SERVICE, or the Service \
                       in the cluster";
            return Err(BadConfig::Value(why));
        }
        Ok(())
    }

    fn relay(&self) -> Result<Relay, RelayError> {
        let read = || Tls::read(&self.tls_cert_path, self.tls_cert_provider);
        let tls = self.secure.then(read);
        Ok(Relay {
            address: Relay::address(self.grpc.as_deref()),
            tls: tls.transpose()?,
            feed: Feed::Alerts,
        })
    }
}
