//! From the fields of a message to what was done.

use super::error::Unreadable;
use super::event::{Beside, Channel, Deed, Event, Gap, Throttle};
use super::message::Message;
use super::outcome::outcome;
use super::place::{program, resolved, with_slash, without_slash};
use super::whose::{names_somebody, whose};
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::Moment;
use crate::path::AbsPath;

/// How long alerts are dropped by default, in seconds.
const THROTTLE: i32 = 30;
/// `AT_FDCWD`: a relative path is relative to the working directory.
const AT_FDCWD: &str = "-100";

impl Event {
    /// What a message says. `is_runtime` tells the programs that set containers up.
    ///
    /// # Errors
    /// [`Unreadable`] for a message that nothing can be made of: it cannot even be counted to a run.
    pub fn of(message: &Message, is_runtime: fn(&AbsPath) -> bool) -> Result<Self, Unreadable> {
        match message.kind.as_str() {
            "ContainerLog" | "MatchedPolicy" => {}
            "HostLog" | "MatchedHostPolicy" => return Ok(Self::Beside(Beside::Host)),
            "MatchedNetworkPolicy" => return Ok(Self::Beside(Beside::Network)),
            "SystemEvent" if message.operation == "AlertThreshold" => return throttled(message),
            "SystemEvent" => return Ok(Self::Beside(Beside::System)),
            "" => return Err(Unreadable::Missing("Type")),
            other => return Err(Unreadable::field("Type", other, "is not known")),
        }
        let act = match message.operation.as_str() {
            "Process" => process(message, is_runtime)?,
            "File" => file(message, is_runtime)?,
            "Network" | "NetworkFirewall" | "NetworkLimit" => Act::Beside(Beside::Network),
            "Capabilities" => Act::Beside(Beside::Capabilities),
            "Syscall" | "Device" => Act::Beside(Beside::Syscall),
            "" => return Err(Unreadable::Missing("Operation")),
            other => return Err(Unreadable::field("Operation", other, "is not known")),
        };
        let (behavior, gap) = match act {
            Act::Beside(beside) => return Ok(Self::Beside(beside)),
            Act::Done(behavior) => (Some(behavior), None),
            Act::Partly(behavior, gap) => (Some(behavior), Some(gap)),
            Act::Unknown(gap) => (None, Some(gap)),
        };
        Ok(Self::Deed(Box::new(Deed {
            whose: whose(message)?,
            at: at(message)?,
            channel: channel(message)?,
            behavior,
            gap,
        })))
    }
}

/// What was done, as far as it is known.
enum Act {
    Done(Behavior),
    Partly(Behavior, Gap),
    Unknown(Gap),
    Beside(Beside),
}

fn throttled(message: &Message) -> Result<Event, Unreadable> {
    let at = at(message)?;
    let seconds = match message.dropping_alerts_interval {
        ..=0 => THROTTLE,
        seconds => seconds,
    };
    let whose = names_somebody(message)
        .then(|| whose(message))
        .transpose()?;
    Ok(Event::Throttled(Throttle {
        whose,
        at,
        until: Moment(at.0.saturating_add(i64::from(seconds) * 1_000_000)),
    }))
}

/// Whatever has a policy or an action is an alert, also where the type says that it is telemetry.
fn channel(message: &Message) -> Result<Channel, Unreadable> {
    let is_telemetry = message.kind == "ContainerLog"
        && message.policy_name.is_empty()
        && message.action.is_empty();
    if is_telemetry {
        return Ok(Channel::Telemetry);
    }
    let is_odd = |c: char| c.is_control() || c == '/';
    if message.policy_name.len() > 253 || message.policy_name.contains(is_odd) {
        let policy = &message.policy_name;
        return Err(Unreadable::field("PolicyName", policy, "is no name"));
    }
    Ok(Channel::Alert {
        policy: message.policy_name.clone(),
        denied: matches!(outcome(&message.result), Outcome::Failed(errno)
            if errno == "EACCES" || errno == "EPERM"),
    })
}

/// To the microsecond where that is told.
fn at(message: &Message) -> Result<Moment, Unreadable> {
    let Message {
        timestamp,
        updated_time,
        ..
    } = message;
    if !updated_time.is_empty() {
        let time: Result<jiff::Timestamp, _> = updated_time.parse();
        return match time {
            Ok(time) => Ok(Moment(time.as_microsecond())),
            Err(_) => Err(Unreadable::field(
                "UpdatedTime",
                updated_time,
                "is not a time as RFC 3339 has it",
            )),
        };
    }
    if *timestamp == 0 {
        return Err(Unreadable::Missing("UpdatedTime"));
    }
    match jiff::Timestamp::from_second(*timestamp) {
        Ok(time) => Ok(Moment(time.as_microsecond())),
        Err(_) => Err(Unreadable::field(
            "Timestamp",
            &timestamp.to_string(),
            "is in no year from -9999 to 9999",
        )),
    }
}

/// How an event was seen, and by what.
enum Means<'m> {
    /// A system call, with the rest of what is told of it.
    Syscall(&'m str, &'m str),
    /// A hook of the BPF LSM enforcer.
    Lsm(&'m str),
    Other,
}

impl<'m> Means<'m> {
    fn of(data: &'m str) -> Self {
        if let Some(rest) = data.strip_prefix("syscall=") {
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            return Self::Syscall(name, rest);
        }
        match data.strip_prefix("lsm=") {
            Some(rest) => Self::Lsm(rest.split(' ').next().unwrap_or(rest)),
            None => Self::Other,
        }
    }

    fn is_lsm(&self) -> bool {
        matches!(self, Self::Lsm(_))
    }
}

fn process(message: &Message, is_runtime: fn(&AbsPath) -> bool) -> Result<Act, Unreadable> {
    let means = Means::of(&message.data);
    match means {
        Means::Syscall("SYS_EXECVE" | "SYS_EXECVEAT", _) | Means::Lsm("SECURITY_BPRM_CHECK") => {}
        Means::Syscall(..) | Means::Lsm(_) => return Ok(Act::Beside(Beside::Syscall)),
        Means::Other => return Ok(Act::Unknown(Gap::HalfTold)),
    }
    let result = result(message)?;
    let executed = message.process_name.as_str();
    let line = message.resource.as_str();
    // Of a system call that failed, the process is still what it was before.
    let (text, gap) = if means.is_lsm() || begins_with(line, executed) {
        (executed, None)
    } else if result == Outcome::Ok && !executed.is_empty() {
        (executed, Some(Gap::Renamed))
    } else {
        (line.split(' ').next().unwrap_or(line), None)
    };
    let path = match resolved(text, means.is_lsm()) {
        Ok(path) if !path.as_bytes().ends_with(b"/") => path,
        Ok(_) => return Ok(Act::Unknown(Gap::Unresolved)),
        Err(gap) => return Ok(Act::Unknown(gap)),
    };
    // Who started the container is no part of it: there is no such program below its root.
    let parent = match message.parent_process_name.as_str() {
        "" => &message.source,
        parent => parent,
    };
    let source = program(parent, means.is_lsm()).filter(|parent| !is_runtime(parent));
    let behavior = behavior(message, Op::Exec, path, source, result)?;
    Ok(match gap {
        None => Act::Done(behavior),
        Some(gap) => Act::Partly(behavior, gap),
    })
}

/// Whether a command line begins with a program, whole.
fn begins_with(line: &str, program: &str) -> bool {
    !program.is_empty()
        && line
            .strip_prefix(program)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn file(message: &Message, is_runtime: fn(&AbsPath) -> bool) -> Result<Act, Unreadable> {
    let means = Means::of(&message.data);
    let result = result(message)?;
    let mut is_directory = false;
    let op = match means {
        Means::Syscall(name @ ("SYS_OPEN" | "SYS_OPENAT"), rest) => {
            if name == "SYS_OPENAT" && is_below_a_descriptor(message, rest) {
                return Ok(Act::Unknown(Gap::Unresolved));
            }
            let flags = Flags::of(rest);
            if flags.has("O_PATH") {
                return Ok(Act::Beside(Beside::Syscall));
            }
            is_directory = flags.has("O_DIRECTORY");
            match flags.access() {
                // The file has no name, and the path is its directory's.
                Some(_) if flags.has("O_TMPFILE") => return Ok(Act::Unknown(Gap::HalfTold)),
                Some(access) => Op::Open(access),
                None => return Ok(Act::Unknown(Gap::HalfTold)),
            }
        }
        Means::Syscall(name @ ("SYS_UNLINK" | "SYS_UNLINKAT"), rest) => {
            // The descriptor is not told.
            if name == "SYS_UNLINKAT" && is_below_cwd(message) {
                return Ok(Act::Unknown(Gap::Unresolved));
            }
            match Flags::of(rest).has("AT_REMOVEDIR") {
                true => Op::Rmdir,
                false => Op::Unlink,
            }
        }
        Means::Syscall("SYS_RMDIR", _) | Means::Lsm("FILE_RMDIR") => Op::Rmdir,
        // Only writes come to it.
        Means::Lsm("FILE_PERMISSION") => Op::Open(Access::Write),
        // The flags are not told: that it was read is the least that it says.
        Means::Lsm("FILE_OPEN") => Op::Open(Access::Read),
        Means::Lsm("FILE_MKNOD") => Op::Create,
        Means::Lsm("FILE_MKDIR") => Op::Mkdir,
        Means::Lsm("FILE_UNLINK") => Op::Unlink,
        Means::Lsm("FILE_SYMLINK") => Op::Symlink,
        Means::Lsm("FILE_CHMOD") => Op::Chmod,
        Means::Lsm("FILE_TRUNCATE") => Op::Truncate,
        // Of their two names one is told.
        Means::Lsm("FILE_LINK" | "FILE_RENAME") => return Ok(Act::Unknown(Gap::HalfTold)),
        Means::Syscall("SYS_CLOSE" | "SYS_CHOWN" | "SYS_FCHOWNAT", _) => {
            return Ok(Act::Beside(Beside::Syscall));
        }
        Means::Syscall(..) | Means::Lsm(_) | Means::Other => {
            return Ok(Act::Unknown(Gap::HalfTold));
        }
    };
    let acting = match message.process_name.as_str() {
        "" if message.source.contains(' ') => "",
        "" => &message.source,
        named => named,
    };
    let source = program(acting, means.is_lsm());
    if source.as_ref().is_some_and(is_runtime) {
        return Ok(Act::Beside(Beside::Runtime));
    }
    let path = match resolved(&message.resource, means.is_lsm()) {
        Ok(path) => path,
        Err(gap) => return Ok(Act::Unknown(gap)),
    };
    let path = match (&op, is_directory) {
        (Op::Open(_), true) => with_slash(path),
        (Op::Open(_), false) => Some(path),
        _ => without_slash(path),
    };
    let Some(path) = path else {
        return Ok(Act::Unknown(Gap::Unresolved));
    };
    Ok(Act::Done(behavior(message, op, path, source, result)?))
}

/// The flags of a system call, by name.
struct Flags<'m>(&'m str);

impl<'m> Flags<'m> {
    fn of(rest: &'m str) -> Self {
        Self(argument(rest, "flags="))
    }

    fn has(&self, name: &str) -> bool {
        self.0.split('|').any(|flag| flag == name)
    }

    fn access(&self) -> Option<Access> {
        let ways = [
            ("O_RDONLY", Access::Read),
            ("O_WRONLY", Access::Write),
            ("O_RDWR", Access::ReadWrite),
        ];
        let access = ways.into_iter().find(|(name, _)| self.has(name));
        access.map(|(_, access)| access)
    }
}

fn argument<'m>(rest: &'m str, name: &str) -> &'m str {
    rest.split(' ')
        .find_map(|argument| argument.strip_prefix(name))
        .unwrap_or_default()
}

/// KubeArmor joins a relative path with the working directory, whichever directory it is relative to.
fn is_below_a_descriptor(message: &Message, rest: &str) -> bool {
    argument(rest, "fd=") != AT_FDCWD && is_below_cwd(message)
}

/// So it may have been relative. Where the working directory is the root or not known, nothing was
/// joined.
fn is_below_cwd(message: &Message) -> bool {
    let cwd = message.cwd.trim_end_matches('/');
    let within = message.resource.strip_prefix(cwd);
    !cwd.is_empty() && within.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn result(message: &Message) -> Result<Outcome, Unreadable> {
    match message.result.as_str() {
        "" => Err(Unreadable::Missing("Result")),
        result => Ok(outcome(result)),
    }
}

fn behavior(
    message: &Message,
    op: Op,
    path: AbsPath,
    source: Option<AbsPath>,
    result: Outcome,
) -> Result<Behavior, Unreadable> {
    let uid = match message.uid {
        None => None,
        // The protobuf has a sign, and a user id has none.
        Some(uid) => Some(
            u32::try_from(uid)
                .or_else(|_| i32::try_from(uid).map(i32::cast_unsigned))
                .map_err(|_| Unreadable::field("UID", &uid.to_string(), "is no user id"))?,
        ),
    };
    Ok(Behavior {
        op,
        path,
        source,
        uid,
        owner: None,
        upper: None,
        // Older versions have no such field, so its absence says nothing.
        tty: (!message.tty.is_empty()).then_some(true),
        result,
    })
}
