//! A webhook that answers no, and a proxy that has too much to do: each says so, and nothing is half-done.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::world::Connected;

/// A request or an answer of HTTP/1.1: its head, line by line, and its body.
struct Message {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    fn read(from: &mut impl Read) -> Option<Self> {
        let mut from = BufReader::new(from);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok().filter(|read| *read > 0)?;
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let mut lines = head.iter().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(found.1.to_owned())
        };
        let mut body = Vec::new();
        if let Some(length) = header("content-length") {
            body = vec![0; length.parse().ok()?];
            from.read_exact(&mut body).ok()?;
        } else if head[0].starts_with("HTTP/") {
            from.read_to_end(&mut body).ok()?;
        }
        Some(Self { head, body })
    }
}

fn answer(to: &mut impl Write, status: &str, more: &str, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    let _ = to.write_all(head.as_bytes());
    let _ = to.write_all(body.as_bytes());
    let _ = to.flush();
}

/// Serves each connection on a thread of its own, until the test ends.
fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(socket));
        }
    });
    port
}

impl Connected {
    /// Whoever writes one of these in the namespace, other than as a trial, is told no.
    pub(crate) async fn webhook_that_says_no(&self, namespace: &str, group: &str, resource: &str) {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a certificate");
        let config = Arc::new(config);
        let port = serve(move |socket| {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            let mut stream = StreamOwned::new(session, socket);
            let Some(asked) = Message::read(&mut stream) else {
                return;
            };
            let asked: Value = serde_json::from_slice(&asked.body).expect("a review");
            let review = json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {
                    "uid": asked["request"]["uid"], "allowed": false,
                    "status": {"code": 403, "message": "not in this namespace"},
                },
            });
            answer(&mut stream, "200 OK", "", &review);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
        let bundle = base64::engine::general_purpose::STANDARD.encode(cert.pem());
        let webhook = json!({
            "metadata": {"name": format!("no-{namespace}")},
            "webhooks": [{
                "name": "no.example.org", "failurePolicy": "Fail", "timeoutSeconds": 5,
                "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/"), "caBundle": bundle},
                "namespaceSelector": {"matchLabels": {"no": namespace}},
                "rules": [{
                    "apiGroups": [group], "apiVersions": ["*"],
                    "resources": [resource], "operations": ["CREATE", "UPDATE"],
                }],
            }],
        });
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.admin());
        let webhook = serde_json::from_value(webhook).expect("a webhook");
        let made = api.create(&PostParams::default(), &webhook).await;
        made.expect("a webhook");
        self.label(namespace, "no", namespace).await;
        // The server hears of it by a watch of its own.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }

    /// A proxy in front of the API server, which lets everything through but what `is_too_much` says of the
    /// first line of a request: that is answered with 429. The user of the command line is `proxied`.
    pub(crate) fn proxy(&self, is_too_much: impl Fn(&str) -> bool + Send + Sync + 'static) -> Busy {
        let dir = self.server.path();
        let text = std::fs::read_to_string(dir.join("admin.kubeconfig")).expect("a kubeconfig");
        let known: Kubeconfig = serde_yaml::from_str(&text).expect("a kubeconfig");
        let cluster = known.clusters[0].cluster.clone().expect("a cluster");
        let real = cluster.server.expect("a server");
        let authority = cluster.certificate_authority_data.expect("an authority");
        let authority = base64::engine::general_purpose::STANDARD.decode(&authority);
        let authority = CertificateDer::from_pem_slice(&authority.expect("base64"));
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.expect("a certificate"))
            .expect("a root");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let address = real.trim_start_matches("https://").to_owned();
        let is_busy = Arc::new(AtomicBool::new(true));
        let busy = Arc::clone(&is_busy);
        let port = serve(move |mut socket| {
            let Some(asked) = Message::read(&mut socket) else {
                return;
            };
            if busy.load(Ordering::Relaxed) && is_too_much(&asked.head[0]) {
                let status = json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 429,
                    "reason": "TooManyRequests", "message": "slow down",
                    "details": {"retryAfterSeconds": 7},
                });
                answer(
                    &mut socket,
                    "429 Too Many Requests",
                    "retry-after: 7\r\n",
                    &status,
                );
                return;
            }
            let there = TcpStream::connect(&address).expect("the server");
            let name = ServerName::try_from("127.0.0.1").expect("a name");
            let session = ClientConnection::new(Arc::clone(&config), name).expect("a session");
            let mut stream = StreamOwned::new(session, there);
            let kept = asked.head.iter();
            let kept = kept.filter(|line| !line.to_lowercase().starts_with("connection:"));
            let head: Vec<&str> = kept.map(String::as_str).collect();
            let head = format!("{}\r\nconnection: close\r\n\r\n", head.join("\r\n"));
            stream.write_all(head.as_bytes()).expect("sent");
            stream.write_all(&asked.body).expect("sent");
            let mut whole = Vec::new();
            let _ = stream.read_to_end(&mut whole);
            let _ = socket.write_all(&whole);
        });
        let text = text.replace(&real, &format!("http://127.0.0.1:{port}"));
        std::fs::write(dir.join("proxied.kubeconfig"), text).expect("written");
        Busy { is_busy }
    }
}

/// A proxy that has too much to do.
pub(crate) struct Busy {
    is_busy: Arc<AtomicBool>,
}

impl Busy {
    /// It has not any more.
    pub(crate) fn end(&self) {
        self.is_busy.store(false, Ordering::Relaxed);
    }
}
