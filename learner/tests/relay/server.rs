//! A server that speaks the protocol of KubeArmor's relay, well and badly.
//!
//! The bytes of messages are put together here by the numbers that KubeArmor's protobuf publishes, not by
//! the library's own types.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use learner::telemetry::MAX_LINE;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A field of protobuf that holds text.
fn text(number: u32, value: &str) -> Vec<u8> {
    let mut field = varint(u64::from(number << 3 | 2));
    field.extend(varint(value.len() as u64));
    field.extend(value.as_bytes());
    field
}

/// A field that holds a number.
fn number(number: u32, value: i64) -> Vec<u8> {
    let mut field = varint(u64::from(number << 3));
    field.extend(varint(value.cast_unsigned()));
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// What alerts tell of.
#[derive(Clone, Debug)]
pub(crate) struct Tale {
    pub(crate) namespace: String,
    /// Kind and name.
    pub(crate) owner: (&'static str, &'static str),
    pub(crate) image: String,
    pub(crate) container_id: String,
    /// As RFC 3339, to the microsecond.
    pub(crate) at: String,
    pub(crate) program: &'static str,
    pub(crate) path: &'static str,
    pub(crate) tty: &'static str,
    /// Action and result.
    pub(crate) end: (&'static str, &'static str),
    /// Told after it.
    pub(crate) also: Vec<Tale>,
}

impl Default for Tale {
    fn default() -> Self {
        Self {
            namespace: "shop".to_owned(),
            owner: ("Deployment", "web"),
            image: "web:1".to_owned(),
            container_id: "5d1f".to_owned(),
            at: "2026-11-28T01:02:03.000001Z".to_owned(),
            program: "/program",
            path: "/etc/x",
            tty: "pts0",
            end: ("Audit", "Passed"),
            also: Vec::new(),
        }
    }
}

/// `feeder.Alert`, each field by its number.
fn alert(tale: &Tale) -> Vec<u8> {
    event(tale, "MatchedPolicy", "File", 0)
}

/// KubeArmor drops the container's alerts for 30 seconds.
fn threshold(tale: &Tale) -> Vec<u8> {
    event(tale, "SystemEvent", "AlertThreshold", 30)
}

fn event(tale: &Tale, kind: &str, operation: &str, dropping: i64) -> Vec<u8> {
    let (ref_, name) = tale.owner;
    let owner = [text(1, ref_), text(2, name), text(3, &tale.namespace)].concat();
    let owner = String::from_utf8(owner).expect("text");
    [
        number(1, 1_700_000_000),
        text(2, &tale.at),
        text(3, "default"),
        text(4, "node"),
        text(5, &tale.namespace),
        text(31, &owner),
        text(6, "web-1"),
        text(29, "app=web"),
        text(7, &tale.container_id),
        text(8, name),
        text(24, &tale.image),
        number(12, -2),
        text(25, "/parent"),
        text(26, tale.program),
        text(13, "DefaultPosture"),
        text(17, kind),
        text(18, &format!("{} a", tale.program)),
        text(19, operation),
        text(20, tale.path),
        text(21, "lsm=FILE_OPEN"),
        text(28, "BPFLSM"),
        text(22, tale.end.0),
        text(23, tale.end.1),
        text(32, "/cwd/"),
        text(33, tale.tty),
        number(34, 10),
        number(35, dropping),
        text(999, "a newer field"),
    ]
    .concat()
}

/// `feeder.Log`.
fn log() -> Vec<u8> {
    let owner = [text(1, "Deployment"), text(2, "web")].concat();
    let owner = String::from_utf8(owner).expect("text");
    [
        number(1, 1_700_000_000),
        text(2, "2026-11-28T01:02:03.000001Z"),
        text(5, "shop"),
        text(24, &owner),
        text(6, "web-1"),
        text(23, "app=web"),
        text(7, "5d1f"),
        text(8, "web"),
        text(19, "web:1"),
        number(12, 100),
        text(20, "/parent"),
        text(21, "/program"),
        text(13, "ContainerLog"),
        text(14, "/program a"),
        text(15, "File"),
        text(16, "/etc/x"),
        text(17, "syscall=SYS_OPEN flags=O_RDONLY"),
        text(18, "Passed"),
        text(25, "/cwd/"),
        text(26, "pts0"),
    ]
    .concat()
}

/// As gRPC frames a message: not compressed, four bytes of length.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

/// How a server behaves on its n-th connection, from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// One alert and one log, then silence.
    Well,
    /// An alert, and no answer at all to who wants logs, as a server in Go.
    OnlyAlerts,
    /// The streams end after a message.
    Ends,
    /// The connection is dropped after a message.
    Drops,
    /// What is framed is no protobuf.
    Malformed,
    /// A message that is longer than any.
    Huge,
    /// Alerts without end.
    Endless,
    /// A few alerts, each a while after the one before.
    Slow,
    /// An alert, and then that alerts are dropped.
    Throttled,
    /// An alert, and then one of a type that nobody knows.
    Unreadable,
    /// Another number than was asked.
    Unwell,
    /// Not HTTP/2.
    Garbage,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Messages that were sent, of an endless stream.
    pub(crate) sent: Arc<AtomicUsize>,
    /// Told of every connection but the first.
    pub(crate) again: Arc<Notify>,
}

impl Server {
    /// The last manner is that of all further connections.
    pub(crate) async fn with(manners: &'static [Manner]) -> Self {
        Self::telling(manners, Tale::default()).await
    }

    /// As [`Server::with`]; its alerts tell of this.
    pub(crate) async fn telling(manners: &'static [Manner], tale: Tale) -> Self {
        Self::at("127.0.0.1:0", manners, tale).await
    }

    /// As [`Server::telling`], at this address.
    pub(crate) async fn at(address: &str, manners: &'static [Manner], tale: Tale) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        Self::on(listener, manners, tale, |socket| {
            std::future::ready(Some(socket))
        })
    }

    /// As [`Server::telling`], over what is made of each connection, if anything.
    pub(crate) async fn over<S, F>(
        manners: &'static [Manner],
        tale: Tale,
        accept: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, manners, tale, accept)
    }

    fn on<S, F>(
        listener: TcpListener,
        manners: &'static [Manner],
        tale: Tale,
        accept: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send,
    {
        let address = listener.local_addr().expect("an address");
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = sent.clone();
        let again = Arc::new(Notify::new());
        let told = again.clone();
        let tale = Arc::new(tale);
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.expect("a connection");
                let manner = manners[connection.min(manners.len() - 1)];
                if connection > 0 {
                    told.notify_one();
                }
                if let Some(socket) = accept(socket).await {
                    tokio::spawn(serve(socket, manner, tale.clone(), counter.clone()));
                }
            }
        });
        Self {
            address,
            sent,
            again,
        }
    }
}

async fn serve<S>(mut socket: S, manner: Manner, tale: Arc<Tale>, sent: Arc<AtomicUsize>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if matches!(manner, Manner::Garbage) {
        socket.write_all(b"SSH-2.0-odd\r\n").await.ok();
        return;
    }
    let dropped = Arc::new(Notify::new());
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    loop {
        tokio::select! {
            () = dropped.notified() => return,
            next = connection.accept() => {
                let Some(Ok((request, respond))) = next else {
                    return;
                };
                let path = request.uri().path().to_owned();
                let (body, as_before) = (request.into_body(), (tale.clone(), sent.clone(), dropped.clone()));
                tokio::spawn(answer(path, body, respond, manner, as_before));
            }
        }
    }
}

async fn answer(
    path: String,
    mut body: h2::RecvStream,
    mut respond: SendResponse<Bytes>,
    manner: Manner,
    (tale, sent, dropped): (Arc<Tale>, Arc<AtomicUsize>, Arc<Notify>),
) {
    let mut asked = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).ok();
        asked.extend(data);
    }
    let headers = Response::builder().header("content-type", "application/grpc");
    let open = || {
        respond
            .send_response(headers.body(()).expect("headers"), false)
            .expect("a stream")
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    match (path.as_str(), manner) {
        ("/feeder.LogService/HealthCheck", _) => {
            // Both have one number, at the same place.
            let mut reply = asked[5..].to_vec();
            if matches!(manner, Manner::Unwell) {
                reply = number(1, 1);
            }
            let mut stream = open();
            stream
                .send_data(framed(&reply).into(), false)
                .expect("sent");
            stream.send_trailers(trailers).expect("sent");
        }
        ("/feeder.LogService/WatchLogs", Manner::Well) => {
            assert_eq!(asked, framed(&text(1, "all")));
            let mut stream = open();
            stream
                .send_data(framed(&log()).into(), false)
                .expect("sent");
            std::future::pending::<()>().await;
        }
        ("/feeder.LogService/WatchAlerts", manner) => {
            assert_eq!(asked, framed(&text(1, "all")));
            let mut stream = open();
            let first = match manner {
                Manner::Malformed => framed(&[0xff; 40]),
                Manner::Huge => framed(&text(20, &"a".repeat(MAX_LINE))),
                _ => framed(&alert(&tale)),
            };
            // Half of it, and after a while the rest.
            let (one, other) = first.split_at(first.len() / 2);
            stream
                .send_data(Bytes::copy_from_slice(one), false)
                .expect("sent");
            tokio::task::yield_now().await;
            stream.send_data(Bytes::copy_from_slice(other), false).ok();
            for tale in &tale.also {
                stream.send_data(framed(&alert(tale)).into(), false).ok();
            }
            match manner {
                Manner::Ends => stream.send_trailers(trailers).expect("sent"),
                Manner::Drops => {
                    // Once it has been taken.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    dropped.notify_one();
                }
                Manner::Slow => {
                    for _ in 0..3 {
                        tokio::time::sleep(Duration::from_millis(400)).await;
                        stream.send_data(framed(&alert(&tale)).into(), false).ok();
                    }
                    std::future::pending().await
                }
                Manner::Throttled => {
                    stream
                        .send_data(framed(&threshold(&tale)).into(), false)
                        .ok();
                    std::future::pending().await
                }
                Manner::Unreadable => {
                    let odd = event(&tale, "Surprise", "File", 0);
                    stream.send_data(framed(&odd).into(), false).ok();
                    std::future::pending().await
                }
                Manner::Endless => loop {
                    stream.reserve_capacity(1 << 14);
                    let capacity =
                        std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    if !matches!(capacity, Some(Ok(_))) {
                        return;
                    }
                    stream.send_data(framed(&alert(&tale)).into(), false).ok();
                    sent.fetch_add(1, Ordering::Relaxed);
                },
                _ => std::future::pending().await,
            }
        }
        _ => std::future::pending().await,
    }
}
