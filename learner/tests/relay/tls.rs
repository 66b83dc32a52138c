//! The relay by TLS, with certificates that are made for each test.

use std::path::Path;

use learner::telemetry::{CertProvider, Feed, Heard, Identity, Relay, RelayError, Tls};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::authority::Authority;
use crate::server::{Manner, Server, Tale};

/// As KubeArmor's operator makes it: its names are PrintableStrings, and its key is RSA, as PKCS#1.
const KUBEARMORS: (&[u8], &[u8]) = (include_bytes!("ca.crt"), include_bytes!("ca.key"));

async fn serving(acceptor: TlsAcceptor) -> Server {
    let accept = move |socket: TcpStream| {
        let acceptor = acceptor.clone();
        // Who is turned away has nothing to say to the server.
        async move { acceptor.accept(socket).await.ok() }
    };
    Server::over(&[Manner::Well], Tale::default(), accept).await
}

/// One that is known by its address, and asks for a certificate of the same authority.
async fn of(authority: &Authority) -> Server {
    serving(authority.acceptor("127.0.0.1", authority.der())).await
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

/// With a certificate that `signer` has signed.
fn external(ca: &Authority, signer: &Authority) -> Option<Tls> {
    let (certificate, key) = signer.signed("client");
    Some(Tls {
        ca: ca.pem(),
        identity: Some(Identity::External {
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }),
    })
}

/// With a certificate that is made, by this key.
fn own(ca: Vec<u8>, ca_key: Vec<u8>) -> Option<Tls> {
    let identity = Some(Identity::Own { ca_key });
    Some(Tls { ca, identity })
}

#[tokio::test]
async fn a_relay_that_is_signed_for_is_listened_to_and_no_other() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = of(&ours).await;
    let heard = first(&server, external(&ours, &ours)).await.expect("known");
    assert!(matches!(heard, Some(Heard::Message(_))), "{heard:?}");
    let nobody = Tls {
        ca: ours.pem(),
        identity: None,
    };
    // Signed by somebody else; without TLS; unknown to it.
    for tls in [
        external(&other, &ours),
        None,
        Some(nobody),
        external(&ours, &other),
    ] {
        first(&server, tls).await.expect_err("nothing is heard");
    }
    let elsewhere = serving(ours.acceptor("10.9.8.7", ours.der())).await;
    let error = first(&elsewhere, external(&ours, &ours))
        .await
        .expect_err("another name");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_made_is_one_of_the_authority_whose_key_signs_it() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = of(&ours).await;
    let heard = first(&server, own(ours.pem(), ours.key_pem())).await;
    assert!(matches!(heard, Ok(Some(Heard::Message(_)))), "{heard:?}");
    for tls in [
        own(ours.pem(), other.key_pem()),
        own(other.pem(), other.key_pem()),
    ] {
        first(&server, tls).await.expect_err("nothing is heard");
    }
}

#[tokio::test]
async fn kubearmors_own_authority_signs_too() {
    let ours = Authority::new();
    let (ca, ca_key) = KUBEARMORS;
    let root = CertificateDer::from_pem_slice(ca).expect("a certificate");
    let server = serving(ours.acceptor("127.0.0.1", root)).await;
    // The first one signs, and the relay's own may be signed by any of them.
    let both = [ca, &ours.pem()].concat();
    let heard = first(&server, own(both, ca_key.to_vec())).await;
    assert!(matches!(heard, Ok(Some(Heard::Message(_)))), "{heard:?}");
}

#[tokio::test]
async fn certificates_that_are_none_are_an_error_and_are_not_shown() {
    let secret = || b"secret".to_vec();
    let tls = Tls {
        ca: secret(),
        identity: Some(Identity::External {
            certificate: secret(),
            key: secret(),
        }),
    };
    assert!(!format!("{tls:?}").contains("115"), "{tls:?}");
    let ours = Authority::new();
    let server = of(&ours).await;
    let no_key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    for tls in [
        Some(tls),
        own(secret(), ours.key_pem()),
        own(ours.pem(), secret()),
        own(ours.pem(), no_key.into()),
        own(no_key.into(), ours.key_pem()),
    ] {
        let error = first(&server, tls).await.expect_err("no certificates");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }
}

#[test]
fn certificates_are_read_by_karmors_names_and_those_for_logs_before_others() {
    let dir = TempDir::new().expect("a directory");
    let write = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, name).expect("written");
    };
    let read = |provider| Tls::read(dir.path(), provider);
    let lacks = |provider, name: &str| {
        let lacking = dir.path().join(name);
        let read = read(provider);
        let is_that = |path: &Path| path == lacking;
        assert!(
            matches!(&read, Err(RelayError::Certificate { path, .. }) if is_that(path)),
            "{read:?}"
        );
    };
    let (own, external) = (CertProvider::Own, CertProvider::External);
    lacks(own, "ca.crt");
    lacks(external, "ca.crt");
    write("ca.crt");
    lacks(own, "ca.key");
    let tls = read(external).expect("a CA");
    assert!(tls.ca == b"ca.crt" && tls.identity.is_none());
    write("client.crt");
    lacks(external, "client.key");
    write("client.key");
    write("ca.key");
    let is = |provider, prefix: &str| {
        let name = |name: &str| format!("{prefix}{name}").into_bytes();
        let identity = match provider {
            CertProvider::Own => Identity::Own {
                ca_key: name("ca.key"),
            },
            CertProvider::External => Identity::External {
                certificate: name("client.crt"),
                key: name("client.key"),
            },
        };
        let tls = Tls {
            ca: name("ca.crt"),
            identity: Some(identity),
        };
        assert!(read(provider) == Ok(tls), "{provider:?} {prefix}");
    };
    is(own, "");
    is(external, "");
    write("log/ca.crt");
    lacks(own, "log/ca.key");
    write("log/ca.key");
    write("log/client.crt");
    write("log/client.key");
    is(own, "log/");
    is(external, "log/");
}
