//! Standard output, which holds the answer and nothing else.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::failure::Failure;

/// Standard output, held until the answer is out.
pub(crate) struct Answer(BufWriter<StdoutLock<'static>>);

impl Answer {
    pub(crate) fn begin() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(text.as_bytes()).map_err(Failure::Answer)
    }

    /// To be called at the end: what is lost when dropped would be lost in silence.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::Answer)
    }
}

/// The path that stands for a standard stream.
pub(crate) fn is_dash(path: &std::path::Path) -> bool {
    path.as_os_str() == "-"
}

/// The lines of a table, without the blanks around them.
pub(crate) fn lines(table: &comfy_table::Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}
