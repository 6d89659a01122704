//! Numbers for generations, never used twice in the life of a state folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::{
    state_file::{self, Found, Lasting},
    unwritten::Unwritten,
};
use crate::{model::GenerationId, sys};

/// The format of the file. The first was the number as text, and has no sum.
const VERSION: u32 = 2;
/// They are reserved in blocks, so that a new generation costs no write to disk.
const BLOCK: u64 = 1 << 16;

/// Where the next number comes from.
pub(in crate::master) struct Numbers {
    file: PathBuf,
    next: u64,
    /// All below are, on disk.
    reserved: u64,
    unwritten: Unwritten,
}

#[derive(Serialize, Deserialize)]
struct Reserved {
    /// Every number that was given out is below.
    below: u64,
}

impl Numbers {
    /// Goes on above every number that an earlier life may have used; `first_life`: there was none.
    pub(in crate::master) fn open(file: PathBuf, first_life: bool) -> Self {
        let next = plain(&file).unwrap_or_else(|| match state_file::read::<Reserved>(&file, VERSION) {
            Found::Good(reserved) => reserved.below,
            Found::Missing if first_life => 1,
            // The clock in seconds is above any number that blocks could have reached.
            Found::Missing | Found::PutAside(_) => u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(1),
        });
        Self { file, next, reserved: next, unwritten: Unwritten::default() }
    }

    /// What cannot be written is told there.
    pub(in crate::master) fn telling(self, unwritten: &Unwritten) -> Self {
        Self { unwritten: unwritten.clone(), ..self }
    }

    /// A number that is in use: none that is given from now on is at or below it.
    pub(in crate::master) fn note_use(&mut self, number: GenerationId) {
        self.next = self.next.max(number.0 + 1);
    }

    /// Reserves what was given out and could not be reserved before.
    pub(in crate::master) fn write_again(&mut self) {
        if self.next > self.reserved {
            self.reserve();
        }
    }

    fn reserve(&mut self) {
        let below = self.next + BLOCK;
        match state_file::write(&self.file, VERSION, &Reserved { below }, Lasting::ForEver) {
            Ok(()) => {
                self.reserved = below;
                self.unwritten.written(&self.file);
            }
            Err(error) => self.unwritten.failed(&self.file, &error, "generation numbers are not reserved on disk"),
        }
    }

    /// The next number.
    pub(in crate::master) fn next(&mut self) -> GenerationId {
        if self.next >= self.reserved {
            self.reserve();
        }
        self.next += 1;
        GenerationId(self.next - 1)
    }
}

/// The number in a file of the first format, which was whole if it had a line's end.
fn plain(file: &std::path::Path) -> Option<u64> {
    let text = String::from_utf8(sys::files::read_private(file, 64).ok()?).ok()?;
    text.strip_suffix('\n').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}
