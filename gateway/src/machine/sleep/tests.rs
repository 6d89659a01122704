//! Everybody in one small house, look by look; and any house at all.

use super::*;

use Decision::{Ask, Sleep, Wake};

mod any;

fn at(seconds: u64) -> Now {
    Now(Duration::from_secs(seconds))
}

const ONE: GenerationId = GenerationId(1);

fn serving(quiet: Option<u64>) -> Place {
    Place::Serving { generation: ONE, quiet: quiet.map(at) }
}

/// A house in which everybody sleeps after 100 s, unless told otherwise.
struct House {
    guests: Vec<(Guest, Sleeper)>,
    max: Option<usize>,
}

impl House {
    fn of(places: &[Place]) -> Self {
        let guest = |place: &Place| Guest { after: Some(Duration::from_secs(100)), asks: false, place: *place };
        Self { guests: places.iter().map(|place| (guest(place), Sleeper::default())).collect(), max: None }
    }

    fn max(self, max: usize) -> Self {
        Self { max: Some(max), ..self }
    }

    fn asks(mut self) -> Self {
        self.guests.iter_mut().for_each(|(guest, _)| guest.asks = true);
        self
    }

    fn put(&mut self, who: usize, place: Place) -> &mut Self {
        self.guests[who].0.place = place;
        self
    }

    fn call(&mut self, who: usize, urgent: bool, now: u64) -> &mut Self {
        self.guests[who].1.call(urgent, at(now));
        self
    }

    fn answer(&mut self, who: usize, veto: bool, now: u64) -> &mut Self {
        let after = self.guests[who].0.after;
        self.guests[who].1.answered(ONE, veto, after, at(now));
        self
    }

    #[track_caller]
    fn look(&mut self, now: u64, decisions: &[(usize, Decision)], again: Option<u64>) -> &mut Self {
        let mut house: Vec<_> = self.guests.iter_mut().enumerate().map(|(at, (guest, it))| (at, *guest, it)).collect();
        let outlook = look(&mut house, self.max, at(now));
        assert_eq!(outlook.decisions, decisions, "at {now} s");
        assert_eq!(outlook.again, again.map(at), "at {now} s");
        for (who, decision) in decisions {
            match decision {
                Sleep => self.guests[*who].0.place = Place::Leaving,
                Wake => self.guests[*who].0.place = Place::Coming,
                Ask(_) => {}
            }
        }
        self
    }
}

#[test]
fn who_was_not_used_for_long_enough_sleeps_and_nobody_else() {
    let mut house = House::of(&[serving(Some(10)), serving(None), Place::Coming, serving(Some(10)), Place::Away]);
    house.guests[3].0.after = None;
    house.look(50, &[], Some(110)).look(109, &[], Some(110)).look(110, &[(0, Sleep)], None);
    house.look(111, &[], None).put(0, Place::Asleep).look(500, &[], None);
}

#[test]
fn who_is_called_wakes_at_once_asleep_or_on_its_way_there() {
    for place in [Place::Asleep, Place::Leaving] {
        let mut house = House::of(&[place]);
        house.call(0, false, 5).look(5, &[(0, Wake)], None).look(6, &[], None);
    }
    // Awake, gone or on its way already: it means nothing, now and later.
    for place in [Place::Coming, Place::Away, serving(None)] {
        let mut house = House::of(&[place]);
        house.call(0, true, 5).look(5, &[], None).put(0, Place::Asleep).look(6, &[], None);
    }
}

#[test]
fn a_worker_is_asked_first_and_a_veto_holds_for_a_quarter() {
    let mut house = House::of(&[serving(Some(0))]).asks();
    house.look(100, &[(0, Ask(ONE))], Some(115)).look(101, &[], Some(115));
    house.answer(0, true, 101).look(101, &[], Some(126)).look(125, &[], Some(126));
    house.look(126, &[(0, Ask(ONE))], Some(141)).answer(0, false, 127).look(127, &[(0, Sleep)], None);

    let mut house = House::of(&[serving(Some(0))]).asks();
    house.guests[0].0.after = Some(Duration::from_secs(2));
    house.look(2, &[(0, Ask(ONE))], Some(17)).answer(0, true, 3).look(3, &[], Some(13));
}

#[test]
fn a_word_about_another_time_counts_for_nothing() {
    // Used again after it was asked: it is asked again in its time.
    let mut house = House::of(&[serving(Some(0))]).asks();
    house.look(100, &[(0, Ask(ONE))], Some(115)).put(0, serving(None)).look(101, &[], None);
    house.answer(0, false, 102).put(0, serving(Some(103))).look(104, &[], Some(203));
    house.look(203, &[(0, Ask(ONE))], Some(218));
    // Granted, and used again.
    house.answer(0, false, 204).put(0, serving(None)).look(204, &[], None);
    house.put(0, serving(Some(210))).look(310, &[(0, Ask(ONE))], Some(325));
    // Never answered: the proxy is another one by now.
    house.look(324, &[], Some(325)).look(325, &[(0, Ask(ONE))], Some(340));
    house.guests[0].1.answered(GenerationId(9), false, None, at(326));
    house.look(326, &[], Some(340));
}

#[test]
fn in_a_full_house_the_longest_quiet_makes_room() {
    let places = [serving(Some(30)), serving(Some(20)), serving(None), Place::Asleep];
    let mut house = House::of(&places).max(3);
    house.call(3, true, 40).look(40, &[(1, Sleep)], Some(42)).look(41, &[], Some(42));
    house.put(1, Place::Asleep).look(41, &[(3, Wake)], Some(130));
}

#[test]
fn a_visitor_waits_for_room_no_longer_than_two_seconds_and_not_at_all_for_nobody() {
    let mut house = House::of(&[serving(Some(0)), Place::Asleep]).max(1);
    house.call(1, true, 10).look(10, &[(0, Sleep)], Some(12)).look(12, &[(1, Wake)], None);

    // All are in use, never sleep, or have said that they are not to be disturbed.
    let mut house = House::of(&[serving(None), serving(Some(0)), Place::Coming, Place::Asleep]).max(2);
    house.guests[1].0.after = None;
    house.call(3, true, 10).look(10, &[(3, Wake)], None);

    let mut house = House::of(&[serving(Some(0)), Place::Asleep]).asks().max(1);
    house.call(1, true, 10).look(10, &[(0, Ask(ONE))], Some(12)).answer(0, true, 11).look(11, &[(1, Wake)], Some(36));
}

#[test]
fn who_only_ought_to_be_seen_running_waits_for_room_and_lets_visitors_pass() {
    let mut house = House::of(&[serving(None), Place::Asleep, Place::Asleep]).max(1);
    house.call(1, false, 10).look(10, &[], None).look(500, &[], None);
    house.call(2, true, 500).look(500, &[(2, Wake)], None);
    // More are awake than ought to be: the first to be quiet goes, and nobody comes in its place.
    house.put(0, serving(Some(505))).put(2, serving(None)).look(506, &[(0, Sleep)], None);
    house.put(0, Place::Asleep).look(507, &[], None).put(2, serving(Some(508))).look(510, &[(2, Sleep)], None);
    house.put(2, Place::Asleep).look(511, &[(1, Wake)], None);
}

#[test]
fn one_that_is_to_make_room_and_is_called_back_stays() {
    let mut house = House::of(&[serving(Some(0)), Place::Asleep]).max(1);
    house.call(1, true, 10).look(10, &[(0, Sleep)], Some(12));
    house.call(0, true, 11).look(11, &[(0, Wake), (1, Wake)], None);
}
