//! KubeArmor's relay, over gRPC: its alerts and telemetry as they come.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::MAX_LINE;
use super::feeder::{Alert, Log, NonceMessage, ReplyMessage, RequestMessage, method};
use super::message::Message;
use super::tls::Tls;
use crate::observation::Moment;
use crate::promotion::{Interruption, Missed};
use crate::visible::visible;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it waits before it connects again, at first and at most; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a connection is idle before the kernel asks whether the other side is there. A ping of HTTP/2
/// would be refused: servers in Go take one in five minutes.
const IDLE: Duration = Duration::from_secs(30);
/// Messages that wait to be taken; then the relay has to wait, and drops its own.
const QUEUE: usize = 256;
/// Longest text of the other side that is taken over, bytes.
const MAX_CAUSE: usize = 160;

/// Where the relay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// `HOST:PORT`.
    pub address: String,
    /// For a relay that wants it.
    pub tls: Option<Tls>,
    /// What is listened to.
    pub feed: Feed,
}

/// What a relay is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Alerts, as `WatchAlerts` gives them.
    Alerts,
    /// Telemetry too, as `WatchLogs` gives it.
    All,
}

/// What is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Box<Message>),
    /// For a while nothing could be heard.
    Interrupted(Interruption),
}

/// What comes of a relay that is followed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// From now on it is heard.
    Opened,
    /// A message.
    Message(Box<Message>),
    /// It is not heard any more, or still is not.
    Closed(Missed),
}

/// Why nothing can be heard from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// No address.
    #[error("{address}: not the HOST:PORT of a relay of KubeArmor: {cause}")]
    Address {
        /// What stands for one.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A certificate or key cannot be had.
    #[error("{}: reading failed: {cause}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        cause: String,
    },
    /// A client's certificate cannot be made.
    #[error("making a certificate for KubeArmor's relay failed: {cause}")]
    Signing {
        /// What is wrong with the CA's.
        cause: String,
    },
    /// Nobody is there, or not with these certificates.
    #[error("{address}: connecting to KubeArmor's relay failed: {cause}")]
    Connect {
        /// The address.
        address: String,
        /// Why.
        cause: String,
    },
    /// Somebody is there, and does not answer as KubeArmor does.
    #[error("{address}: what answers is not KubeArmor's relay, or is not well: {cause}")]
    Unwell {
        /// The address.
        address: String,
        /// How it answers.
        cause: String,
    },
}

impl Relay {
    /// The address that is told, if it is not empty, else `$KUBEARMOR_SERVICE`, else in a pod that of
    /// KubeArmor's Service in the cluster, else the port of karmor on this host.
    pub fn address(told: Option<&str>) -> String {
        let named = std::env::var("KUBEARMOR_SERVICE").ok();
        let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let told = told.map(str::to_owned).filter(|told| !told.is_empty());
        told.or(named.filter(|named| !named.is_empty()))
            .unwrap_or_else(|| match is_pod {
                true => "kubearmor.kubearmor:32767".to_owned(),
                false => "localhost:32767".to_owned(),
            })
    }

    /// Hands over what is heard, for good, and when nothing can be: also where it never could. What was said
    /// between [`Followed::Closed`] and the next [`Followed::Opened`] is lost. It is tried again after a
    /// second, then twice as long, up to half a minute; a stream that lasted so long begins anew with a second.
    pub async fn follow(&self, sink: &mut dyn FnMut(Followed)) {
        let (least, most) = PAUSE;
        let mut pause = least;
        loop {
            let begun = tokio::time::Instant::now();
            let why = match self.open().await {
                Ok(mut streams) => {
                    sink(Followed::Opened);
                    loop {
                        match streams.next().await {
                            Ok(message) => sink(Followed::Message(Box::new(message))),
                            Err(why) => break why,
                        }
                    }
                }
                Err(error) => Missed::Broken(error.to_string()),
            };
            sink(Followed::Closed(why));
            if begun.elapsed() > most {
                pause = least;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(most);
        }
    }

    /// Hands over what is heard, until `until` is done.
    ///
    /// A stream that ends or breaks is opened again, as often as it takes. The time from the last message
    /// before that to the moment when it is open again is handed over as an interruption: what was said in
    /// it is lost. A message of more than [`MAX_LINE`] bytes, or that is none, breaks the stream.
    ///
    /// # Errors
    /// [`RelayError`] if the streams cannot be opened in the first place.
    pub async fn listen(
        &self,
        until: impl Future<Output = ()>,
        sink: &mut dyn FnMut(Heard),
    ) -> Result<(), RelayError> {
        let mut until = pin!(until);
        let mut streams = tokio::select! {
            biased;
            () = &mut until => return Ok(()),
            opened = self.open() => opened?,
        };
        let mut last = now();
        loop {
            let why = loop {
                tokio::select! {
                    biased;
                    () = &mut until => return Ok(()),
                    next = streams.next() => match next {
                        Ok(message) => {
                            last = now();
                            sink(Heard::Message(Box::new(message)));
                        }
                        Err(why) => break why,
                    },
                }
            };
            let from = last;
            let opened = tokio::select! {
                biased;
                () = &mut until => None,
                opened = self.open_again() => Some(opened),
            };
            last = now();
            let to = last;
            sink(Heard::Interrupted(Interruption { from, to, why }));
            match opened {
                Some(opened) => streams = opened,
                None => return Ok(()),
            }
        }
    }

    async fn open_again(&self) -> Streams {
        let (mut pause, most) = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.open().await {
                Ok(streams) => return streams,
                Err(error) => tracing::debug!("{error}"),
            }
            pause = (pause * 2).min(most);
        }
    }

    async fn open(&self) -> Result<Streams, RelayError> {
        let address = || visible(&self.address);
        let unwell = |status: Status| RelayError::Unwell {
            address: address(),
            cause: said(&status),
        };
        let endpoint = self.endpoint()?;
        let channel = endpoint.connect().await.map_err(|error| {
            let cause = reasons(&error);
            RelayError::Connect {
                address: address(),
                cause,
            }
        })?;
        let asked = 7_321;
        let nonce = NonceMessage { nonce: asked };
        let mut grpc = ready(&channel).await.map_err(unwell)?;
        let path = PathAndQuery::from_static(method::HEALTH_CHECK);
        let codec: ProstCodec<NonceMessage, ReplyMessage> = ProstCodec::default();
        let reply = grpc.unary(Request::new(nonce), path, codec);
        let reply = tokio::time::timeout(CONNECT, reply).await;
        let reply = reply.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        let ReplyMessage { retval } = reply.map_err(unwell)?.into_inner();
        if retval != asked {
            return Err(RelayError::Unwell {
                address: address(),
                cause: format!("it was asked with {asked}, and answered {retval}"),
            });
        }
        let (told, told_by) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::<Alert>(
            channel.clone(),
            method::WATCH_ALERTS,
            told.clone(),
        ));
        if self.feed == Feed::All {
            tasks.spawn(follow::<Log>(channel, method::WATCH_LOGS, told));
        }
        Ok(Streams {
            told_by,
            _tasks: tasks,
        })
    }

    fn endpoint(&self) -> Result<Endpoint, RelayError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let failed = |error: tonic::transport::Error| RelayError::Address {
            address: visible(&self.address),
            cause: reasons(&error),
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address))
            .map_err(failed)?
            .connect_timeout(CONNECT)
            .tcp_keepalive(Some(IDLE))
            .tcp_keepalive_interval(Some(IDLE / 3))
            .tcp_keepalive_retries(Some(3));
        match &self.tls {
            Some(tls) => endpoint.tls_config(tls.config()?).map_err(failed),
            None => Ok(endpoint),
        }
    }
}

/// Both streams, until one of them is over.
struct Streams {
    told_by: mpsc::Receiver<Result<Message, Missed>>,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Streams {
    async fn next(&mut self) -> Result<Message, Missed> {
        self.told_by.recv().await.unwrap_or(Err(Missed::Ended))
    }
}

/// Hands on what a stream says, and at last why it is over. A server in Go answers a request for a stream
/// with its first message: to wait for the answers of both would be to wait for both to say something.
async fn follow<M>(
    channel: Channel,
    method: &'static str,
    told: mpsc::Sender<Result<Message, Missed>>,
) where
    M: prost::Message + Default + 'static,
    Message: From<M>,
{
    let over = async {
        let mut stream = watch::<M>(&channel, method).await?;
        while let Some(message) = stream.message().await? {
            if told.send(Ok(Message::from(message))).await.is_err() {
                break;
            }
        }
        Ok::<(), Status>(())
    };
    let why = match over.await {
        Ok(()) => Missed::Ended,
        Err(status) => Missed::Broken(said(&status)),
    };
    // Nobody listens any more where that fails.
    told.send(Err(why)).await.ok();
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MAX_LINE);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(reasons(&error)))?;
    Ok(grpc)
}

async fn watch<M>(channel: &Channel, method: &'static str) -> Result<Streaming<M>, Status>
where
    M: prost::Message + Default + 'static,
{
    let mut grpc = ready(channel).await?;
    let filter = "all".to_owned();
    let codec: ProstCodec<RequestMessage, M> = ProstCodec::default();
    let request = Request::new(RequestMessage { filter });
    let path = PathAndQuery::from_static(method);
    let stream = grpc.server_streaming(request, path, codec).await?;
    Ok(stream.into_inner())
}

fn now() -> Moment {
    Moment(jiff::Timestamp::now().as_microsecond())
}

/// An error with what is behind it: tonic's own says little.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    short(&text)
}

/// What the other side answered, in its words.
fn said(status: &Status) -> String {
    short(&format!("{}: {}", status.code(), status.message()))
}

fn short(text: &str) -> String {
    visible(&text[..text.floor_char_boundary(MAX_CAUSE)])
}
