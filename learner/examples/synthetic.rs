//! Writes a made-up recording, to measure with: `synthetic LINES FILE`. It is Parquet if FILE ends
//! in `.parquet`, else JSON Lines.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use learner::recording::{JsonlWriter, ParquetWriter};

#[path = "../benches/synthetic/mod.rs"]
mod synthetic;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(lines), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: synthetic LINES FILE".into());
    };
    let lines = synthetic::lines(lines.parse()?);
    let out = BufWriter::new(File::create(&file)?);
    if file.ends_with(".parquet") {
        let mut writer = ParquetWriter::new(out)?;
        for line in lines {
            writer.write(&line)?;
        }
        writer.finish()?;
    } else {
        let mut writer = JsonlWriter::new(out);
        for line in lines {
            writer.write(&line)?;
        }
        writer.finish()?;
    }
    Ok(())
}
