//! A line that is fair by whom its members belong to (an address, a name): owners take turns, and of one owner the first comes
//! first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

/// Who waits, as plain values. Everything takes as long as the logarithm of what waits.
#[derive(Debug)]
pub(crate) struct Line<K, T> {
    owners: HashMap<K, Group<T>>,
    /// Whose turn is next: the least number.
    turns: BTreeMap<u64, K>,
    /// How many of each owner wait.
    lengths: BTreeSet<(usize, K)>,
    count: usize,
    next: u64,
}

/// Those of one owner.
#[derive(Debug)]
struct Group<T> {
    turn: u64,
    members: BTreeMap<u64, T>,
}

impl<K, T> Default for Line<K, T> {
    fn default() -> Self {
        Self { owners: HashMap::new(), turns: BTreeMap::new(), lengths: BTreeSet::new(), count: 0, next: 0 }
    }
}

impl<K: Clone + Eq + Hash + Ord, T> Line<K, T> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Joins the end of its owner's own line; the number takes it out again.
    pub(crate) fn push(&mut self, owner: &K, member: T) -> u64 {
        let number = self.number();
        let group =
            self.owners.entry(owner.clone()).or_insert_with(|| Group { turn: number, members: BTreeMap::new() });
        if group.members.is_empty() {
            self.turns.insert(number, owner.clone());
        }
        let length = group.members.len();
        group.members.insert(number, member);
        self.resized(owner, length, length + 1);
        number
    }

    /// The next one: the first of the owner whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, owner) = self.turns.pop_first()?;
        let turn = self.number();
        let group = self.owners.get_mut(&owner)?;
        let (_, member) = group.members.pop_first()?;
        group.turn = turn;
        let left = group.members.len();
        self.turns.insert(turn, owner.clone());
        self.resized(&owner, left + 1, left);
        Some(member)
    }

    /// Takes one out, if it still waits.
    pub(crate) fn remove(&mut self, owner: &K, number: u64) -> Option<T> {
        let group = self.owners.get_mut(owner)?;
        let member = group.members.remove(&number)?;
        let left = group.members.len();
        self.resized(owner, left + 1, left);
        Some(member)
    }

    /// For one of this owner to wait where all places are taken, somebody has to go: the newest of the owner with the
    /// most, if that has more than this one would have. `None`: it is this one that is too many.
    pub(crate) fn make_room(&mut self, owner: &K) -> Option<T> {
        let own = self.owners.get(owner).map_or(0, |group| group.members.len());
        let (most, whose) = self.lengths.last()?.clone();
        if most <= own + 1 {
            return None;
        }
        let (_, member) = self.owners.get_mut(&whose)?.members.pop_last()?;
        self.resized(&whose, most, most - 1);
        Some(member)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Keeps the counts right; an owner of whom nobody waits is forgotten.
    fn resized(&mut self, owner: &K, before: usize, now: usize) {
        self.lengths.remove(&(before, owner.clone()));
        self.count = self.count + now - before;
        if now > 0 {
            self.lengths.insert((now, owner.clone()));
        } else if let Some(group) = self.owners.remove(owner) {
            self.turns.remove(&group.turn);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn emptied(line: &mut Line<IpAddr, &'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn addresses_take_turns_and_the_first_of_each_is_first() {
        let mut line = Line::default();
        for member in ["a1", "a2", "a3", "a4"] {
            line.push(&address(1), member);
        }
        line.push(&address(2), "b1");
        line.push(&address(3), "c1");
        line.push(&address(2), "b2");
        assert_eq!(emptied(&mut line), ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
        assert!(line.owners.is_empty() && line.turns.is_empty() && line.lengths.is_empty());
    }

    #[test]
    fn a_flood_does_not_go_before_a_newcomer_twice() {
        let mut line = Line::default();
        for _ in 0..1000 {
            line.push(&address(1), "flood");
        }
        assert_eq!(line.pop(), Some("flood"));
        line.push(&address(2), "visitor");
        let before = (0..).take_while(|_| line.pop() == Some("flood")).count();
        assert_eq!(before, 1);
    }

    #[test]
    fn who_leaves_leaves_no_turn_behind() {
        let mut line = Line::default();
        let first = line.push(&address(1), "a1");
        line.push(&address(2), "b1");
        assert_eq!(line.remove(&address(1), first), Some("a1"));
        assert_eq!(line.remove(&address(1), first), None);
        line.push(&address(1), "a2");
        assert_eq!(emptied(&mut line), ["b1", "a2"]);
    }

    #[test]
    fn room_is_made_by_the_newest_of_whoever_has_the_most() {
        let mut line = Line::default();
        for member in ["a1", "a2", "a3"] {
            line.push(&address(1), member);
        }
        assert_eq!(line.make_room(&address(1)), None, "its own newest is itself");
        assert_eq!(line.make_room(&address(2)), Some("a3"));
        line.push(&address(2), "b1");
        assert_eq!(line.make_room(&address(2)), None, "two each is no more than two");
        assert_eq!(line.make_room(&address(3)), Some("a2"));
        line.push(&address(3), "c1");
        assert_eq!(line.make_room(&address(4)), None, "one each");
        assert_eq!(emptied(&mut line), ["a1", "b1", "c1"]);
    }

    proptest! {
        /// Whatever happens to it, nobody is lost or doubled, and the first of each address goes first.
        #[test]
        fn the_books_balance(steps in proptest::collection::vec((0..4_u8, 0..5_u8, 0..40_usize), 0..300)) {
            let mut line = Line::default();
            let mut here: Vec<(IpAddr, u64, u32)> = Vec::new();
            for (value, (kind, who, pick)) in (0_u32..).zip(steps) {
                let gone = match kind {
                    0 | 1 => {
                        here.push((address(who), line.push(&address(who), value), value));
                        continue;
                    }
                    2 => line.pop(),
                    _ if pick % 2 == 0 => line.make_room(&address(who)),
                    _ => here.get(pick).copied().and_then(|(address, number, _)| line.remove(&address, number)),
                };
                if let Some(gone) = gone {
                    let at = here.iter().position(|(.., value)| *value == gone).unwrap();
                    let (address, ..) = here.remove(at);
                    if kind == 2 {
                        prop_assert!(here.iter().filter(|other| other.0 == address).all(|other| other.2 > gone));
                    }
                }
                prop_assert_eq!(line.len(), here.len());
                prop_assert_eq!(line.turns.len(), line.owners.len());
                prop_assert_eq!(line.lengths.len(), line.owners.len());
            }
            prop_assert_eq!(std::iter::from_fn(|| line.pop()).count(), here.len());
            prop_assert!(line.is_empty() && line.turns.is_empty());
        }
    }
}
