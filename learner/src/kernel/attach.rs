//! The programs of the object: loaded, and refused in words.

use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FEntry, FExit, Program, ProgramError, ProgramInfo};
use aya::{Btf, Ebpf};

/// A program by its name in the object.
pub(super) fn find<'p, P>(ebpf: &'p mut Ebpf, name: &str) -> Result<&'p mut P, String>
where
    &'p mut P: TryFrom<&'p mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or("the kernel object lacks the program")?
        .try_into()
        .map_err(|e: ProgramError| reason(&e))
}

/// Loads a program that is on a tracepoint.
pub(super) fn traced<'p>(
    ebpf: &'p mut Ebpf,
    btf: &Btf,
    name: &str,
    on: &str,
) -> Result<&'p mut BtfTracePoint, String> {
    let program: &mut BtfTracePoint = find(ebpf, name)?;
    patiently(|| program.load(on, btf))?;
    Ok(program)
}

/// Has a program on a tracepoint as long as the link lives.
pub(super) fn trace(ebpf: &mut Ebpf, btf: &Btf, name: &str, on: &str) -> Result<FdLink, String> {
    let told = |e: ProgramError| format!("{name}: {}", reason(&e));
    let program = traced(ebpf, btf, name, on).map_err(|e| format!("{name}: {e}"))?;
    let link = program.attach().map_err(told)?;
    Ok(program.take_link(link).map_err(told)?.into())
}

/// Has a program at the entry of a function as long as the link lives.
pub(super) fn enter(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &str,
    function: &str,
) -> Result<FdLink, String> {
    let told = |e: ProgramError| format!("{name}: {}", reason(&e));
    let program: &mut FEntry = find(ebpf, name).map_err(|e| format!("{name}: {e}"))?;
    patiently(|| program.load(function, btf)).map_err(|e| format!("{name}: {e}"))?;
    let link = program.attach().map_err(told)?;
    Ok(program.take_link(link).map_err(told)?.into())
}

/// Has a program on the return of a function as long as the link lives.
pub(super) fn leave(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &str,
    function: &str,
) -> Result<FdLink, String> {
    let told = |e: ProgramError| format!("{name}: {}", reason(&e));
    let program = returning(ebpf, btf, name, function).map_err(|e| format!("{name}: {e}"))?;
    let link = program.attach().map_err(told)?;
    Ok(program.take_link(link).map_err(told)?.into())
}

/// Loads a program that is on the return of a function.
pub(super) fn returning<'p>(
    ebpf: &'p mut Ebpf,
    btf: &Btf,
    name: &str,
    function: &str,
) -> Result<&'p mut FExit, String> {
    let program: &mut FExit = find(ebpf, name)?;
    patiently(|| program.load(function, btf))?;
    note(name, program.info());
    Ok(program)
}

/// Says how far the verifier had to follow a program; it gives up at a million instructions. Linux 5.16.
pub(super) fn note(name: &str, info: Result<ProgramInfo, ProgramError>) {
    let instructions = info.ok().and_then(|info| info.verified_instruction_count());
    tracing::debug!(name, instructions, "the verifier took a program");
}

/// The verifier gives up with EAGAIN when a signal arrives, a child's end for one: tried again, as
/// libbpf does.
pub(super) fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), String> {
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock => {}
            done => return done.map_err(|e| reason(&e)),
        }
    }
    load().map_err(|e| reason(&e))
}

/// An error with its causes on one line; a verifier log is cut to its end, where the reason is.
pub(super) fn reason(error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        let log = verifier_log.to_string();
        let is_figure = |line: &&str| {
            ["verification time", "stack depth", "processed "]
                .iter()
                .any(|figure| line.starts_with(figure))
        };
        let said = log.lines().filter(|line| !is_figure(line));
        let tail: Vec<&str> = said.rev().take(3).collect();
        tracing::debug!(%log, "verifier");
        return if log.trim().is_empty() {
            format!("load refused: {io_error}")
        } else {
            format!(
                "load refused: {io_error} ({})",
                tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
            )
        };
    }
    chain(error)
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
