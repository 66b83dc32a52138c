//! What the kernel itself opens when it executes a file: a script's interpreters and the ELF
//! loader. The tracepoint rung does not see these, so they are read from the executed file.

use std::io::Read;

use object::read::elf::ProgramHeader as _;
use object::{Endianness, elf};

use super::resolve::{Named, Resolver};
use crate::path::AbsPath;

/// Scripts that may stand behind one another (`BINPRM_BUF_SIZE` and the depth are the kernel's:
/// fs/binfmt_script.c and `exec_binprm`).
const MAX_DEPTH: usize = 5;
const FIRST_LINE: usize = 256;
/// Program headers of a sane executable end well within this.
const ELF_HEAD: u64 = 64 * 1024;

/// The chain from an executed file to the ELF image: every script with its interpreter, in order.
pub(super) fn interpreters(
    resolver: &mut Resolver,
    process: &Named<'_>,
    script: &AbsPath,
) -> Vec<AbsPath> {
    let mut chain: Vec<AbsPath> = Vec::new();
    let mut current = script.clone();
    while chain.len() < MAX_DEPTH {
        let Some(name) = head(resolver, process, &current, FIRST_LINE as u64)
            .as_deref()
            .and_then(shebang)
            .map(<[u8]>::to_vec)
        else {
            break;
        };
        let named = Named {
            raw: &name,
            ..*process
        };
        let Some(next) = resolver.resolve(&named, true) else {
            break;
        };
        chain.push(next.clone());
        current = next;
    }
    chain
}

/// The loader that an ELF executable asks for.
pub(super) fn loader(
    resolver: &mut Resolver,
    process: &Named<'_>,
    executable: &AbsPath,
) -> Option<AbsPath> {
    let bytes = head(resolver, process, executable, ELF_HEAD)?;
    let name = program_interpreter(&bytes)?;
    resolver.resolve(
        &Named {
            raw: &name,
            ..*process
        },
        true,
    )
}

fn head(
    resolver: &mut Resolver,
    process: &Named<'_>,
    path: &AbsPath,
    bytes: u64,
) -> Option<Vec<u8>> {
    let file = resolver.open(process, path)?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    file.take(bytes).read_to_end(&mut head).ok()?;
    Some(head)
}

/// The interpreter named by the first line, as `load_script` reads it.
fn shebang(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|b| *b == b'\n').next()?;
    let line = line.trim_ascii_start();
    let end = line
        .iter()
        .position(|b| matches!(b, b' ' | b'\t' | 0))
        .unwrap_or(line.len());
    (end > 0).then(|| &line[..end])
}

fn program_interpreter(bytes: &[u8]) -> Option<Vec<u8>> {
    fn of<H: object::read::elf::FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Vec<u8>> {
        let header = H::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        header
            .program_headers(endian, bytes)
            .ok()?
            .iter()
            .find_map(|segment| segment.interpreter(endian, bytes).ok().flatten())
            .map(<[u8]>::to_vec)
    }
    of::<elf::FileHeader64<Endianness>>(bytes)
        .or_else(|| of::<elf::FileHeader32<Endianness>>(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_as_the_kernel_reads_it() {
        assert_eq!(shebang(b"#!/bin/sh\necho"), Some(&b"/bin/sh"[..]));
        assert_eq!(
            shebang(b"#! \t/usr/bin/env python3\n"),
            Some(&b"/usr/bin/env"[..])
        );
        assert_eq!(shebang(b"#!/bin/sh"), Some(&b"/bin/sh"[..]));
        assert_eq!(shebang(b"#!\n"), None);
        assert_eq!(shebang(b"\x7fELF"), None);
    }

    #[test]
    fn the_loader_of_a_real_executable_is_found_and_garbage_has_none() {
        let own = std::fs::read("/proc/self/exe").expect("own image");
        let name = program_interpreter(&own).expect("dynamically linked");
        assert!(String::from_utf8_lossy(&name).contains("ld-linux"));
        assert_eq!(program_interpreter(b"\x7fELF\x02\x01\x01"), None);
        assert_eq!(program_interpreter(&own[..100]), None);
    }
}
