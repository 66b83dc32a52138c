//! The relay by TLS, with certificates that are made for each test.

use std::sync::Arc;

use learner::telemetry::{Feed, Heard, Relay, RelayError, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::server::{Manner, Server};

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.pem().into_bytes()
    }

    fn signed(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate, key)
    }

    /// A relay that is known by `name`, and asks who comes for a certificate.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a root");
        let clients = WebPkiClientVerifier::builder(Arc::new(roots));
        let (certificate, key) = self.signed(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn tls(&self, ca: &Self, is_known: bool) -> Option<Tls> {
        let (certificate, key) = self.signed("client");
        let pem = (
            certificate.pem().into_bytes(),
            key.serialize_pem().into_bytes(),
        );
        Some(Tls {
            ca: ca.pem(),
            identity: is_known.then_some(pem),
        })
    }
}

async fn serving(acceptor: TlsAcceptor) -> Server {
    let accept = move |socket: TcpStream| {
        let acceptor = acceptor.clone();
        // Who is turned away has nothing to say to the server.
        async move { acceptor.accept(socket).await.ok() }
    };
    Server::over(&[Manner::Well], accept).await
}

async fn first(server: &Server, tls: Option<Tls>) -> Result<Option<Heard>, RelayError> {
    let relay = Relay {
        address: server.address.to_string(),
        tls,
        feed: Feed::All,
    };
    let mut all = Vec::new();
    let done = Notify::new();
    let mut sink = |one| {
        all.push(one);
        done.notify_one();
    };
    relay.listen(done.notified(), &mut sink).await?;
    Ok(all.into_iter().next())
}

#[tokio::test]
async fn a_relay_that_is_signed_for_is_listened_to_and_no_other() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = serving(ours.acceptor("127.0.0.1")).await;
    let heard = first(&server, ours.tls(&ours, true)).await.expect("known");
    assert!(matches!(heard, Some(Heard::Message(_))), "{heard:?}");
    // Signed by somebody else; without TLS; unknown to it.
    for tls in [
        ours.tls(&other, true),
        None,
        ours.tls(&ours, false),
        other.tls(&ours, true),
    ] {
        first(&server, tls).await.expect_err("nothing is heard");
    }
    let elsewhere = serving(ours.acceptor("10.9.8.7")).await;
    let error = first(&elsewhere, ours.tls(&ours, true))
        .await
        .expect_err("another name");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn certificates_that_are_none_are_an_error_and_are_not_shown() {
    let tls = Tls {
        ca: b"secret".to_vec(),
        identity: Some((b"secret".to_vec(), b"secret".to_vec())),
    };
    assert!(!format!("{tls:?}").contains("115"), "{tls:?}");
    let server = serving(Authority::new().acceptor("127.0.0.1")).await;
    let error = first(&server, Some(tls))
        .await
        .expect_err("no certificates");
    assert!(!error.to_string().contains("secret"), "{error}");
}
