//! `learner agent`.

use std::io;
use std::path::{Path, PathBuf};

use learner::agent::config::{Config, DEFAULT_SOCKET, LogFormat};
use learner::agent::{self, Places};

use crate::Verdict;
use crate::args::{Agent, Global, LogFormatName};
use crate::failure::Failure;
use crate::selection::store_dir;
use crate::talk;

/// Where the configuration is, if none is named.
const CONFIG: &str = "/etc/learner/agent.yaml";

pub(crate) fn run(global: &Global, args: &Agent) -> Result<Verdict, Failure> {
    let read = read(args.config.as_deref());
    let configured = read
        .as_ref()
        .map_or(LogFormat::Text, |config| config.log_format);
    talk::log(global, args.log_format.map_or(configured, LogFormat::from));
    let config = with_node(read?, args);
    if args.check {
        tracing::info!("the configuration is understood");
        return Ok(Verdict::Done);
    }
    let store = match (&global.store, &config.store) {
        (None, Some(configured)) => configured.clone(),
        _ => store_dir(global)?,
    };
    let socket = global.socket.clone().or_else(|| config.socket.clone());
    let places = Places {
        store,
        socket: socket.unwrap_or_else(|| DEFAULT_SOCKET.into()),
    };
    let reload = || match self::read(args.config.as_deref()) {
        Ok(config) => Some(with_node(config, args)),
        Err(failure) => {
            tracing::error!("the configuration stays as it is: {failure}");
            None
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(agent::run(config, &places, &reload))?;
    // Work on the store that is still under way is for peers who are gone.
    runtime.shutdown_background();
    Ok(Verdict::Done)
}

/// What is told of the cluster on the command line comes before the configuration.
fn with_node(mut config: Config, args: &Agent) -> Config {
    if args.cluster {
        config.cluster.get_or_insert_default();
    }
    if let (Some(cluster), Some(node)) = (&mut config.cluster, &args.node) {
        cluster.node = Some(node.clone());
    }
    config
}

/// The configuration that is named, or that of the system, or none.
fn read(named: Option<&Path>) -> Result<Config, Failure> {
    let path = named.map_or_else(|| PathBuf::from(CONFIG), Path::to_owned);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => String::new(),
        read => read.map_err(|error| Failure::file(&path, "reading", error))?,
    };
    Config::parse(&text).map_err(|source| Failure::Config { path, source })
}

impl From<LogFormatName> for LogFormat {
    fn from(name: LogFormatName) -> Self {
        match name {
            LogFormatName::Text => Self::Text,
            LogFormatName::Json => Self::Json,
        }
    }
}
