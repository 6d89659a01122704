//! Room on the disk that holds our state: when the ballast is made and let go of, and who has to wait for room.
//!
//! The ballast is a file that takes up space while there is plenty, so that some can be given back at once when there is
//! none: to write down what is happening, while somebody makes more. Those who are there already go on; whoever is new waits.

/// Bytes that are kept free where there is no ballast.
const FLOOR: u64 = 32 << 20;

/// What the disk looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes of the disk.
    pub all: u64,
    /// Inodes that can still be made; `None`: as many as there is room for.
    pub free_inodes: Option<u64>,
    /// The ballast is there.
    pub held: bool,
    /// Something of ours could not be written for lack of room, and still cannot.
    pub refused: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the ballast.
    Release,
    /// Make the ballast.
    Reserve,
    /// Say that the disk is full.
    Full,
    /// Say that there is room again.
    Roomy,
}

/// The machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    full: bool,
}

impl Room {
    /// Whether whoever is new has to wait.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// What follows from a look. `ballast`: the bytes that it is to have; `None`: there is to be none.
    pub fn on(&mut self, look: Look, ballast: Option<u64>) -> Vec<Action> {
        let mut out = Vec::new();
        let inodes = |least: u64| look.free_inodes.is_none_or(|free| free >= least);
        // A small disk has small needs.
        let floor = ballast.map_or(FLOOR, |bytes| bytes / 2).min(look.all / 16);
        let plenty = ballast.map_or(FLOOR * 4, |bytes| bytes.saturating_mul(4));
        if look.refused || look.free < floor || !inodes(16) {
            out.extend(look.held.then_some(Action::Release));
            out.extend((!self.full).then_some(Action::Full));
            self.full = true;
        } else if look.free >= plenty.min(look.all / 4) && inodes(256) {
            out.extend(self.full.then_some(Action::Roomy));
            self.full = false;
            out.extend((!look.held && ballast.is_some() && look.free >= plenty).then_some(Action::Reserve));
        }
        if ballast.is_none() && look.held && !out.contains(&Action::Release) {
            out.push(Action::Release);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn look(free: u64, held: bool) -> Look {
        Look { free: free * MIB, all: 10_000 * MIB, free_inodes: Some(1 << 20), held, refused: false }
    }

    #[test]
    fn it_is_made_in_plenty_let_go_of_in_need_and_made_again() {
        use Action::{Full, Release, Reserve, Roomy};
        let ballast = Some(64 * MIB);
        let mut room = Room::default();
        for (what, look, said, full) in [
            ("a disk with room", look(5000, false), vec![Reserve], false),
            ("there it is", look(4936, true), vec![], false),
            ("little, but enough", look(33, true), vec![], false),
            ("too little", look(31, true), vec![Release, Full], true),
            ("what was let go of is room, and not plenty", look(95, false), vec![], true),
            ("used up too", look(3, false), vec![], true),
            ("somebody tidied up a little", look(255, false), vec![], true),
            ("and more", look(256, false), vec![Roomy, Reserve], false),
            ("a write failed", Look { refused: true, ..look(256, true) }, vec![Release, Full], true),
            ("and still does, with plenty of bytes", Look { refused: true, ..look(256, false) }, vec![], true),
            ("and does no more", look(256, false), vec![Roomy, Reserve], false),
            ("no inode is left", Look { free_inodes: Some(3), ..look(900, true) }, vec![Release, Full], true),
        ] {
            assert_eq!(room.on(look, ballast), said, "{what}");
            assert_eq!(room.is_full(), full, "{what}");
        }
    }

    #[test]
    fn without_one_a_disk_can_be_full_all_the_same() {
        let mut room = Room::default();
        assert_eq!(room.on(look(5000, false), None), []);
        assert_eq!(room.on(look(31, false), None), [Action::Full]);
        assert_eq!(room.on(look(127, false), None), []);
        assert_eq!(room.on(look(128, false), None), [Action::Roomy]);
        assert_eq!(room.on(look(5000, true), None), [Action::Release], "the settings want none any more");
        // No place for a ballast, and for nobody who is new, are two things.
        let small = |free| Look { all: 200 * MIB, ..look(free, false) };
        assert_eq!(room.on(small(150), Some(64 * MIB)), []);
        assert_eq!(room.on(small(12), Some(64 * MIB)), [Action::Full]);
        assert_eq!(room.on(small(50), Some(64 * MIB)), [Action::Roomy]);
    }
}
