//! Chance that can be had again: SplitMix64.

use std::time::Duration;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed throws the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).expect("below a usize")
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// One of these, each as often as its weight says.
    ///
    /// # Panics
    /// When all weigh nothing.
    pub fn weighed<T: Copy>(&mut self, all: &[(u32, T)]) -> T {
        let sum: u32 = all.iter().map(|(weight, _)| weight).sum();
        let mut thrown = self.below(sum as usize) as u32;
        for (weight, thing) in all {
            match thrown.checked_sub(*weight) {
                Some(left) => thrown = left,
                None => return *thing,
            }
        }
        unreachable!("the weights have this sum")
    }

    /// A time below `longest`.
    pub fn pause(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.number() % (longest.as_micros() as u64).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_throws_the_same_again_and_weights_count() {
        let throw = |seed| {
            (0..8)
                .map({
                    let mut dice = Dice::new(seed);
                    move |_| dice.number()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
        let mut dice = Dice::new(1);
        let often = (0..1000).filter(|_| dice.weighed(&[(9, true), (0, false), (1, false)])).count();
        assert!((850..950).contains(&often), "{often}");
    }
}
