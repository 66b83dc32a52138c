//! A made-up world of directories three deep, rules about it, and operations on it.

use std::fs;
use std::path::Path;

use learner::behavior::{Access, Op};
use learner::path::AbsPath;
use libtest_mimic::Failed;

use crate::watched::World;

/// Files called `g` belong to somebody else than root, files called `x` are programs.
pub(crate) struct Maze {
    pub(crate) world: World,
    files: Vec<String>,
    directories: Vec<String>,
}

/// An operation as it is told to `act attempts`, and as it is told to the evaluator.
pub(crate) struct Attempt {
    pub(crate) line: String,
    pub(crate) op: Op,
    pub(crate) path: AbsPath,
    pub(crate) owned: bool,
}

pub(crate) fn absolute(path: &Path) -> AbsPath {
    AbsPath::try_from(path.to_str().expect("UTF-8")).expect("absolute")
}

impl Maze {
    pub(crate) fn new() -> Result<Self, Failed> {
        let mut maze = Self {
            files: Vec::new(),
            directories: Vec::new(),
            world: World::new(),
        };
        for directory in ["a", "a/b", "a/b/c", "d"] {
            maze.directories.push(directory.to_owned());
            for file in ["f", "g", "x"] {
                maze.files.push(format!("{directory}/{file}"));
            }
        }
        maze.restore()?;
        Ok(maze)
    }

    /// The path of a name in it.
    pub(crate) fn at(&self, name: &str) -> String {
        self.world.join(name).display().to_string()
    }

    /// Everything as it was, whatever the last attempt did.
    pub(crate) fn restore(&self) -> Result<(), Failed> {
        for directory in &self.directories {
            let at = self.world.join(directory);
            fs::create_dir_all(&at)?;
            for entry in at.read_dir()? {
                let entry = entry?;
                if entry.file_name() == "new" {
                    match entry.file_type()?.is_dir() {
                        true => fs::remove_dir(entry.path())?,
                        false => fs::remove_file(entry.path())?,
                    }
                }
            }
        }
        for file in &self.files {
            let at = self.world.join(file);
            if at.metadata().map_or(0, |m| m.len()) >= 2 {
                continue;
            }
            if file.ends_with('x') {
                fs::copy("/bin/busybox", &at)?;
            } else {
                fs::write(&at, "xx")?;
            }
            if file.ends_with('g') {
                std::os::unix::fs::chown(&at, Some(1), Some(1))?;
            }
        }
        Ok(())
    }

    /// Rules for some of it, drawn; some of them for `source` alone.
    pub(crate) fn policy(&self, draw: &mut fastrand::Rng, source: &Path) -> String {
        let mut text = String::from("kind: KubeArmorPolicy\nmetadata: {name: p}\nspec:\n");
        for section in ["process", "file"] {
            text.push_str(&format!("  {section}:\n    matchPaths:\n"));
            for _ in 0..draw.usize(1..5) {
                let file = draw.choice(&self.files).expect("a file");
                text.push_str(&format!("    - path: {}\n", self.at(file)));
                self.flags(&mut text, draw, section, source);
            }
            if section == "process" && draw.u8(0..4) == 0 {
                text.push_str("    - execname: x\n");
                self.flags(&mut text, draw, section, source);
            }
            text.push_str("    matchDirectories:\n");
            for _ in 0..draw.usize(1..4) {
                let dir = match draw.u8(0..12) {
                    0 => "/".to_owned(),
                    1 => format!("{}/", self.world.path().display()),
                    _ => self.at(draw.choice(&self.directories).expect("one")) + "/",
                };
                text.push_str(&format!("    - dir: {dir}\n"));
                if draw.bool() {
                    text.push_str("      recursive: true\n");
                }
                self.flags(&mut text, draw, section, source);
            }
        }
        text.push_str("  action: Allow\n");
        text
    }

    fn flags(&self, text: &mut String, draw: &mut fastrand::Rng, section: &str, source: &Path) {
        if section == "file" && draw.u8(0..4) == 0 {
            text.push_str("      readOnly: true\n");
        }
        if draw.u8(0..5) == 0 {
            text.push_str("      ownerOnly: true\n");
        }
        if draw.u8(0..4) == 0 {
            text.push_str("      action: Block\n");
        }
        if draw.u8(0..3) == 0 {
            let other = self.world.join("a/x");
            let source = if draw.bool() { source } else { &other };
            text.push_str(&format!(
                "      fromSource:\n      - path: {}\n",
                source.display()
            ));
        }
    }

    /// An operation, drawn.
    pub(crate) fn attempt(&self, draw: &mut fastrand::Rng) -> Attempt {
        let name = draw.choice(&self.files).expect("a file").clone();
        let file = self.world.join(&name);
        let owned = !name.ends_with('g');
        let directory = draw.choice(&self.directories).expect("one");
        let new = self.world.join(directory).join("new");
        let to = absolute(&new);
        let (word, op, path, owned) = match draw.u8(0..14) {
            0 | 1 => ("r", Op::Open(Access::Read), file, owned),
            2 => ("w", Op::Open(Access::Write), file, owned),
            3 => ("rw", Op::Open(Access::ReadWrite), file, owned),
            4 | 5 => {
                let program = self.world.join(&name.replace(['f', 'g'], "x"));
                ("exec", Op::Exec, program, true)
            }
            6 => ("create", Op::Create, new, true),
            7 => ("mkdir", Op::Mkdir, new, true),
            8 => ("unlink", Op::Unlink, file, owned),
            9 => ("symlink", Op::Symlink, new, true),
            10 => ("chmod", Op::Chmod, file, owned),
            11 => ("truncate", Op::Truncate, file, owned),
            12 => ("rename", Op::Rename { to }, file, owned),
            _ => ("link", Op::Link { to }, file, owned),
        };
        let second = op.to().map(|to| format!(" {to}")).unwrap_or_default();
        Attempt {
            line: format!("{word} {}{second}", path.display()),
            op,
            path: absolute(&path),
            owned,
        }
    }
}
